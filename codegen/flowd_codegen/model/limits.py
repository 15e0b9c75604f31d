"""The limits of a field's values, and which of two fields is stricter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from flowd import wire
from flowd.wire import CodecError
from flowd_codegen.model.bounds import End, broken, ends, ranges
from flowd_codegen.model.kinds import ANY, Bounds, OneOf, Scalar, Type
from flowd_codegen.model.pattern import takes_all
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import Encoding, Field

__all__ = ["Limits"]

_HUGE: Final = 1.7e308
_EXACT: Final = 2**53
_STR: Final = Scalar("str")
_NUMBERS: Final = ("int", "float", "decimal")
_ANY: Final = r"(?:.|\n)*"
"""What matches every text."""

_NONE: Final[tuple[str, End, End]] = ("", -math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a type, and those that a field adds to them.

    Attributes:
        number: `int` for every integer type, `float`, `decimal`; empty for no number.
        low: the smallest number; `-inf` when there is none.
        high: the largest.
        low_open: `low` itself is outside; only of floats and decimals.
        high_open: the same of `high`.
        min_len: fewest characters, bytes or items.
        max_len: most of them.
        places: most digits behind the point.
        pattern: what the whole text matches.
        encoding: of the field, None for the type's own.
        kind: the type.
        bounds: of the field or item, as declared.
    """

    number: str = ""
    low: End = -math.inf
    high: End = math.inf
    low_open: bool = False
    high_open: bool = False
    min_len: int = 0
    max_len: float = math.inf
    places: float = math.inf
    pattern: str | None = None
    encoding: Encoding | None = None
    kind: Type = _STR
    bounds: Bounds = ANY

    @classmethod
    def of(
        cls, kind: Type, bounds: Bounds = ANY, encoding: Encoding | None = None
    ) -> Limits:
        """The limits of a type, and those of a field or an item of it."""
        number, low, high = _numbers(kind)
        (least, low_open), (most, high_open) = ends(kind, bounds, encoding)
        return cls(
            number,
            max(low, least),
            min(high, most),
            low_open and least >= low,
            high_open and most <= high,
            bounds.min_len or 0,
            math.inf if bounds.max_len is None else bounds.max_len,
            math.inf if bounds.places is None else bounds.places,
            bounds.pattern,
            encoding,
            kind,
            bounds,
        )

    @classmethod
    def of_field(cls, kind: Type, field: Field) -> Limits:
        """The limits of the type of a field, `?` aside, with those of the field."""
        return cls.of(kind, field, field.encoding)

    def check(self, value: object) -> None:
        """Check a value as a generated class does.

        Raises:
            CodecError: it is outside.
        """
        if against := broken(value, self.kind, self.bounds, self.encoding):
            raise against[1]
        if isinstance(value, str) and self.pattern is not None:
            wire.matching(value, self.pattern)

    def refusal(self, other: Limits) -> CodecError | None:
        """Why not all values of the same type that keep to `other` keep to these."""
        if other._begins < self._begins:
            return CodecError(self._words("min", "above"))
        if other._ends > self._ends:
            return CodecError(self._words("max", "below"))
        if other.places > self.places:
            return CodecError(f"more than {self.places} decimal places")
        if other.min_len < self.min_len:
            return CodecError(f"shorter than {self.min_len}")
        if other.max_len > self.max_len:
            return CodecError(f"longer than {self.max_len}")
        if self.pattern is None or takes_all(self.pattern, other.pattern or _ANY):
            return None
        return CodecError(f"does not match {self.pattern}")

    def reads(self, other: Limits, *, in_json: bool) -> bool:
        """Whether this type can parse the text of numbers that follow `other`."""
        if not (self.number and other.number):
            return False
        if self.number == other.number:
            return True
        if self.number == "float":
            # A double is exact for every integer up to there, and not beyond.
            exact = other.low >= -_EXACT and other.high <= _EXACT
            return other.number == "int" and exact
        # Inside JSON a decimal is a string.
        return other.number == "int" and not in_json

    def samples_outside(self, other: Limits) -> list[wire.Json]:
        """Numbers under `other` that are outside of these, examples as JSON has them."""
        found: list[wire.Json] = []
        if other._begins < self._begins:
            found.append(self._outside(other, other.low, -1))
        if other._ends > self._ends:
            found.append(self._outside(other, other.high, 1))
        if other.number == "decimal" and other.places > self.places:
            found.append(f"0.{'0' * int(self.places)}1")
        return found

    @property
    def _begins(self) -> tuple[End, bool]:
        return self.low, self.low_open

    @property
    def _ends(self) -> tuple[End, bool]:
        return self.high, not self.high_open

    def _words(self, closed: str, open_: str) -> str:
        """What a value outside of one end is refused with."""
        words = {"min": "below", "max": "above", "above": "not above"}
        for option, bound in ranges(self.kind, self.bounds, self.encoding):
            if option in (closed, open_):
                return f"{words.get(option, 'not below')} {bound}"
        return f"{words[closed]} {self.low if closed == 'min' else self.high}"

    def _outside(self, other: Limits, wish: End, sign: int) -> wire.Json:
        match self.number:
            case "int" if -math.inf < wish < math.inf:
                return int(wish)
            case "int" if sign < 0:
                return int(min(self.low - 1, other.high))
            case "int":
                return int(max(self.high + 1, other.low))
            case "float":
                return sign * _HUGE
            case _:
                return f"{sign}e400"


def _numbers(kind: Type) -> tuple[str, End, End]:
    match kind:
        case Scalar(name) if name in INTEGERS:
            return ("int", *INTEGERS[name])
        case Scalar(name) if name in _NUMBERS:
            return name, -math.inf, math.inf
        case OneOf(values):
            numbers = [value for value in values if isinstance(value, int)]
            return ("int", min(numbers), max(numbers)) if numbers else _NONE
        case _:
            return _NONE
