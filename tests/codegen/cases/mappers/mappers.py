"""A class of the user's own, and functions for fields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """Two numbers, written `x;y`."""

    x: int = 0
    y: int = 0

    def format(self) -> str:
        """Write it."""
        return f"{self.x};{self.y}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read it."""
        x, y = text.split(";")
        return cls(int(x), int(y))


def format_all(points: list[Point]) -> str:
    """Write points with blanks between them."""
    return " ".join(point.format() for point in points)


def parse_all(text: str) -> list[Point]:
    """Read points."""
    return [Point.parse(part) for part in text.split()]


def upper(text: str) -> str:
    """Write in capitals."""
    return text.upper()


def read_level(text: str) -> int:
    """Read what older producers wrote."""
    return {"low": 0, "high": 255}.get(text) or int(text)


_POINTS = [Point(), Point(-1, 2)]
EXAMPLES = {
    "Mappers.where": _POINTS,
    "Mappers.maybe": [None, *_POINTS],
    "Mappers.path": [[], _POINTS],
    "Mappers.start": _POINTS,
    "Mappers.shout": ["LOUD", ""],
    "Mappers.level": [0, 7],
    "Mappers.key": ["k"],
    "Mappers.upper": ["a"],
    "Mappers.via": [None, _POINTS],
    "Mappers.name": [None, "n"],
    "Mappers.shouted": [None, "", "LOUD"],
    "Stop.at": [None, *_POINTS],
    "Stop.via": [None, _POINTS],
}
