"""What is to be enqueued and what is to go wrong, all from one seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = [
    "CONCURRENCY",
    "FAULTS",
    "FEW_FAULTS",
    "GRACE",
    "LEASE",
    "Fault",
    "Wish",
    "plan",
    "wishes",
]

LEASE: Final = 1.5
"""Seconds, of every worker of the chaos."""

GRACE: Final = 0.5
"""Seconds that each of them waits for its handlers at SIGTERM."""

CONCURRENCY: Final = 8
"""How many jobs each of them runs at once."""

FAULTS: Final = {
    "kill": 40,
    "server": 5,
    "clients": 20,
    "freeze": 10,
    "term": 10,
    "pause": 5,
}
"""How often what goes wrong in a run of `make chaos`: a worker is killed, the server is
killed and started again, all connections are closed, a worker is frozen for longer than
its lease, a worker gets SIGTERM, the server does not answer for a moment."""

FEW_FAULTS: Final = {
    "kill": 4,
    "term": 2,
    "freeze": 2,
    "clients": 2,
    "server": 1,
    "pause": 1,
}
"""How often in a run of some seconds."""

# Of 1,000 jobs: what becomes of them.
_SUBJECTS: Final = (
    *["ok"] * 642,
    *["brief"] * 200,
    *["slow"] * 30,
    *["flaky"] * 80,
    *["bad"] * 20,
    *["fail"] * 13,
    *[""] * 10,
    *["kill"] * 5,
)

# For how many leases; a server that is back after more than one finds all leases over.
_LASTING: Final = {"freeze": (1.4, 2.4), "server": (0.0, 1.4), "pause": (0.1, 0.3)}


class Wish(NamedTuple):
    """What is to be enqueued."""

    name: str
    """The job's `to`, by which it is known whatever its id becomes."""

    subject: str
    """What becomes of it; empty for an entry that is no job."""

    keyed: bool = True
    delay: float = 0.0

    @property
    def fields(self) -> dict[bytes, bytes]:
        """What it is on the wire."""
        if not self.subject:
            return {b"to": self.name.encode(), b"colour": b"\xff\x00 blue"}
        return {b"to": self.name.encode(), b"subject": self.subject.encode()}


class Fault(NamedTuple):
    """One thing that goes wrong."""

    at: float
    """Seconds from the start."""

    kind: str
    """One of `FAULTS`."""

    victim: int
    """Chooses the worker."""

    seconds: float
    """How long it lasts; 0 if that is not for the plan to say."""


def plan(seed: int, seconds: float, counts: Mapping[str, int]) -> list[Fault]:
    """Exactly so many faults, spread over the time, in an order of the seed's."""
    chance = random.Random(seed)
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    chance.shuffle(kinds)
    step = seconds / len(kinds)
    return [
        Fault(
            (number + chance.random()) * step,
            kind,
            chance.randrange(1 << 16),
            chance.uniform(*_LASTING.get(kind, (0.0, 0.0))) * LEASE,
        )
        for number, kind in enumerate(kinds)
    ]


def wishes(seed: int, number: int) -> Sequence[Wish]:
    """So many jobs; a tenth is delayed, a twentieth has no key."""
    chance = random.Random(seed)
    subjects = [_SUBJECTS[each * 1000 // number] for each in range(number)]
    chance.shuffle(subjects)
    return [
        Wish(
            str(name),
            subject,
            keyed=bool(subject) and chance.random() < 0.95,
            delay=chance.uniform(0.1, 3.0) if subject and chance.random() < 0.1 else 0,
        )
        for name, subject in enumerate(subjects)
    ]
