"""What an answer must look like: each reader checks the shape of one, and gives it a type.

A `Connection` reads every answer before the caller gets it. One that its reader does
not take is no answer: what comes behind it cannot be trusted either, so the connection is
closed, and whether the command was carried out is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Final, TypeAlias, TypeGuard, TypeVar, cast

from flowd.errors import ServerError

__all__ = [
    "Reader",
    "anything",
    "array",
    "data",
    "entries",
    "entry",
    "fields",
    "items",
    "last_id",
    "maybe",
    "named",
    "number",
    "numbers",
    "okay",
    "pair",
    "role",
    "text",
    "texts_or_refusals",
    "unlike",
]

T = TypeVar("T")

Reader: TypeAlias = Callable[[object], T]
"""Returns what an answer says; any exception means that it has another shape."""

_SHOWN: Final = 80
_join: Final = cast("Callable[[list[object]], bytes]", b"".join)
_lines: Final = cast("Callable[[list[object]], bytes]", b"\n".join)


def anything(reply: object) -> object:
    """An answer of any shape: the caller checks it, or does not need it."""
    return reply


def number(reply: object) -> int:
    """An integer."""
    if type(reply) is not int:
        raise unlike("a number", reply)
    return reply


def okay(reply: object) -> None:
    """The word OK."""
    if reply != b"OK":
        raise unlike("OK", reply)


def data(reply: object) -> bytes:
    """A string, as bytes."""
    if type(reply) is not bytes:
        raise unlike("a string", reply)
    return reply


def text(reply: object) -> str:
    """A string of UTF-8."""
    return data(reply).decode()


def texts_or_refusals(count: int) -> Reader[list[str | ServerError]]:
    """An array of exactly so many strings of UTF-8, any of which may be refused."""

    def read(reply: object) -> list[str | ServerError]:
        found = array(reply)
        if len(found) != count:
            raise unlike(f"{count} items", reply)
        try:
            together = _lines(found).decode().split("\n")  # far faster than one by one
        except TypeError:
            together = []
        if len(together) == count:
            return [*together]
        return [each if isinstance(each, ServerError) else text(each) for each in found]

    return read


def role(reply: object) -> str:
    """What ROLE says first: master, slave or sentinel."""
    return text(array(reply)[0])


def maybe(reader: Reader[T]) -> Reader[T | None]:
    """What the reader takes, or nil."""
    return lambda reply: None if reply is None else reader(reply)


def items(reader: Reader[T], count: int | None = None) -> Reader[list[T]]:
    """An array of what the reader takes; exactly `count` of it, if that is given."""

    def read(reply: object) -> list[T]:
        found = array(reply)
        if count is not None and len(found) != count:
            raise unlike(f"{count} items", reply)
        return [reader(each) for each in found]

    return read


def numbers(count: int) -> Reader[list[int]]:
    """An array of so many integers."""
    return items(number, count)


def fields(reply: object) -> list[bytes]:
    """The fields of an entry, as name, value and so on."""
    found = array(reply)
    if len(found) % 2 or not _is_data(found):
        raise unlike("pairs of strings", reply)
    return found


def entry(reply: object) -> tuple[bytes, list[bytes]]:
    """The id of an entry, and its fields."""
    each, flat = array(reply)
    return data(each), fields(flat)


def pair(reply: object) -> tuple[object, object]:
    """An array of two."""
    first, second = array(reply)
    return first, second


def entries(reply: object) -> list[tuple[bytes, list[bytes]]]:
    """Entries of a stream, as `entry`."""
    return [(data(each), fields(flat)) for each, flat in map(array, array(reply))]


def last_id(reply: object) -> str:
    """The id of the one entry that XREVRANGE found; `0-0` if it found none."""
    found = entries(reply)
    return found[0][0].decode() if found else "0-0"


def named(reply: object) -> dict[bytes, object]:
    """What XINFO says of one thing, by name."""
    flat = array(reply)
    return dict(zip(map(data, flat[::2]), flat[1::2], strict=True))


def array(reply: object) -> list[object]:
    """An array of anything."""
    if type(reply) is not list:
        raise unlike("an array", reply)
    return reply  # pyright: ignore[reportUnknownVariableType] - of anything


def _is_data(found: list[object]) -> TypeGuard[list[bytes]]:
    try:
        _join(found)  # the fastest way to ask them all
    except TypeError:
        return False
    return True


def unlike(expected: str, reply: object) -> ValueError:
    """Say what came, and nothing of what jobs hold."""
    kind = type(reply).__name__
    size = f" of {len(reply)}" if isinstance(reply, Sized) else ""
    said = f": {reply}"[:_SHOWN] if isinstance(reply, (int, ServerError)) else ""
    return ValueError(f"{expected} expected, got {kind}{size}{said}")
