"""Pack the fields of a job for the scripts that store it, as one argument.

The scripts read and store jobs as MessagePack, by the library `cmsgpack` of Redis. An array
of names and values in turn is a head, which has their count, and each of them packed. So a
script puts the envelope and the head in front of what it is given, and makes a table of no
job. The bytes are those that `cmsgpack` writes of the same texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

__all__ = ["array_head", "pack_fields"]

_FEW: Final = 256


def pack_fields(fields: Mapping[bytes, bytes]) -> bytes:
    """Names and values in turn, packed one behind the other."""
    packed: list[bytes] = []
    for name, value in fields.items():
        size = len(value)
        head = _HEADS[size] if size < _FEW else _head(size)
        packed += (_packed(name), head, value)
    return b"".join(packed)


def array_head(count: int) -> bytes:
    """What an array of so many values begins with."""
    if count < 1 << 4:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big")


@lru_cache(maxsize=4096)
def _packed(name: bytes) -> bytes:
    """The names of a class come again with each job; those of headers are a caller's."""
    return _head(len(name)) + name


def _head(size: int) -> bytes:
    """What a text of so many bytes begins with."""
    if size < 1 << 5:
        return bytes((0xA0 | size,))
    if size < 1 << 8:
        return bytes((0xD9, size))
    if size < 1 << 16:
        return b"\xda" + size.to_bytes(2, "big")
    return b"\xdb" + size.to_bytes(4, "big")


_HEADS: Final = tuple(map(_head, range(_FEW)))
