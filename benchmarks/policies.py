"""The policies under which `make bench` measures a queue with a gate, and their keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Final

from flowd import Concurrency, Fair, Gate, Unique
from jobs.crawl import Crawl

__all__ = ["KEYS", "POLICIES", "gated"]

KEYS: Final = 100
"""So many keys `assigned_to` has."""

POLICIES: Final[Mapping[str, Gate]] = {
    "unique": Gate(unique=Unique(fields=("url",))),
    "limit 10": Gate(concurrency=Concurrency(per=("assigned_to",), limit=10)),
    "fair": Gate(fair=Fair(per=("assigned_to",))),
    "limit 1": Gate(concurrency=Concurrency(per=("assigned_to",), limit=1)),
}
"""By the name of the row: each job of `unique` has its own key, of the others one of `KEYS`."""


@cache
def gated(policy: str) -> type[Crawl]:
    """The job of every benchmark, with one of `POLICIES`."""
    spec = dataclasses.replace(Crawl.SPEC, gate=POLICIES[policy])
    return type("Crawl", (Crawl,), {"SPEC": spec, "__slots__": ()})
