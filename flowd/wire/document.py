"""Any JSON value as Python holds it, and the keys that JSON has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from flowd.wire.refusal import CodecError

__all__ = ["Json", "with_text_keys"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""Any JSON value."""

_LEAVES: Final = frozenset({str, int, float, bool, type(None)})


def with_text_keys(value: Json) -> Json:
    """The value itself; raises CodecError where a key, however deep, is no str.

    Python's encoder makes text of 1, True and None. They would not be read as they were,
    and of `{1: "a", "1": "b"}` only one value would be.
    """
    try:
        _check(value)
    except TypeError:
        raise CodecError("expected a string for every key") from None
    except RecursionError:
        raise CodecError("nested too deeply, or in a circle") from None
    return value


def _check(value: Json) -> None:
    # What is written often should not cost much more: a call is for containers only.
    inner: Iterable[Json] = ()
    if isinstance(value, dict):
        # The fastest way to ask all keys for their type: it raises TypeError.
        "".join(value)
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    for one in inner:
        if type(one) not in _LEAVES:
            _check(one)
