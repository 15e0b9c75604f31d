"""Integers, floats and decimals, spelt and read as strictly as Rust does it.

An integer is read as by Rust's `parse`: no space, `_` or `1e3`. A float is written as by
its `Display`. What a subclass prints counts for nothing: NumPy's float shows its type.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from math import inf
from operator import index
from typing import Final

from flowd.wire.refusal import BEYOND_FLOAT, CodecError, instance, misfit

__all__ = [
    "LONGEST",
    "decode_decimal",
    "decode_float",
    "decode_i8",
    "decode_i16",
    "decode_i32",
    "decode_i64",
    "decode_int",
    "decode_u8",
    "decode_u16",
    "decode_u32",
    "decode_u64",
    "encode_decimal",
    "encode_float",
    "encode_i8",
    "encode_i16",
    "encode_i32",
    "encode_i64",
    "encode_int",
    "encode_u8",
    "encode_u16",
    "encode_u32",
    "encode_u64",
]

# Python reads no more digits, and no sized integer has so many.
LONGEST: Final = 4300
"""The most digits of an integer, and the most characters of a decimal."""

_TOO_LARGE: Final = 10**LONGEST
_DIGITS: Final = f"more than {LONGEST:,} digits"
_SIGNED: Final = re.compile(rb"[+-]?[0-9]+")
_DECIMAL: Final = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# Below it a number is far from the limit, however it is spelt.
_SHORT: Final = 1000
_HAS_DIGIT: Final = re.compile(rb"[0-9]")
_UNSIGNED: Final = re.compile(rb"\+?[0-9]+")


def encode_int(value: int) -> bytes:
    """Write an integer of up to 4,300 digits."""
    # The usual case first: `type` also distinguishes True from 1.
    if type(value) is int and -0x8000_0000_0000_0000 <= value <= 0xFFFF_FFFF_FFFF_FFFF:
        return b"%d" % value
    number = _integer(value, "an integer")
    if -_TOO_LARGE < number < _TOO_LARGE:
        try:
            return b"%d" % number
        except ValueError:
            # This program allows itself fewer.
            pass
    raise CodecError(_DIGITS)


def decode_int(raw: bytes) -> int:
    """Read an integer of up to 4,300 digits."""
    # Every program may read that many digits.
    if len(raw) < 640 and raw.isdigit():
        return int(raw)
    if not raw.isdigit() and not _SIGNED.fullmatch(raw):
        raise CodecError("expected an integer")
    if len(raw) <= LONGEST or (len(raw) == LONGEST + 1 and raw[:1] in b"+-"):
        try:
            return int(raw)
        except ValueError:
            # This program allows itself fewer.
            pass
    raise CodecError(_DIGITS)


def encode_u8(value: int) -> bytes:
    """Write 0 to 255."""
    return _encode(value, 0, 0xFF)


def decode_u8(raw: bytes) -> int:
    """Read 0 to 255."""
    return _decode_unsigned(raw, "u8", 0xFF)


def encode_u16(value: int) -> bytes:
    """Write 0 to 65535."""
    return _encode(value, 0, 0xFFFF)


def decode_u16(raw: bytes) -> int:
    """Read 0 to 65535."""
    return _decode_unsigned(raw, "u16", 0xFFFF)


def encode_u32(value: int) -> bytes:
    """Write 0 to 2**32 - 1."""
    return _encode(value, 0, 0xFFFF_FFFF)


def decode_u32(raw: bytes) -> int:
    """Read 0 to 2**32 - 1."""
    return _decode_unsigned(raw, "u32", 0xFFFF_FFFF)


def encode_u64(value: int) -> bytes:
    """Write 0 to 2**64 - 1."""
    return _encode(value, 0, 0xFFFF_FFFF_FFFF_FFFF)


def decode_u64(raw: bytes) -> int:
    """Read 0 to 2**64 - 1."""
    return _decode_unsigned(raw, "u64", 0xFFFF_FFFF_FFFF_FFFF)


def encode_i8(value: int) -> bytes:
    """Write -128 to 127."""
    return _encode(value, -0x80, 0x7F)


def decode_i8(raw: bytes) -> int:
    """Read -128 to 127."""
    return _decode_signed(raw, "i8", 0x7F)


def encode_i16(value: int) -> bytes:
    """Write -32768 to 32767."""
    return _encode(value, -0x8000, 0x7FFF)


def decode_i16(raw: bytes) -> int:
    """Read -32768 to 32767."""
    return _decode_signed(raw, "i16", 0x7FFF)


def encode_i32(value: int) -> bytes:
    """Write -2**31 to 2**31 - 1."""
    return _encode(value, -0x8000_0000, 0x7FFF_FFFF)


def decode_i32(raw: bytes) -> int:
    """Read -2**31 to 2**31 - 1."""
    return _decode_signed(raw, "i32", 0x7FFF_FFFF)


def encode_i64(value: int) -> bytes:
    """Write -2**63 to 2**63 - 1."""
    return _encode(value, -0x8000_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF)


def decode_i64(raw: bytes) -> int:
    """Read -2**63 to 2**63 - 1."""
    return _decode_signed(raw, "i64", 0x7FFF_FFFF_FFFF_FFFF)


def _encode(value: int, low: int, high: int) -> bytes:
    if type(value) is int and low <= value <= high:
        return b"%d" % value
    number = _integer(value, "an integer")
    if low <= number <= high:
        return b"%d" % number
    raise CodecError(f"not in {low}..{high}")


def _integer(value: int, expected: str) -> int:
    """The integer that a value is; what only equals one, as Decimal(1), is refused."""
    # `b"%d" % 3.7` would write 3: `index` refuses what is not an integer, but for True.
    if value is not True and value is not False:
        try:
            return index(value)
        except TypeError:
            pass
    raise misfit(expected, value)


def _decode_unsigned(raw: bytes, kind: str, high: int) -> int:
    if not raw.isdigit() and not _UNSIGNED.fullmatch(raw):
        raise CodecError(f"expected {kind}")
    if len(raw) <= LONGEST and (number := int(raw)) <= high:
        return number
    raise CodecError(f"not in 0..{high}")


def _decode_signed(raw: bytes, kind: str, high: int) -> int:
    if not raw.isdigit() and not _SIGNED.fullmatch(raw):
        raise CodecError(f"expected {kind}")
    if len(raw) <= LONGEST and ~high <= (number := int(raw)) <= high:
        return number
    raise CodecError(f"not in {~high}..{high}")


def encode_float(value: float) -> bytes:
    """Write `1` for 1.0, never an exponent, and `NaN`, `inf`, `-inf`.

    Where two spellings are equally short, Rust may take the other one: of 300,013
    doubles compared, 7 differ in the last digit. Both read as the same double.
    """
    number = value if isinstance(value, float) else exact(value)
    text = float.__repr__(number)
    if text.endswith(".0"):
        return text[:-2].encode()
    if "e" in text:
        return format(Decimal(text), "f").encode()
    return b"NaN" if text == "nan" else text.encode()


def exact(value: int) -> float:
    """The double that is an integer; raises CodecError where there is none, or no integer."""
    number = _integer(value, "a number")
    try:
        double = float(number)
    except OverflowError:
        double = inf
    if double != number:
        raise CodecError("no float is that integer exactly")
    return double


def decode_float(raw: bytes) -> float:
    """Read what Rust's `f64` parses: `1 1. .5 1e5 inf NaN` and the like.

    But for digits beyond every double: they would be written again as `inf`.
    """
    if _is_tight(raw):
        try:
            number = float(raw)
        except ValueError:
            pass
        else:
            if -inf < number < inf or not _HAS_DIGIT.search(raw):
                return number
            raise CodecError(BEYOND_FLOAT)
    raise CodecError("expected a float")


def encode_decimal(value: Decimal) -> bytes:
    """Write digits with all trailing zeros and no exponent.

    NaN, infinities and numbers of more than 4,300 digits, zeros included, are refused.
    """
    if not instance(value, Decimal).is_finite():
        raise CodecError("expected a finite decimal")
    text = Decimal.__str__(value)
    if "E" in text or "e" in text or len(text) > LONGEST:
        _check_width(value, text)
        text = Decimal.__format__(value, "f")
    return text.encode()


def decode_decimal(raw: bytes) -> Decimal:
    """Read a finite decimal, with an exponent too, of up to 4,300 digits in all."""
    # The usual case first: digits with at most one point, far from every limit.
    digits = raw[1:] if raw[:1] == b"-" else raw
    if len(raw) < _SHORT and digits.replace(b".", b"", 1).isdigit():
        return Decimal(raw.decode())
    if not _DECIMAL.fullmatch(raw):
        raise CodecError("expected a decimal")
    if len(raw) > LONGEST:
        raise CodecError(_DIGITS)
    try:
        value = Decimal(raw.decode())
    except InvalidOperation:
        # Its exponent is beyond Decimal's own.
        raise CodecError(_DIGITS) from None
    if not -_SHORT < value.adjusted() < _SHORT or len(raw) > _SHORT:
        _check_width(value, Decimal.__str__(value))
    return value


def _check_width(value: Decimal, text: str) -> None:
    """Refuse what would be spelt with too many digits; `text` is the short spelling."""
    short = "E" in text or "e" in text
    # It may be shorter by a few characters than this says: as strict when it is read.
    if len(text) + (abs(value.adjusted()) if short else 0) > LONGEST:
        raise CodecError(_DIGITS)


def _is_tight(raw: bytes) -> bool:
    """Whether there is no space around and no `_` between digits, as in Rust."""
    return b"_" not in raw and raw.strip() is raw
