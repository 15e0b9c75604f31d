"""The policies under which `make bench` measures a queue with a gate, and their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flowd import Concurrency, Fair, Gate, Unique

__all__ = ["KEYS", "POLICIES"]

KEYS: Final = 100
"""So many keys `assigned_to` has."""

POLICIES: Final[Mapping[str, Gate]] = {
    "unique": Gate(unique=Unique(fields=("url",))),
    "limit 10": Gate(concurrency=Concurrency(per=("assigned_to",), limit=10)),
    "fair": Gate(fair=Fair(per=("assigned_to",))),
    "limit 1": Gate(concurrency=Concurrency(per=("assigned_to",), limit=1)),
}
"""By the name of the row: each job of `unique` has its own key, of the others one of `KEYS`."""
