"""What a field demands of its value, and which of two fields demands more."""

from __future__ import annotations

import math
from collections.abc import Sized
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from flowd import wire
from flowd.wire import CodecError
from flowd_codegen.model.pattern import takes_all
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import Encoding, Field, OneOf, Scalar, Type

__all__ = ["Limits"]

_HUGE: Final = 1.7e308
_EXACT: Final = 2**53
_NUMBERS: Final = ("int", "float", "decimal")
_OWN: Final = ("text", "base64", "rfc3339")
"""The encodings that a type has when its field names none."""

_ANY: Final = r"(?:.|\n)*"
"""What matches every text."""

_NONE: Final = ("", -math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a type, and those that a field adds to them.

    Attributes:
        number: `int` for every integer type, `float`, `decimal`; empty for no number.
        low: the smallest number; `-inf` when there is none.
        high: the largest.
        min_len: fewest characters, bytes or items.
        max_len: most of them.
        pattern: what the whole text matches.
        encoding: of the field, None for the type's own.
    """

    number: str = ""
    low: float = -math.inf
    high: float = math.inf
    min_len: int = 0
    max_len: float = math.inf
    pattern: str | None = None
    encoding: Encoding | None = None

    @classmethod
    def of(cls, kind: Type, field: Field | None = None) -> Limits:
        """The limits of a type, of a field or of an item inside JSON."""
        number, low, high = _numbers(kind)
        if field is None:
            return cls(number, low, high)
        return cls(
            number,
            low if field.min is None else max(low, field.min),
            high if field.max is None else min(high, field.max),
            field.min_len or 0,
            math.inf if field.max_len is None else field.max_len,
            field.pattern,
            None if field.encoding in _OWN else field.encoding,
        )

    def check(self, value: object) -> None:
        """Judge a value as a generated class does.

        Raises:
            CodecError: it is outside.
        """
        if isinstance(value, int | float | Decimal):
            # Without a bound NaN is a number too.
            low = self.low if self.low > -math.inf else None
            high = self.high if self.high < math.inf else None
            wire.bounded(value, min=low, max=high)
        if isinstance(value, Sized):
            most = int(self.max_len) if self.max_len < math.inf else None
            wire.sized(value, min_len=self.min_len, max_len=most)
        if isinstance(value, str) and self.pattern is not None:
            wire.matching(value, self.pattern)

    def refusal(self, other: Limits) -> CodecError | None:
        """Why not all values of the same type that keep to `other` keep to these."""
        if other.low < self.low:
            return CodecError(f"below {self.low}")
        if other.high > self.high:
            return CodecError(f"above {self.high}")
        if other.min_len < self.min_len:
            return CodecError(f"shorter than {self.min_len}")
        if other.max_len > self.max_len:
            return CodecError(f"longer than {self.max_len}")
        if self.pattern is None or takes_all(self.pattern, other.pattern or _ANY):
            return None
        return CodecError(f"does not match {self.pattern}")

    def reads(self, other: Limits, *, in_json: bool) -> bool:
        """Whether numbers under `other` are spelt so that these can be read from them."""
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

    def strays(self, other: Limits) -> list[wire.Json]:
        """Numbers under `other` that are outside of these, examples as JSON has them."""
        found: list[wire.Json] = []
        if other.low < self.low:
            found.append(self._outside(other.low, -1))
        if other.high > self.high:
            found.append(self._outside(other.high, 1))
        return found

    def _outside(self, wish: float, sign: int) -> wire.Json:
        match self.number:
            case "int":
                edge = self.low if sign < 0 else self.high
                return int(edge) + sign if abs(wish) == math.inf else int(wish)
            case "float":
                return sign * _HUGE
            case _:
                return f"{sign}e400"


def _numbers(kind: Type) -> tuple[str, float, float]:
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
