"""Integers in decimal, read as strictly as Rust's `parse`: no space, `_` or `1e3`."""

from __future__ import annotations

import re
from operator import index
from typing import Final

from flowd.wire.refusal import CodecError

__all__ = [
    "decode_i8",
    "decode_i16",
    "decode_i32",
    "decode_i64",
    "decode_int",
    "decode_u8",
    "decode_u16",
    "decode_u32",
    "decode_u64",
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

_SIGNED: Final = re.compile(rb"[+-]?[0-9]+")
_UNSIGNED: Final = re.compile(rb"\+?[0-9]+")


def encode_int(value: int) -> bytes:
    """Write an integer of any size."""
    # `b"%d" % 3.7` would write 3: `index` refuses what is not an integer.
    return b"%d" % index(value)


def decode_int(raw: bytes) -> int:
    """Read an integer of any size."""
    if raw.isdigit() or _SIGNED.fullmatch(raw):
        return int(raw)
    raise CodecError("expected an integer")


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
    number = index(value)
    if low <= number <= high:
        return b"%d" % number
    raise CodecError(f"not in {low}..{high}")


def _decode_unsigned(raw: bytes, kind: str, high: int) -> int:
    if not raw.isdigit() and not _UNSIGNED.fullmatch(raw):
        raise CodecError(f"expected {kind}")
    number = int(raw)
    if number <= high:
        return number
    raise CodecError(f"not in 0..{high}")


def _decode_signed(raw: bytes, kind: str, high: int) -> int:
    if not raw.isdigit() and not _SIGNED.fullmatch(raw):
        raise CodecError(f"expected {kind}")
    number = int(raw)
    if ~high <= number <= high:
        return number
    raise CodecError(f"not in {~high}..{high}")
