"""How deep a value may be that holds others of its own kind: no deeper than JSON may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from flowd.wire.document import DEEPEST, TOO_DEEP, Json
from flowd.wire.refusal import NESTED, CodecError
from flowd.wire.shapes import Shape

__all__ = ["depth_checked"]

T = TypeVar("T")


def depth_checked(item: Shape[T]) -> Shape[T]:
    """What `item` is, if its arrays and objects are at most 127 levels deep.

    A record that holds itself has no deepest level of its own. What one side writes, the
    other must be able to read, and Rust's serde reads no more.
    """

    def load(value: Json) -> T:
        # Checked first: how much of the call stack is left would decide otherwise.
        _check(value, DEEPEST)
        return item.load(value)

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


def _check(value: Json, deepest: int) -> None:
    inner: Iterable[Json]
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    else:
        return
    if not deepest:
        raise CodecError(TOO_DEEP)
    for one in inner:
        if isinstance(one, dict | list | tuple):
            _check(one, deepest - 1)
