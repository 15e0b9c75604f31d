"""Booleans, UUIDs, enums, literal sets and bytes as text."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64, hexlify, unhexlify
from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeVar
from uuid import UUID

from flowd.wire.numbers import encode_int
from flowd.wire.refusal import CodecError, instance, misfit

__all__ = [
    "any_of",
    "decode_base64",
    "decode_bool",
    "decode_bool01",
    "decode_enum",
    "decode_hex",
    "decode_one_of",
    "decode_open_enum",
    "decode_raw",
    "decode_uuid",
    "encode_base64",
    "encode_bool",
    "encode_bool01",
    "encode_enum",
    "encode_hex",
    "encode_one_of",
    "encode_open_enum",
    "encode_raw",
    "encode_uuid",
]

E = TypeVar("E", bound=Enum)
L = TypeVar("L", bound=str | int)

_BOOLS: Final = {b"true": True, b"false": False, b"1": True, b"0": False}
_SHOWN: Final = 12


def encode_bool(value: bool) -> bytes:
    """Write `true` or `false`, as the Rust derive does."""
    return b"true" if _is_true(value) else b"false"


def encode_bool01(value: bool) -> bytes:
    """Write `1` or `0`, which is what the Rust derive reads."""
    return b"1" if _is_true(value) else b"0"


def decode_bool(raw: bytes) -> bool:
    """Read `true`, `false`, `1` or `0`."""
    value = _BOOLS.get(raw)
    if value is None:
        raise CodecError("expected true or false")
    return value


decode_bool01 = decode_bool


def encode_uuid(value: UUID) -> bytes:
    """Write 36 characters in lower case."""
    # Not `str`: what a subclass prints is its own affair.
    return UUID.__str__(instance(value, UUID)).encode()


def decode_uuid(raw: bytes) -> UUID:
    """Read 36 characters with hyphens; Python's other spellings are refused."""
    if len(raw) == 36 and raw[8:24:5] == b"----":
        try:
            return UUID(bytes=unhexlify(raw.replace(b"-", b"")))
        except ValueError:
            pass
    raise CodecError("expected a UUID of 36 characters")


def encode_enum(value: E, kind: type[E]) -> bytes:
    """Write the member's own text."""
    if not isinstance(value, kind):
        raise CodecError(f"expected {kind.__name__}, not {type(value).__name__}")
    return str(value.value).encode()


def decode_enum(raw: bytes, kind: type[E]) -> E:
    """Read a member's text."""
    try:
        return kind(raw.decode())
    except ValueError:
        known = [str(member.value) for member in kind]
    raise CodecError(f"expected {any_of(known)}")


def encode_open_enum(value: E, unknown: E) -> bytes:
    """Write the text of a member, but not of `unknown`: what that stood for is lost."""
    if value is unknown:
        raise CodecError(f"{unknown.name} is only read: the text it stood for is lost")
    return encode_enum(value, type(unknown))


def decode_open_enum(raw: bytes, unknown: E) -> E:
    """Read a member's text; any other text is `unknown`."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise CodecError("expected text in UTF-8") from None
    try:
        return type(unknown)(text)
    except ValueError:
        return unknown


def encode_one_of(value: L, choices: Mapping[bytes, L]) -> bytes:
    """Write one of `choices`, a table from wire text to value."""
    try:
        text = value.encode() if isinstance(value, str) else encode_int(value)
    except ValueError:
        pass
    else:
        choice = choices.get(text)
        # The text of 1 and of "1" is the same.
        if choice is not None and choice == value:
            return text
    raise CodecError(f"expected {any_of([str(c) for c in choices.values()])}")


def decode_one_of(raw: bytes, choices: Mapping[bytes, L]) -> L:
    """Read one of `choices`, a table from wire text to value."""
    value = choices.get(raw)
    if value is None:
        raise CodecError(f"expected {any_of([str(c) for c in choices.values()])}")
    return value


def _is_true(value: bool) -> bool:
    if type(value) is not bool:
        raise CodecError(f"expected a bool, not {type(value).__name__}")
    return value


def any_of(known: list[str]) -> str:
    """The words of a refusal that says what was expected: the first of them, if many."""
    shown = ", ".join(known[:_SHOWN])
    return f"one of {shown}, …" if len(known) > _SHOWN else f"one of {shown}"


def encode_base64(value: bytes) -> bytes:
    """Write padded base64 in one line."""
    try:
        return b2a_base64(value, newline=False)
    except TypeError:
        pass
    raise misfit("bytes", value)


def decode_base64(raw: bytes) -> bytes:
    """Read padded base64; anything else between the letters is refused."""
    try:
        value = a2b_base64(raw, strict_mode=True)
    except ValueError:
        pass
    else:
        # Which ends of a text that no writer gives are refused depends on the Python.
        rest = len(value) % 3
        is_whole = len(raw) == (len(value) + 2) // 3 * 4
        if is_whole and (
            not rest or raw.endswith(b2a_base64(value[-rest:], newline=False))
        ):
            return value
    raise CodecError("expected base64")


def encode_hex(value: bytes) -> bytes:
    """Write two lower-case digits per byte."""
    try:
        return hexlify(value)
    except TypeError:
        pass
    raise misfit("bytes", value)


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
    try:
        return bytes(memoryview(value))
    except TypeError:
        pass
    raise misfit("bytes", value)


def decode_raw(raw: bytes) -> bytes:
    """Read the bytes themselves."""
    return raw
