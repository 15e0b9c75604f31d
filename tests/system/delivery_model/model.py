"""A queue in plain Python: what every answer has to be, and where every job is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowd.broker.commands import (
    EnqueueCommand,
    Maintained,
    MoveToDeadLetter,
    Requeue,
    Settled,
)
from flowd.errors import IdNotIncreasing, ServerError
from flowd.model.delivery import Entry
from tests.system.delivery_model.job import SLACK, Hold, Job, Row, check_leases
from tests.system.delivery_model.snapshot import Snapshot

__all__ = ["LEASE", "Model"]

LEASE: Final = 1000.0
"""Seconds. Time passes by jumps that never add up to it, so that seconds are no matter."""


@dataclass
class Model:
    """One queue. Each method gets an answer of the real one, and judges it."""

    now: float = 0.0
    accepted: list[Job] = field(default_factory=list[Job])
    rows: list[Row] = field(default_factory=list[Row])
    delayed: list[Job] = field(default_factory=list[Job])
    dead: dict[str, Job] = field(default_factory=dict[str, Job])
    gone: list[Job] = field(default_factory=list[Job])
    """Done or purged."""

    keys: dict[str, str] = field(default_factory=dict[str, str])
    virgin: bool = True
    """Whether no entry was ever added, so that any id is above the last."""

    @property
    def waiting(self) -> list[Row]:
        """Entries that were not delivered."""
        return [row for row in self.rows if row.hold is None]

    def enqueued(
        self, commands: Sequence[EnqueueCommand], answers: Sequence[str | ServerError]
    ) -> None:
        """Jobs are accepted in order, up to the first that is refused."""
        for command, answer in zip(commands, answers, strict=False):
            key = command.key
            if key is not None and key in self.keys:
                assert answer == self.keys[key]
                continue
            if command.id != "*" and not self.virgin:
                assert isinstance(answer, IdNotIncreasing)
                assert answer is answers[-1]
                return
            assert isinstance(answer, str)
            job = Job(command.fields[b"n"].decode(), key, answer)
            self.accepted.append(job)
            if key is not None:
                self.keys[key] = answer
            if command.delay:
                assert answer == command.job_id
                job.moved = True
                self._delay(job, command.delay)
            else:
                self._add(job).id = answer
        assert len(answers) == len(commands)

    def read(self, consumer: str, count: int, answer: Sequence[Entry]) -> None:
        """The oldest that wait are delivered, for the first time."""
        rows = self.waiting[:count]
        for row in rows:
            row.hold = Hold(consumer, 1, self.now)
        _same(answer, rows)

    def renewed(
        self, consumer: str, held: Sequence[tuple[bytes, int]], lost: Collection[bytes]
    ) -> None:
        """Who owns an entry has it for another lease; who does not gets that answer."""
        for entry_id, count in held:
            row = self._owned(consumer, entry_id, count)
            assert (entry_id in lost) == (row is None)
            if row is not None:
                row.hold = Hold(consumer, count, self.now)
        assert len(lost) <= len(held)

    def recounted(self, consumer: str, entry_id: bytes, old: int, new: int) -> bool:
        """Who owns an entry says whether its delivery counts."""
        row = self._owned(consumer, entry_id, old) or self._owned(
            consumer, entry_id, new
        )
        if row is not None:
            row.hold = Hold(consumer, new, self.now)
        return row is not None

    def acked(self, consumer: str, held: tuple[bytes, int], answer: Settled) -> None:
        """Who owns an entry ends its job."""
        row = self._owned(consumer, *held)
        assert answer == (row is not None)
        if row is not None:
            self.rows.remove(row)
            self.gone.append(row.job)

    def moved(
        self,
        consumer: str,
        item: Requeue | MoveToDeadLetter,
        failed: bool,
        answer: Settled,
    ) -> None:
        """Who owns an entry puts its job back, or among the dead."""
        entry_id, count = item.delivery.entry_id, item.delivery.count
        row = self._owned(consumer, entry_id, count)
        if row is None:
            assert answer == 0
            return
        self.rows.remove(row)
        job = row.job
        if isinstance(item, MoveToDeadLetter):
            assert isinstance(answer, bytes)
            self.dead[answer.decode()] = job
            return
        assert answer == 1
        job.moved = job.counted = True
        job.attempt += failed
        job.deliveries += count - (item.delivery.counted and not failed)
        if item.delay:
            self._delay(job, item.delay)
        else:
            self._add(job)

    def redriven(
        self, letters: Sequence[tuple[str, str]], answers: Sequence[bool | ServerError]
    ) -> None:
        """A dead job starts afresh, once."""
        for (letter, _), answer in zip(letters, answers, strict=True):
            job = self.dead.pop(letter, None)
            assert answer == (job is not None)
            if job is not None:
                job.attempt, job.deliveries = 1, 0
                job.moved, job.counted = True, False
                self._add(job)

    def purged(self, letter: str, answer: bool) -> None:
        """A dead job is gone for good, and its key is free."""
        job = self.dead.pop(letter, None)
        assert answer == (job is not None)
        if job is not None:
            self.gone.append(job)
            if job.key is not None and self.keys.get(job.key) == job.id:
                del self.keys[job.key]

    def maintained(
        self,
        consumer: str,
        room: int,
        cursor: bytes,
        answer: Maintained,
    ) -> None:
        """What is due waits now, and what was abandoned has a new owner."""
        due = [job for job in self.delayed if job.due <= self.now]
        assert answer.promoted == len(due)
        for job in due:
            self.delayed.remove(job)
            self._add(job)
        if self.delayed:
            assert answer.next_due is not None
            soonest = min(job.due for job in self.delayed) - self.now
            assert abs(answer.next_due - soonest) < SLACK
        else:
            assert answer.next_due is None
        unsorted = room > 0 and any(
            row.hold.consumer == consumer and self._abandoned(row.hold)
            for row in self.rows
            if row.hold is not None
        )
        assert answer.unsorted == unsorted
        looking = 0 if unsorted else room
        taken, after = self._take_over(consumer, looking, cursor.decode())
        _same(answer.claimed, taken)
        assert answer.cursor.decode() == after
        next_lease = self._next_lease(after, unsorted=unsorted) if room else LEASE
        assert abs(answer.next_lease - next_lease) < SLACK

    def recovered(
        self, consumer: str, running: Collection[bytes], answer: Sequence[Entry]
    ) -> None:
        """What a lost answer delivered to a consumer is delivered to it again, uncounted.

        What runs and has lost its lease is renewed.
        """
        rows: list[Row] = []
        for row in self.rows:
            if row.hold is None or row.hold.consumer != consumer:
                continue
            if row.id.encode() not in running:
                rows.append(row)
                row.hold.since = self.now
            elif self._abandoned(row.hold):
                row.hold.since = self.now
        _same(sorted(answer, key=lambda entry: _order(entry.id.decode())), rows)

    def agree(self, real: Snapshot) -> None:
        """Every job is in its one place in Redis, and nothing else is there."""
        places = [row.job for row in self.rows]
        places += [*self.delayed, *self.dead.values(), *self.gone]
        assert len(places) == len(set(places)) == len(self.accepted)

        assert len(self.rows) == len(real.entries)
        for row, (entry_id, fields) in zip(
            self.rows, real.entries.items(), strict=True
        ):
            assert row.id in ("", entry_id)
            row.id = entry_id
            row.job.seen(fields, entry_id)
        held = {row.id: row.hold for row in self.rows if row.hold is not None}
        assert list(held) == list(real.held)
        check_leases(held, real.held, self.now)

        assert sorted(real.delayed) == sorted(job.id for job in self.delayed)
        assert real.bodies == len(self.delayed)
        # Which of two that were delayed alike comes first, only the server knows.
        self.delayed.sort(key=lambda job: [*real.delayed].index(job.id))
        for job in self.delayed:
            job.seen(real.delayed[job.id])

        assert list(real.dead) == list(self.dead)
        for fields, job in zip(real.dead.values(), self.dead.values(), strict=True):
            assert fields.items() >= job.fields().items()
            assert fields["_dlq_id"] == job.id

    def _add(self, job: Job) -> Row:
        self.virgin = False
        self.rows.append(Row(job))
        return self.rows[-1]

    def _delay(self, job: Job, delay: float) -> None:
        job.due = self.now + delay
        self.delayed.append(job)

    def _owned(self, consumer: str, entry_id: bytes, count: int) -> Row | None:
        for row in self.rows:
            if row.id.encode() == entry_id and row.hold is not None:
                ours = (row.hold.consumer, row.hold.count) == (consumer, count)
                return row if ours else None
        return None

    def _abandoned(self, hold: Hold) -> bool:
        return self.now - hold.since >= LEASE

    def _take_over(
        self, consumer: str, room: int, cursor: str
    ) -> tuple[list[Row], str]:
        """As maintain.lua and XAUTOCLAIM do: the rows, and where to look on."""
        taken: list[Row] = []
        if not room:
            return taken, cursor
        held = [(row, row.hold) for row in self.rows if row.hold is not None]
        for row, hold in held:
            if _order(row.id) < _order(cursor):
                continue
            if len(taken) == room:
                return taken, row.id
            if self._abandoned(hold):
                row.hold = Hold(consumer, hold.count + 1, self.now)
                taken.append(row)
        return taken, "0-0"

    def _next_lease(self, cursor: str, *, unsorted: bool) -> float:
        holds = [row.hold for row in self.rows if row.hold is not None]
        old = [self.now - hold.since for hold in holds]
        ends = [max(0.0, LEASE - idle) for idle in old if idle >= LEASE / 2]
        ready = cursor == "0-0" and not unsorted
        return min([LEASE / 2 if ready else 0.0, *ends])


def _same(answer: Sequence[Entry], rows: Sequence[Row]) -> None:
    """Entries came as they have to, each with the count that fences it."""
    assert len(answer) == len(rows)
    for entry, row in zip(answer, rows, strict=True):
        assert row.id in ("", entry.id.decode())
        assert row.hold is not None
        assert entry.delivery_count == row.hold.count
        fields = {name.decode(): value.decode() for name, value in entry.fields.items()}
        row.job.seen(fields, entry.id.decode())


def _order(entry_id: str) -> tuple[int, int]:
    ms, _, seq = entry_id.partition("-")
    return int(ms), int(seq)
