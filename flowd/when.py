"""How long and when, as a caller says it: checked before anything is sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from flowd.errors import OptionError

__all__ = ["FOREVER", "Seconds", "due_at", "seconds"]

Seconds = float | timedelta
"""A span of time: seconds as `float` or `int`, or a `timedelta`."""

FOREVER: Final = 1e11
"""Seconds that stand for a wait without an end: some thousand years."""


def seconds(option: str, value: object, *, least: float = 0.0) -> float:
    """A span of time in seconds; infinite is allowed, and never ends.

    Args:
        option: the name of what was given.
        value: a `float`, an `int` or a `timedelta`.
        least: the shortest that is allowed, in seconds.

    Raises:
        OptionError: it is of another type (`bool` and `Decimal` are), is NaN, or is
            shorter.
    """
    match value:
        case bool():
            pass
        case timedelta():
            value = value.total_seconds()
            if value >= least:
                return value
        case float():
            if value >= least:  # false for NaN
                return float(value)
        case int():
            if value >= least:
                return float(value) if value < FOREVER else FOREVER
        case _:
            pass
    rule = f"must be a float, an int or a timedelta, {least:g} or more (seconds)"
    raise OptionError(option, value, rule)


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
