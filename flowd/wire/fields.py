"""What generated classes do with a field apart from its codec: find it and check it.

The constraints return the value they were given, or refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sized
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, Protocol, TypeVar

from flowd.wire.refusal import CodecError, instance, misfit

__all__ = [
    "bounded",
    "filled",
    "first_key",
    "matching",
    "new",
    "placed",
    "setters",
    "sized",
    "within",
]

K = TypeVar("K", bytes, str)
N = TypeVar("N", bound=int | float | Decimal)
C = TypeVar("C", Decimal, datetime, date, timedelta)
S = TypeVar("S", bound=Sized)
T = TypeVar("T")


def first_key(fields: Mapping[K, object], *keys: K) -> K:
    """The first of `keys` that is there; where none is, the first of all."""
    for key in keys:
        if key in fields:
            return key
    return keys[0]


def bounded(
    value: N,
    *,
    min: float | None = None,  # noqa: A002 - the schema's own word
    max: float | None = None,  # noqa: A002 - the schema's own word
    above: float | None = None,
    below: float | None = None,
) -> N:
    """Refuse a number below `min`, above `max`, not above `above` or not below `below`.

    NaN is outside of every bound.
    """
    if isinstance(value, Decimal):
        # Modules that an earlier flowd-gen wrote give decimals, which `within` takes now.
        low, high = _spelt(min), _spelt(max)
        within(Decimal(value), min=low, max=high)
        return value
    try:
        if min is not None and not value >= min:
            raise CodecError(f"below {min}")
        if max is not None and not value <= max:
            raise CodecError(f"above {max}")
        if above is not None and not value > above:
            raise CodecError(f"not above {above}")
        if below is not None and not value < below:
            raise CodecError(f"not below {below}")
    except TypeError:
        pass
    else:
        return value
    raise misfit("a number", value)


@lru_cache(maxsize=1024)
def _spelt(bound: float | None) -> Decimal | None:
    """The decimal that the schema spells; the double that holds it is only next to it."""
    return None if bound is None else Decimal(str(bound))


def within(
    value: C,
    *,
    min: C | None = None,  # noqa: A002 - the schema's own word
    max: C | None = None,  # noqa: A002 - the schema's own word
    above: C | None = None,
    below: C | None = None,
) -> C:
    """The same for a decimal, date, datetime or duration."""
    try:
        if min is not None and not value >= min:
            raise CodecError(f"below {min}")
        if max is not None and not value <= max:
            raise CodecError(f"above {max}")
        if above is not None and not value > above:
            raise CodecError(f"not above {above}")
        if below is not None and not value < below:
            raise CodecError(f"not below {below}")
    except TypeError:
        pass
    else:
        return value
    for bound in (min, max, above, below):
        if isinstance(value, datetime) and isinstance(bound, datetime):
            raise CodecError("expected a datetime with a time zone")
        if bound is not None:
            raise misfit(f"a {type(bound).__name__}", value)
    return value


def placed(value: Decimal, places: int) -> Decimal:
    """Refuse a decimal with more digits behind the point, zeros at its end aside."""
    _, digits, exponent = instance(value, Decimal).as_tuple()
    # NaN and the infinities have none, and are refused when they are written.
    if (
        isinstance(exponent, int)
        and -exponent > places
        and any(digits[places + exponent :])
    ):
        raise CodecError(f"more than {places} decimal places")
    return value


def filled(written: T) -> T:
    """Refuse an empty text where it would be read as None: optional, with a mapper."""
    if not written:
        raise CodecError("the text is empty, and would be read as None")
    return written


def sized(value: S, *, min_len: int = 0, max_len: int | None = None) -> S:
    """Refuse a text, bytes, list or dict shorter or longer than that."""
    try:
        length = len(value)
    except TypeError:
        length = -1
    if length < 0:
        raise misfit("a value with a length", value)
    if length < min_len:
        raise CodecError(f"shorter than {min_len}")
    if max_len is not None and length > max_len:
        raise CodecError(f"longer than {max_len}")
    return value


def matching(value: str, pattern: re.Pattern[str] | str) -> str:
    """Refuse a text that `pattern` does not match as a whole."""
    if isinstance(pattern, str):
        # A module that an earlier flowd-gen wrote has the text.
        pattern = re.compile(pattern)
    if pattern.fullmatch(instance(value, str)) is None:
        raise CodecError(f"does not match {pattern.pattern}")
    return value


class _New(Protocol):
    def __call__(self, kind: type[T], /) -> T: ...


new: Final[_New] = object.__new__
"""An object of a generated class before its fields are set."""


def setters(kind: type[T]) -> tuple[Callable[[T, object], None], ...]:
    """What sets each field of a new object of a frozen dataclass with slots, in order.

    Decoding builds an object with them in a third of the time that `__init__` takes,
    which goes through the `__setattr__` that every class has.
    """
    members = vars(kind)
    return tuple(members[name].__set__ for name in members["__slots__"])
