"""A factory, and a mapper for a field with a default."""

from __future__ import annotations


def make() -> list[str]:
    """A new list for each job."""
    return ["made"]


def join(parts: list[str]) -> str:
    """Join with commas."""
    return ",".join(parts)


def split(text: str) -> list[str]:
    """Split at commas."""
    return text.split(",")


EXAMPLES = {"Defaults.mapped": [["a"], ["x", "y"]]}
