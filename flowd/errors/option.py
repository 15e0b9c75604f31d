"""Invalid options: the error, and the checks of numbers and texts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Final, Self, TypeVar

from flowd.errors.portable import Portable

__all__ = [
    "FOREVER",
    "LONGEST",
    "FlowdError",
    "OptionError",
    "count",
    "entry_id",
    "flag",
    "function",
    "instance",
    "iterable",
    "seconds",
    "text",
    "wait",
]

FOREVER: Final = 1e11
"""Seconds that stand for a wait without an end: some thousand years."""

LONGEST: Final = 1e9
"""Seconds, some thirty years: what timers and Redis can still count as one wait."""

_SHOWN: Final = 200

T = TypeVar("T")


class FlowdError(Portable):
    """The root: catch this to catch everything flowd raises on purpose."""


class OptionError(FlowdError, ValueError):
    """Invalid option or schema rule.

    Attributes:
        option: the name of what was given.
        value: what was given.
    """

    def __init__(self, option: str, value: object, rule: str) -> None:
        super().__init__(f"{option} is {_shown(value)}; {rule}")
        self.option = option
        self.value = value

    @classmethod
    def absent(cls, option: str, text: str) -> Self:
        """The error for what has to be there and is not; the text is all that it says."""
        error = cls(option, None, text)
        error.args = (text,)
        return error


def seconds(
    option: str, value: object, *, least: float = 0.001, most: float = math.inf
) -> float:
    """A time in seconds, `least` and `most` included, and never infinite.

    Raises:
        OptionError: it is no `int` or `float`, not finite, or out of range.
    """
    given = _number(value)
    if given is None or not least <= given <= most or math.isinf(given):
        beyond = given is not None and given > most
        near = most < LONGEST or beyond
        rule = _range(least, most, given) if near else f"at least {least:g}"
        raise OptionError(option, value, f"must be {rule} (seconds)")
    return given


def wait(option: str, value: object, *, least: float = 0.0) -> float:
    """A time to wait, in seconds; infinity is allowed, and never ends.

    Raises:
        OptionError: it is no `int`, `float` or `timedelta`, is NaN, or below `least`.
    """
    if isinstance(value, timedelta):
        given: float | None = value.total_seconds()
    elif isinstance(value, int) and not isinstance(value, bool):
        given = float(max(min(value, int(FOREVER)), -1))
    else:
        given = _number(value)
    if given is None or not given >= least:  # true for NaN as well
        rule = f"must be a float, an int or a timedelta, {least:g} or more (seconds)"
        raise OptionError(option, value, rule)
    return given


def count(option: str, value: object, *, least: int = 0, most: float = 2**31) -> int:
    """A whole number, `least` and `most` included.

    Raises:
        OptionError: it is no `int`, or out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise OptionError(option, value, "must be a whole number (int)")
    if not least <= value <= most:
        raise OptionError(option, value, f"must be {_range(least, most, value)}")
    return value


def entry_id(option: str, value: object) -> str:
    """The id of a job or of a dead letter; whether it has the form of one is not checked.

    Raises:
        OptionError: it is no text, as the bytes that a client of Redis gives.
    """
    return instance(option, value, str, "must be an id, as a str")


def flag(option: str, value: object) -> bool:
    """True or False.

    Raises:
        OptionError: it is neither.
    """
    if not isinstance(value, bool):
        raise OptionError(option, value, "must be True or False")
    return value


def instance(
    option: str, value: object, kind: type[T], rule: str, *, shown: bool = True
) -> T:
    """A value of that class.

    Args:
        option: the name of what was given.
        value: what was given.
        kind: the class.
        rule: what it must be, in words.
        shown: False: the error has only the class of the value, which may be a URL with
            a password.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(value, kind):
        raise OptionError(option, value if shown else type(value).__name__, rule)
    return value


def function(option: str, value: object, rule: str) -> None:
    """Check what is to be called, if it is given at all.

    Raises:
        OptionError: it is given and cannot be called.
    """
    if value is not None and not callable(value):
        raise OptionError(option, value, rule)


def iterable(option: str, value: object, rule: str) -> None:
    """Check what a program without a type checker may pass for many things.

    Raises:
        OptionError: it is not iterable.
    """
    if not isinstance(value, Iterable):
        raise OptionError(option, value, rule)


def text(option: str, value: object) -> str:
    """A printable text that is not empty.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(value, str) or not value or not value.isprintable():
        raise OptionError(option, value, "must be printable text, not empty")
    return value


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an int that no float can hold
        return None


def _range(least: float, most: float, given: float | None) -> str:
    """What is allowed; an end that is far away is said only to who went beyond it."""
    if most in (math.inf, 2**31) and (given is None or given <= most):
        return f"{_plain(least)} or more"
    return f"from {_plain(least)} to {_plain(most)}"


def _plain(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:g}"


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except Exception as error:  # an int of 5,000 digits, or the user's own `__repr__`
        return f"a {type(value).__name__} ({type(error).__name__} in its repr)"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
