"""Any JSON value as Python holds it, and the keys that JSON has."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flowd.wire.refusal import BEYOND_FLOAT, NESTED, CodecError, misfit

__all__ = ["DEEPEST", "TOO_DEEP", "Json", "finite", "with_text_keys"]

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:
    # What looks at annotations when it runs (pydantic, cattrs, `get_type_hints`) cannot
    # follow a type into itself before Python 3.12.
    Json = Any
"""Any JSON value."""

DEEPEST: Final = 127
"""How deep arrays and objects may be in each other: as deep as Rust's serde reads them."""

TOO_DEEP: Final = f"{NESTED}: more than {DEEPEST} levels"
"""The refusal of what is deeper."""

_CONTAINERS: Final = (list, dict)
_LEAVES: Final = frozenset({str, int, float, bool, type(None)})


def with_text_keys(value: Json) -> Json:
    """The value itself; raises CodecError where a key, however deep, is no str, or a value no JSON.

    Python's encoder makes text of 1, True and None. They would not be read as they were,
    and of `{1: "a", "1": "b"}` only one value would be.
    """
    try:
        _check_keys(value, DEEPEST - 1)
    except TypeError:
        raise CodecError("expected a string for every key") from None
    return value


def _check_keys(value: Json, deepest: int) -> None:
    # What is written often should not cost much more: a call is for containers only.
    inner: Iterable[Json] = ()
    if isinstance(value, dict):
        # The fastest way to ask all keys for their type: it raises TypeError.
        "".join(value)
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif not _is_leaf(value):
        raise misfit("a JSON value", value)
    for one in inner:
        if type(one) not in _LEAVES:
            if not deepest:
                raise CodecError(TOO_DEEP)
            _check_keys(one, deepest - 1)


def _is_leaf(value: object) -> bool:
    """Whether it is, or is of a subclass of, what JSON has but for arrays and objects."""
    return value is None or isinstance(value, str | int | float)


def finite(value: Json) -> Json:
    """The value itself; raises CodecError where it could not be written again.

    That is a number beyond every double, which Python reads as infinity, and nesting.
    """
    if type(value) is float or type(value) in _CONTAINERS:
        _check_numbers(value, DEEPEST - 1)
    return value


def _check_numbers(value: Json, deepest: int) -> None:
    match value:
        case float():
            if not isfinite(value):
                raise CodecError(BEYOND_FLOAT)
        case list() | dict():
            for one in value.values() if isinstance(value, dict) else value:
                if type(one) is float or type(one) in _CONTAINERS:
                    if not deepest:
                        raise CodecError(TOO_DEEP)
                    _check_numbers(one, deepest - 1)
        case _:
            pass
