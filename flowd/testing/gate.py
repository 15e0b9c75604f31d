"""Unique and debounced jobs without a server: decided as the scripts of the gate decide.

What only says when a job may start (limits, rates, turns, levels) is not applied here: a
memory runs one job at a time, in the order in which they are due.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from flowd.broker.commands import EnqueueCommand
from flowd.model.delivery import Entry
from flowd.model.duplicate import Duplicate
from flowd.model.gate import Gate
from flowd.testing.clock import FakeClock

__all__ = ["MemoryGate", "Stored"]

Stored = tuple[str, Entry | None]
"""A job's id, and its entry; None if nothing was stored."""


class _Stream(Protocol):
    """Where jobs wait that may go."""

    def store(self, fields: Mapping[bytes, bytes], delay: float) -> tuple[str, Entry]:
        """Keep a job that is due then; returns its id as well."""
        ...

    def replace(
        self, job_id: str, fields: Mapping[bytes, bytes], due: float
    ) -> Entry | None:
        """Give a delayed job other fields and another time; None if none has the id."""
        ...

    def withdraw(self, job_id: str) -> list[Entry]:
        """Take out what waits under this id, and nothing else."""
        ...


class MemoryGate:
    """Which keys of one stream are taken, and what waits until they are free.

    Args:
        stream: where jobs go that may go.
        clock: what `debounce` goes by.
    """

    def __init__(self, stream: _Stream, clock: FakeClock) -> None:
        self._stream = stream
        self._clock = clock
        self._locks: dict[str, str] = {}
        self._behind: dict[str, dict[str, dict[bytes, bytes]]] = {}
        self._next: dict[str, str] = {}
        self._debounced: dict[str, tuple[float, str]] = {}

    def __len__(self) -> int:
        """How many jobs wait until their key is free."""
        return sum(map(len, self._behind.values()))

    def come(self, command: EnqueueCommand, gate: Gate, delay: float) -> Stored:
        """Store a job of a queue with policies, unless it is there already.

        Args:
            command: of a job that has a ticket.
            gate: the policies.
            delay: seconds until it is due.
        """
        fields = {**command.fields, b"_gate": command.ticket}
        keys = _keys_of(fields)
        if gate.debounce is not None:
            delay = gate.debounce.wait
            since, job_id = self._debounced.get(keys["d"], (0.0, ""))
            due = self._clock.now + delay
            if gate.debounce.longest:
                due = min(due, since + gate.debounce.longest)
            own = self._waiting(fields, job_id)
            if job_id and (entry := self._stream.replace(job_id, own, due)) is not None:
                return Duplicate(job_id, replaced=True), entry
        lock = keys.get("u")
        if lock is not None and (lock in self._locks or lock in self._next):
            assert gate.unique is not None
            if gate.unique.again == "drop" and lock in self._locks:
                return Duplicate(self._locks[lock]), None
            if gate.unique.again == "last":
                own_delay = 0.0 if gate.debounce is not None else delay
                return self._run_afterwards(lock, command.job_id, fields, own_delay)
        if delay:
            fields = self._waiting(fields, command.job_id)
        job_id, entry = self._stream.store(fields, delay)
        if lock is not None:
            self._locks[lock] = job_id
        if gate.debounce is not None:
            self._debounced[keys["d"]] = (self._clock.now, job_id)
        return job_id, entry

    def admits(self, fields: dict[bytes, bytes], job_id: str) -> bool:
        """Whether a job may start that is due, or was a tick; if not it waits from now on.

        Args:
            fields: with its ticket.
            job_id: its id.
        """
        lock = _keys_of(fields).get("u")
        if lock is None:
            return True
        if self._locks.setdefault(lock, job_id) == job_id:
            self._forget_next(lock, job_id)
            return True
        own = {**fields, b"_id": job_id.encode()}
        self._behind.setdefault(lock, {})[job_id] = own
        return False

    def started(self, job_id: str) -> None:
        """A job is due: no other one takes its place any more."""
        self._debounced = {
            key: own for key, own in self._debounced.items() if own[1] != job_id
        }

    def ended(self, fields: Mapping[bytes, bytes], job_id: str) -> None:
        """A job has ended or is gone: its key is free, and the next one of the key may go."""
        self.started(job_id)
        lock = _keys_of(fields).get("u")
        if lock is None:
            return
        self._forget_next(lock, job_id)
        if self._locks.get(lock) != job_id:
            return
        del self._locks[lock]
        if behind := self._behind.get(lock):
            following = next(iter(behind))
            self._locks[lock], _ = self._stream.store(self._take(lock, following), 0.0)

    def remove(self, job_id: str) -> bool:
        """Take a job out that waits until its key is free; False if none has this id."""
        for lock, behind in self._behind.items():
            if job_id in behind:
                self._take(lock, job_id)
                return True
        return False

    def holds(self, job_id: str) -> bool:
        """Whether a job waits until its key is free."""
        return any(job_id in behind for behind in self._behind.values())

    def _run_afterwards(
        self, lock: str, job_id: str, fields: dict[bytes, bytes], delay: float
    ) -> Stored:
        """It runs once the job that has the key has ended, and no earlier than it is due.

        A newer one takes its place, also while the key is free and it is not due yet.
        """
        former = self._next.get(lock)
        if former is not None:
            if former in self._behind.get(lock, {}):
                self._take(lock, former)
            else:
                self._stream.withdraw(former)
        own = self._next[lock] = former or job_id
        kept = self._waiting(fields, own)
        said = own if former is None else Duplicate(own, replaced=True)
        if delay or lock not in self._locks:
            _, entry = self._stream.store(kept, delay)
            return said, entry
        self._behind.setdefault(lock, {})[own] = kept
        return said, Entry(b"", 1, kept, len(kept))

    def _forget_next(self, lock: str, job_id: str) -> None:
        if self._next.get(lock) == job_id:
            del self._next[lock]

    def _take(self, lock: str, job_id: str) -> dict[bytes, bytes]:
        behind = self._behind[lock]
        fields = behind.pop(job_id)
        if not behind:
            del self._behind[lock]
        self._forget_next(lock, job_id)
        return fields

    def _waiting(
        self, fields: Mapping[bytes, bytes], job_id: str
    ) -> dict[bytes, bytes]:
        """The fields of a job that waits carry its id, and when it was enqueued."""
        at = b"%d" % int(self._clock.now * 1000)
        return {**fields, b"_id": job_id.encode(), b"_at": at}


def _keys_of(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """The keys that a job's ticket names, by their signs."""
    words = fields.get(b"_gate", b"").decode().split(" ")
    return dict(word.split(":", 1) for word in words if word)
