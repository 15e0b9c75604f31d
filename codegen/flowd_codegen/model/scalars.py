"""What each scalar type of the language is in Python, on the wire and inside JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from flowd import wire
from flowd.wire import Shape

__all__ = [
    "ENCODINGS",
    "INTEGERS",
    "SCALARS",
    "TAG",
    "ScalarType",
    "native_value",
    "scalar",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScalarType:
    """One row of the table.

    Attributes:
        module: where the Python class is imported from, empty for a builtin.
        annotation: the Python class.
        encode, decode: names in `flowd.wire`; empty for `str`, whose codec is UTF-8.
        shape: the name of its form inside JSON, in `flowd.wire`.
        read: what reads a field of it.
        load: what reads it inside JSON.
    """

    module: str
    annotation: str
    encode: str
    decode: str
    shape: str
    read: Callable[[bytes], object]
    load: Callable[[wire.Json], object]


def _carried(
    python: str,
    encode: Callable[[T], bytes],
    decode: Callable[[bytes], T],
    shape: Shape[T],
) -> ScalarType:
    """A row whose parts the type checker has seen to fit."""
    module, _, annotation = python.rpartition(".")
    name = next(name for name in wire.__all__ if getattr(wire, name) is shape)
    names = (encode.__name__, decode.__name__, name)
    return ScalarType(module, annotation, *names, decode, shape.load)


SCALARS: Final = {
    "str": ScalarType("", "str", "", "", "STR", bytes.decode, wire.STR.load),
    "bytes": _carried("bytes", wire.encode_base64, wire.decode_base64, wire.BASE64),
    "bool": _carried("bool", wire.encode_bool, wire.decode_bool, wire.BOOL),
    "float": _carried("float", wire.encode_float, wire.decode_float, wire.FLOAT),
    "decimal": _carried(
        "decimal.Decimal", wire.encode_decimal, wire.decode_decimal, wire.DECIMAL
    ),
    "uuid": _carried("uuid.UUID", wire.encode_uuid, wire.decode_uuid, wire.UUID),
    "datetime": _carried(
        "datetime.datetime", wire.encode_datetime, wire.decode_datetime, wire.DATETIME
    ),
    "date": _carried("datetime.date", wire.encode_date, wire.decode_date, wire.DATE),
    "duration": _carried(
        "datetime.timedelta", wire.encode_duration, wire.decode_duration, wire.DURATION
    ),
    "int": _carried("int", wire.encode_int, wire.decode_int, wire.INT),
    "u8": _carried("int", wire.encode_u8, wire.decode_u8, wire.U8),
    "u16": _carried("int", wire.encode_u16, wire.decode_u16, wire.U16),
    "u32": _carried("int", wire.encode_u32, wire.decode_u32, wire.U32),
    "u64": _carried("int", wire.encode_u64, wire.decode_u64, wire.U64),
    "i8": _carried("int", wire.encode_i8, wire.decode_i8, wire.I8),
    "i16": _carried("int", wire.encode_i16, wire.decode_i16, wire.I16),
    "i32": _carried("int", wire.encode_i32, wire.decode_i32, wire.I32),
    "i64": _carried("int", wire.encode_i64, wire.decode_i64, wire.I64),
}
"""Every scalar type but `json`, which has no text other than JSON."""

ENCODINGS: Final = {
    "01": _carried("bool", wire.encode_bool01, wire.decode_bool01, wire.BOOL),
    "hex": _carried("bytes", wire.encode_hex, wire.decode_hex, wire.HEX),
    "raw": _carried("bytes", wire.encode_raw, wire.decode_raw, wire.BASE64),
    "unix_ms": _carried(
        "datetime.datetime", wire.encode_unix_ms, wire.decode_unix_ms, wire.UNIX_MS
    ),
}
"""What stands in for a type's own row when a field declares an encoding."""

INTEGERS: Final = {
    "u8": (0, 2**8 - 1),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
    "i8": (-(2**7), 2**7 - 1),
    "i16": (-(2**15), 2**15 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "i64": (-(2**63), 2**63 - 1),
}
"""The sized integers and their ranges, both ends included."""

TAG: Final = "type"
"""The key that identifies the record in a union, unless the field sets another."""


def scalar(name: str, encoding: str | None) -> ScalarType:
    """The row of a scalar type, or of the encoding declared for it."""
    return ENCODINGS[encoding] if encoding else SCALARS[name]


def native_value(name: str, value: object) -> object:
    """A value of a scalar type from the form of `schema.Value` to the Python value."""
    if name in ("str", "bool", "float", "int", "json", *INTEGERS):
        return value
    return SCALARS[name].read(str(value).encode())
