"""JSON inside a field: what may stand where, read and written with its place.

A shape reads and writes one JSON value. Numbers and booleans are JSON's own, a duration
and a datetime as `unix_ms` are milliseconds, every other scalar is the string that a
field would hold. `list_of`, `dict_of`, `optional`, `record_of`, `enum_of`,
`open_enum_of`, `one_of` and `union_of` build the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Final, Generic, Protocol, Self, TypeVar

from flowd.wire import numbers, text, times
from flowd.wire.document import Json, finite, with_text_keys
from flowd.wire.refusal import BEYOND_FLOAT, MISSING, CodecError, inside, misfit

__all__ = [
    "BASE64",
    "BOOL",
    "DATE",
    "DATETIME",
    "DECIMAL",
    "DURATION",
    "FLOAT",
    "HEX",
    "I8",
    "I16",
    "I32",
    "I64",
    "INT",
    "JSON",
    "STR",
    "U8",
    "U16",
    "U32",
    "U64",
    "UNIX_MS",
    "UUID",
    "Shape",
    "checked",
    "dict_of",
    "enum_of",
    "items_of",
    "list_of",
    "one_of",
    "open_enum_of",
    "optional",
    "record_of",
    "union_of",
]

A = TypeVar("A")
B = TypeVar("B")
P = TypeVar("P", bool, str)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """How one kind of JSON value is read and written; both raise CodecError."""

    load: Callable[[Json], T]
    dump: Callable[[T], Json]


class Record(Protocol):
    """A class that `flowd-gen` wrote for a `[record.N]`."""

    def to_json(self) -> dict[str, Json]:
        """Encode as a JSON object."""
        ...

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Decode a JSON object, unknown keys ignored."""
        ...


R = TypeVar("R", bound=Record)
E = TypeVar("E", bound=StrEnum)
L = TypeVar("L", bound=str | int)


def list_of(item: Shape[T]) -> Shape[list[T]]:
    """A JSON array."""

    def load(value: Json) -> list[T]:
        if not isinstance(value, list):
            raise misfit("a list", value)
        return _each(item.load, value)

    def dump(value: Sequence[T]) -> Json:
        if not isinstance(value, list | tuple):
            raise misfit("a list", value)
        return _each(item.dump, value)

    return Shape(load, dump)


def dict_of(item: Shape[T]) -> Shape[dict[str, T]]:
    """A JSON object with any keys; errors count its values, a key may be secret."""

    def load(value: Json) -> dict[str, T]:
        if not isinstance(value, dict):
            raise misfit("an object", value)
        return dict(zip(value, _each(item.load, value.values()), strict=True))

    def dump(value: Mapping[str, T]) -> Json:
        if not isinstance(value, dict):
            raise misfit("a dict", value)
        keys = _each(STR.load, value)
        return dict(zip(keys, _each(item.dump, value.values()), strict=True))

    return Shape(load, dump)


def checked(item: Shape[T], check: Callable[[T], T]) -> Shape[T]:
    """What `item` is, if `check` does not refuse it."""
    return Shape(
        lambda value: check(item.load(value)), lambda value: item.dump(check(value))
    )


def optional(item: Shape[T]) -> Shape[T | None]:
    """Null, or what `item` is."""

    def load(value: Json) -> T | None:
        return None if value is None else item.load(value)

    def dump(value: T | None) -> Json:
        return None if value is None else item.dump(value)

    return Shape(load, dump)


def record_of(kind: type[R]) -> Shape[R]:
    """A JSON object with the keys of a generated record."""

    def dump(value: R) -> Json:
        if not isinstance(value, kind):
            raise misfit(kind.__name__, value)
        return value.to_json()

    return Shape(kind.from_json, dump)


def union_of(tag: str, members: Mapping[str, type[R]]) -> Shape[R]:
    """A JSON object that is one of several records; the text under `tag` says which."""
    tags = {kind: said for said, kind in members.items()}
    known = text.any_of([*members])

    def load(value: Json) -> R:
        said = items_of(value).get(tag)
        kind = members.get(said) if isinstance(said, str) else None
        if kind is None:
            reason = f"expected {known}" if tag in items_of(value) else MISSING
            raise CodecError(reason, f".{tag}")
        return kind.from_json(value)

    def dump(value: R) -> Json:
        said = tags.get(type(value))
        if said is None:
            names = text.any_of([kind.__name__ for kind in tags])
            raise misfit(names, value)
        return {tag: said, **value.to_json()}

    return Shape(load, dump)


def _textual(encode: Callable[[T], bytes], decode: Callable[[bytes], T]) -> Shape[T]:
    """A JSON string that holds what a field of that type holds."""

    def load(value: Json) -> T:
        if not isinstance(value, str):
            raise misfit("a string", value)
        return decode(value.encode())

    def dump(value: T) -> Json:
        return encode(value).decode()

    return Shape(load, dump)


def enum_of(kind: type[E]) -> Shape[E]:
    """A JSON string, the text of a member."""
    return _textual(
        lambda value: text.encode_enum(value, kind),
        lambda raw: text.decode_enum(raw, kind),
    )


def open_enum_of(unknown: E) -> Shape[E]:
    """A JSON string: the text of a member, or any other, which is read as `unknown`."""
    return _textual(
        lambda value: text.encode_open_enum(value, unknown),
        lambda raw: text.decode_open_enum(raw, unknown),
    )


def one_of(choices: Mapping[bytes, L]) -> Shape[L]:
    """A JSON string or integer out of `choices`, a table from wire text to value."""

    def load(value: Json) -> L:
        choice = text.decode_one_of(str(value).encode(), choices)
        if type(choice) is not type(value):
            raise misfit("a string" if isinstance(choice, str) else "an integer", value)
        return choice

    def dump(value: L) -> Json:
        return choices[text.encode_one_of(value, choices)]

    return Shape(load, dump)


def items_of(value: Json) -> dict[str, Json]:
    """What a record is read from: the keys and values of a JSON object."""
    if not isinstance(value, dict):
        raise misfit("an object", value)
    return value


def _each(convert: Callable[[A], B], values: Iterable[A]) -> list[B]:
    done: list[B] = []
    try:
        for value in values:
            done.append(convert(value))  # noqa: PERF401 - its length is the place
        return done
    except Exception as error:  # a mapper of the user's may raise anything
        refusal = inside(f"[{len(done)}]", error)
    raise refusal


def _integer(check: Callable[[int], bytes], low: int, high: int) -> Shape[int]:
    """What is from `low` to `high` is taken at once; `check` judges the rest."""

    def load(value: Json) -> int:
        if type(value) is int and low <= value <= high:
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            raise misfit("an integer", value)
        check(value)
        return value

    return Shape(load, load)


def _milliseconds(
    encode: Callable[[T], bytes], decode: Callable[[bytes], T]
) -> Shape[T]:
    def load(value: Json) -> T:
        if type(value) is not int:
            raise misfit("an integer", value)
        return decode(b"%d" % value)

    def dump(value: T) -> Json:
        return int(encode(value))

    return Shape(load, dump)


def _exactly(kind: type[P], expected: str) -> Shape[P]:
    def load(value: Json) -> P:
        if not isinstance(value, kind):
            raise misfit(expected, value)
        return value

    return Shape(load, load)


def _float(value: Json) -> float:
    if type(value) is float and isfinite(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise misfit("a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not isfinite(number):
        # JSON has no other spelling of an infinity.
        raise CodecError(BEYOND_FLOAT)
    return number


def _exact(value: Json) -> float:
    """A reader rounds every number to a double; a writer is not to change one."""
    if isinstance(value, float) and not isfinite(value):
        raise CodecError("NaN and infinity are not JSON")
    number = _float(value)
    return numbers.exact(value) if isinstance(value, int) else number


BOOL: Final = _exactly(bool, "a bool")
INT: Final = _integer(numbers.encode_int, -(2**63), 2**64 - 1)
U8: Final = _integer(numbers.encode_u8, 0, 2**8 - 1)
U16: Final = _integer(numbers.encode_u16, 0, 2**16 - 1)
U32: Final = _integer(numbers.encode_u32, 0, 2**32 - 1)
U64: Final = _integer(numbers.encode_u64, 0, 2**64 - 1)
I8: Final = _integer(numbers.encode_i8, -(2**7), 2**7 - 1)
I16: Final = _integer(numbers.encode_i16, -(2**15), 2**15 - 1)
I32: Final = _integer(numbers.encode_i32, -(2**31), 2**31 - 1)
I64: Final = _integer(numbers.encode_i64, -(2**63), 2**63 - 1)
FLOAT: Final = Shape(_float, _exact)
STR: Final = _exactly(str, "a string")
JSON: Final = Shape(finite, with_text_keys)
DECIMAL: Final = _textual(numbers.encode_decimal, numbers.decode_decimal)
UUID: Final = _textual(text.encode_uuid, text.decode_uuid)
BASE64: Final = _textual(text.encode_base64, text.decode_base64)
HEX: Final = _textual(text.encode_hex, text.decode_hex)
DATE: Final = _textual(times.encode_date, times.decode_date)
DATETIME: Final = _textual(times.encode_datetime, times.decode_datetime)
UNIX_MS: Final = _milliseconds(times.encode_unix_ms, times.decode_unix_ms)
DURATION: Final = _milliseconds(times.encode_duration, times.decode_duration)
