"""The policies under which the model is tried, and the fields that their keys are made of."""

from __future__ import annotations

from typing import Final, NamedTuple

from flowd.model.gate import (
    Concurrency,
    Debounce,
    Fair,
    Gate,
    Priority,
    Rate,
    Unique,
)

__all__ = ["CUSTOMERS", "GATES", "HOSTS", "LEVELS", "URLS", "Keys", "keys_of"]

CUSTOMERS: Final = ("a", "b")
HOSTS: Final = ("x", "y")
URLS: Final = ("1", "2", "3")
LEVELS: Final = ("high", "low")

_RATE: Final = Rate(per=("host",), limit=3, every=900.0, burst=2)

GATES: Final[dict[str, Gate | None]] = {
    "none": None,
    "limit": Gate(concurrency=Concurrency(per=("customer",), limit=2)),
    "ordered": Gate(concurrency=Concurrency(per=("customer",), limit=1, ordered=True)),
    "unique": Gate(unique=Unique(fields=("url",))),
    "last": Gate(unique=Unique(fields=("url",), again="last")),
    "rate": Gate(rate=_RATE),
    "fair": Gate(fair=Fair(per=("customer",))),
    "priority": Gate(priority=Priority(field="level", order=LEVELS)),
    "debounce": Gate(
        debounce=Debounce(fields=("url",), wait=300.0, longest=600.0),
        concurrency=Concurrency(per=("customer",), limit=2),
    ),
    "several": Gate(
        unique=Unique(fields=("url",), again="last"),
        concurrency=Concurrency(per=("customer",), limit=2),
        rate=_RATE,
        priority=Priority(field="level", order=LEVELS),
    ),
}


class Keys(NamedTuple):
    """What a job is to the gate, as its ticket says; empty where there is no policy."""

    slot: str = ""
    rate: str = ""
    turn: str = ""
    lock: str = ""
    level: str = ""
    quiet: str = ""


def keys_of(ticket: str) -> Keys:
    """The keys that a ticket names."""
    found = dict(word.split(":", 1) for word in ticket.split(" ") if word)
    return Keys(*(found.get(sign, "") for sign in "crfupd"))
