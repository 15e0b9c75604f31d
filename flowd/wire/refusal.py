"""What a codec raises, and how it says where inside a JSON value."""

from __future__ import annotations

from typing import Final, TypeVar

__all__ = [
    "BEYOND_FLOAT",
    "MISSING",
    "NESTED",
    "CodecError",
    "inside",
    "instance",
    "misfit",
]

T = TypeVar("T")

MISSING: Final = "required key is missing"
"""The refusal of an object without a key that it needs."""

BEYOND_FLOAT: Final = "a number beyond every float"
"""The refusal of digits that Python reads as infinity."""

NESTED: Final = "nested too deeply, or in a circle"
"""The refusal of what Python cannot follow to its end."""

_JSON_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a bool",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "a list",
    dict: "an object",
}


class CodecError(ValueError):
    """Bytes, or a value, that a codec refuses.

    Attributes:
        reason: what is wrong; it never holds the value, so it may be shown for secrets.
        where: the place inside a JSON value, as `[3].size`; empty for the whole.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.where = where

    def __str__(self) -> str:
        return f"at {self.where}: {self.reason}" if self.where else self.reason


def inside(step: str, error: Exception) -> CodecError:
    """Put one more `step` (`[3]`, `.size`) in front of the place of `error`.

    Whatever a user's mapper raised becomes a CodecError with it as the cause.
    """
    if isinstance(error, CodecError):
        error.where = step + error.where
        return error
    if isinstance(error, KeyError) and error.args == (step[1:],):
        return CodecError(MISSING, step)
    if isinstance(error, RecursionError):
        return CodecError(NESTED, step)
    refusal = CodecError(f"refused with {type(error).__name__}", step)
    refusal.__cause__ = error
    return refusal


def instance(value: object, kind: type[T]) -> T:
    """The value, if it is of that class or of a subclass; raises CodecError."""
    if not isinstance(value, kind):
        raise misfit(f"a {kind.__name__}", value)
    return value


def misfit(expected: str, value: object) -> CodecError:
    """The refusal of a value of the wrong kind; it names the kind it has."""
    kind = _JSON_KINDS.get(type(value), type(value).__name__)
    return CodecError(f"expected {expected}, not {kind}")
