"""How long and when, as a caller says it: checked before anything is sent."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from flowd.errors import OptionError
from flowd.errors.option import FOREVER

__all__ = ["WAIT_BOUNDS", "Seconds", "due_at", "milliseconds"]

Seconds = float | timedelta
"""A span of time: seconds as `float` or `int`, or a `timedelta`."""


WAIT_BOUNDS: Final = (
    *(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 900.0, 3_600.0, 21_600.0),
)
"""Seconds: the buckets of every histogram of how long jobs waited."""


def due_at(option: str, value: object) -> float:
    """A moment as seconds since 1970; what lies before 1970 is due as well.

    Raises:
        OptionError: it is no `datetime`, or has no time zone.
    """
    if isinstance(value, datetime):
        try:
            if value.utcoffset() is not None:
                # A thousandth above 0, which means that no moment was named.
                return max(value.timestamp(), 0.001)
        except Exception as error:  # a tzinfo of the caller's may raise anything
            rule = f"its time zone fails: {type(error).__name__}"
            raise OptionError(option, type(value).__name__, rule) from error
    rule = "must be a datetime with a time zone, as datetime.now(UTC)"
    raise OptionError(option, value, rule)


def milliseconds(span: float) -> int:
    """Seconds as milliseconds, rounded up: a wait is never cut to nothing.

    One without an end is cut to some thousand years, which Redis can count.
    """
    return math.ceil(min(span, FOREVER) * 1000)
