"""How deep a value may be that holds others of its own kind: no deeper than JSON may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from flowd.wire.document import DEEPEST, TOO_DEEP, Json
from flowd.wire.refusal import NESTED, CodecError
from flowd.wire.shapes import Shape

__all__ = ["FILLED", "depth_checked"]

T = TypeVar("T")

FILLED: Final = 8
"""The levels that defaults alone fill a record with, where a schema says no other number."""


def depth_checked(item: Shape[T], filled: int = FILLED) -> Shape[T]:
    """What `item` is, if its arrays and objects are at most 127 levels deep.

    A record that holds itself, or a `json`, has no deepest level of its own. What one side
    writes, the other must be able to read, and Rust's serde reads no more. What is read
    can be written again: defaults that fill a record are levels too.

    Args:
        item: how the value is read and written.
        filled: the most levels of a record of which no key was given.
    """

    def load(value: Json) -> T:
        # Checked first: how much of the call stack is left would decide otherwise.
        is_near = _check(value, DEEPEST) < filled
        made = item.load(value)
        if is_near:
            refuse_if_deeper(made)
        return made

    def refuse_if_deeper(value: T) -> None:
        try:
            dump(value)
        except CodecError as error:
            # An unknown value of an open enum is read although it is never written.
            if error.reason is TOO_DEEP:
                raise

    def dump(value: T) -> Json:
        try:
            document = item.dump(value)
        except CodecError as error:
            if error.reason is not NESTED:
                raise
            # The place would be as long as the value is deep.
            refusal = CodecError(TOO_DEEP)
        else:
            _check(document, DEEPEST)
            return document
        raise refusal

    return Shape(load, dump)


def _check(value: Json, deepest: int) -> int:
    """The levels that are left below the deepest one of a value."""
    inner: Iterable[Json]
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    else:
        return deepest
    if not deepest:
        raise CodecError(TOO_DEEP)
    left = deepest - 1
    for one in inner:
        if isinstance(one, dict | list | tuple):
            left = min(left, _check(one, deepest - 1))
    return left
