"""How short and how long the text of a number is, within the limits of its field.

Verdicts about a `str` that reads what numbers wrote depend on it: how many characters
may a message hold at most?
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from decimal import Decimal, localcontext
from itertools import count
from typing import Final

from flowd.wire.numbers import LONGEST
from flowd_codegen.model.bounds import End
from flowd_codegen.model.limits import Limits

__all__ = ["number_texts"]

_DIGITS: Final = 17
"""The most significant digits that a double needs."""

_LEAST: Final = 324
"""The last place behind the point that a double needs."""


def number_texts(limits: Limits) -> Iterator[str]:
    """The shortest text of a number within the limits, and the longest.

    Args:
        limits: of an integer type, `float` or `decimal`.
    """
    low, high = limits.low, limits.high
    if low < 0 < high or (low <= 0 <= high and not _open_at_zero(limits)):
        shortest = "0"
    elif high <= 0:
        opens = {"begins": limits.high_open, "ends": limits.low_open}
        shortest = f"-{_shortest(-high, -low, **opens)}"
    else:
        opens = {"begins": limits.low_open, "ends": limits.high_open}
        shortest = _shortest(low, high, **opens)
    yield shortest
    match limits.number:
        case "int":
            yield from (
                _longest_int(end, sign) for end, sign in ((low, "-"), (high, ""))
            )
        case "float":
            yield from _longest_floats(low, high)
        case _:
            # Zeros behind the point are written, however few places it may have.
            text = shortest if "." in shortest else f"{shortest}."
            yield text.ljust(LONGEST, "0")


def _open_at_zero(limits: Limits) -> bool:
    return (limits.low == 0 and limits.low_open) or (
        limits.high == 0 and limits.high_open
    )


def _longest_int(end: End, sign: str) -> str:
    if -math.inf < end < math.inf:
        return str(int(end))
    return f"{sign}{'9' * LONGEST}"


def _longest_floats(low: End, high: End) -> Iterator[str]:
    """Of the numbers below 0 and of those above it: the smallest and the largest ones."""
    for sign, least, most in (("-", -high, -low), ("", low, high)):
        if most <= 0:
            continue
        if least < 1:
            first = _LEAST if least <= 0 else -_decimal(least).adjusted()
            yield f"{sign}0.{'1' * min(_LEAST, first + _DIGITS - 1)}"
        else:
            digits = f"{sign}{_decimal(least):.0f}."
            yield digits.ljust(len(sign) + _DIGITS + 1, "1").removesuffix(".")
        largest = f"{_decimal(most if most < math.inf else sys.float_info.max):.0f}"
        yield f"{sign}{largest}"


def _shortest(low: End, high: End, *, begins: bool, ends: bool) -> str:
    """The shortest text of a number from `low` to `high`, which are above 0 or 0.

    Args:
        low: the smallest.
        high: the largest, or infinity.
        begins: `low` itself is outside.
        ends: `high` itself is outside.
    """
    least = _decimal(low)
    with localcontext() as context:
        context.prec = 2 * LONGEST
        for places in count():
            step = Decimal(1).scaleb(-places)
            found = (least / step).to_integral_value("ROUND_CEILING") * step
            if begins and found == least:
                found += step
            if found < high or (found == high and not ends):
                return f"{found:f}"
    raise AssertionError(low, high)


def _decimal(end: End) -> Decimal:
    return end if isinstance(end, Decimal) else Decimal(str(end))
