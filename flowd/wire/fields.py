"""What generated classes do with a field beside its codec: find it, and judge it.

The constraints return the value they were given, or refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sized
from decimal import Decimal
from functools import lru_cache
from typing import Final, Protocol, TypeVar

from flowd.wire.refusal import CodecError

__all__ = [
    "bounded",
    "filled",
    "first_key",
    "matching",
    "new",
    "setters",
    "sized",
]

K = TypeVar("K", bytes, str)
N = TypeVar("N", bound=int | float | Decimal)
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
) -> N:
    """Refuse a number below `min` or above `max`; NaN is outside of every bound."""
    if isinstance(value, Decimal):
        # The double that holds a bound is only next to what the schema spells.
        below = min is not None and not value >= _spelt(min)
        above = max is not None and not value <= _spelt(max)
    else:
        below = min is not None and not value >= min
        above = max is not None and not value <= max
    if below:
        raise CodecError(f"below {min}")
    if above:
        raise CodecError(f"above {max}")
    return value


@lru_cache(maxsize=1024)
def _spelt(bound: float) -> Decimal:
    """The decimal that the schema spells, made once for each bound."""
    return Decimal(str(bound))


def filled(written: T) -> T:
    """Refuse an empty text where it would be read as None: optional, with a mapper."""
    if not written:
        raise CodecError("the text is empty, and would be read as None")
    return written


def sized(value: S, *, min_len: int = 0, max_len: int | None = None) -> S:
    """Refuse a text, bytes, list or dict shorter or longer than that."""
    if len(value) < min_len:
        raise CodecError(f"shorter than {min_len}")
    if max_len is not None and len(value) > max_len:
        raise CodecError(f"longer than {max_len}")
    return value


def matching(value: str, pattern: re.Pattern[str] | str) -> str:
    """Refuse a text that `pattern` does not match as a whole."""
    if isinstance(pattern, str):
        # A module that an earlier flowd-gen wrote has the text.
        pattern = re.compile(pattern)
    if pattern.fullmatch(value) is None:
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
