"""Bytes as base64, as hexadecimal digits, or as they are."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64, hexlify, unhexlify

from flowd.wire.refusal import CodecError

__all__ = [
    "decode_base64",
    "decode_hex",
    "decode_raw",
    "encode_base64",
    "encode_hex",
    "encode_raw",
]


def encode_base64(value: bytes) -> bytes:
    """Write padded base64 in one line."""
    return b2a_base64(value, newline=False)


def decode_base64(raw: bytes) -> bytes:
    """Read padded base64; anything else between the letters is refused."""
    try:
        return a2b_base64(raw, strict_mode=True)
    except ValueError:
        pass
    raise CodecError("expected base64")


def encode_hex(value: bytes) -> bytes:
    """Write two lower-case digits per byte."""
    return hexlify(value)


def decode_hex(raw: bytes) -> bytes:
    """Read two digits per byte, in either case."""
    try:
        return unhexlify(raw)
    except ValueError:
        pass
    raise CodecError("expected hexadecimal digits")


def encode_raw(value: bytes) -> bytes:
    """Write the bytes themselves."""
    # `bytes(5)` would be five zeros: `memoryview` refuses what holds no bytes.
    return bytes(memoryview(value))


def decode_raw(raw: bytes) -> bytes:
    """Read the bytes themselves."""
    return raw
