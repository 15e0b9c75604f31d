"""The shapes of scalar types inside JSON.

Numbers and booleans are JSON's own; everything else is the string a field would hold.
A duration, and a datetime as `unix_ms`, is a number of milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Final, TypeVar

from flowd.wire import binary, floats, integers, text, times
from flowd.wire.refusal import CodecError
from flowd.wire.shapes import Json, Shape, misfit, textual

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
]

T = TypeVar("T")


def _integer(check: Callable[[int], bytes]) -> Shape[int]:
    def load(value: Json) -> int:
        if type(value) is not int:
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


def _bool(value: Json) -> bool:
    if not isinstance(value, bool):
        raise misfit("a bool", value)
    return value


def _float(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise misfit("a number", value)
    if not isfinite(value):
        raise CodecError("NaN and infinity are not JSON")
    return float(value)


def _str(value: Json) -> str:
    if not isinstance(value, str):
        raise misfit("a string", value)
    return value


def _json(value: Json) -> Json:
    return value


BOOL: Final = Shape(_bool, _bool)
INT: Final = _integer(integers.encode_int)
U8: Final = _integer(integers.encode_u8)
U16: Final = _integer(integers.encode_u16)
U32: Final = _integer(integers.encode_u32)
U64: Final = _integer(integers.encode_u64)
I8: Final = _integer(integers.encode_i8)
I16: Final = _integer(integers.encode_i16)
I32: Final = _integer(integers.encode_i32)
I64: Final = _integer(integers.encode_i64)
FLOAT: Final = Shape(_float, _float)
STR: Final = Shape(_str, _str)
JSON: Final = Shape(_json, _json)
DECIMAL: Final = textual(floats.encode_decimal, floats.decode_decimal)
UUID: Final = textual(text.encode_uuid, text.decode_uuid)
BASE64: Final = textual(binary.encode_base64, binary.decode_base64)
HEX: Final = textual(binary.encode_hex, binary.decode_hex)
DATE: Final = textual(times.encode_date, times.decode_date)
DATETIME: Final = textual(times.encode_datetime, times.decode_datetime)
UNIX_MS: Final = _milliseconds(times.encode_unix_ms, times.decode_unix_ms)
DURATION: Final = _milliseconds(times.encode_duration, times.decode_duration)
