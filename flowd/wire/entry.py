"""Finding a field in a stream entry, or a key in a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

__all__ = ["first_key"]

K = TypeVar("K", bytes, str)


def first_key(fields: Mapping[K, object], *keys: K) -> K:
    """The first of `keys` that is there; where none is, the first of all."""
    for key in keys:
        if key in fields:
            return key
    return keys[0]
