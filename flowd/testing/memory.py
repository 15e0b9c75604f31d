"""What a server would hold: streams of jobs, their delays and keys, and a clock."""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Iterable, Mapping
from itertools import count, groupby, islice

from flowd.broker.batches import BATCH_JOBS
from flowd.broker.commands import enqueue_command
from flowd.broker.control import CancelResult
from flowd.errors import (
    BulkError,
    IdNotIncreasing,
    NotReady,
    ServerError,
    Unreachable,
)
from flowd.errors.option import entry_id, instance
from flowd.model.delivery import Entry
from flowd.model.item import Item, items_of, many
from flowd.model.job import Job, spec_of
from flowd.model.policy import Policy
from flowd.testing.clock import FakeClock
from flowd.testing.gate import MemoryGate, Stored

__all__ = ["Memory", "MemoryStream"]


class Memory:
    """Takes the place of a server for the producers and queues that share it.

    Args:
        clock: what delays, backoff and keys go by.

    Raises:
        OptionError: it is no clock.
    """

    def __init__(self, clock: FakeClock | None = None) -> None:
        if clock is not None:
            instance("clock", clock, FakeClock, "must be a FakeClock, or None")
        self.clock = clock or FakeClock()
        """What delays, backoff and keys go by."""

        self.items: list[Item[Job]] = []
        """All that was enqueued, in order, each job as a worker would get it."""

        self.error: Exception | None = None
        """While it is set, every enqueue raises it."""

        self._streams: dict[str, MemoryStream] = {}

    def stream(self, name: str) -> MemoryStream:
        """The jobs that wait in one stream.

        Args:
            name: of the stream.
        """
        return self._streams.setdefault(name, MemoryStream(self.clock))

    def add(self, item: Item[Job], *, policy: Policy | None = None) -> str:
        """Enqueue one job, under its schema's policy if no other is given.

        Args:
            item: the job and its options.
            policy: whose stream it goes to; None: the schema's.

        Returns:
            The job's id.

        Raises:
            Exception: `error`, while that is set.
        """
        if self.error is not None:
            raise self.error
        own = spec_of(type(item.job)).policy
        rules = own if policy is None else policy
        job_id, stored = self.stream(rules.stream).add(item, rules)
        if stored is not None:
            as_read = type(item.job).from_fields(stored.fields)
            self.items.append(dataclasses.replace(item, job=as_read))
        return job_id

    def cancel(self, job_class: type[Job], job_id: str) -> CancelResult:
        """Cancel a job that waits.

        Args:
            job_class: its stream is the schema's.
            job_id: as `add` returned it.

        Returns:
            `cancelled`, or `not_found` for one that has ended or never was.
        """
        entry_id("job_id", job_id)
        stream = self.stream(spec_of(job_class).policy.stream)
        return "cancelled" if stream.remove(job_id) else "not_found"

    def note(self, job_class: type[Job], fields: Mapping[bytes, bytes]) -> None:
        """Keep a job that was enqueued by itself among `items`.

        Args:
            job_class: its class.
            fields: as they are on the wire.
        """
        self.items.append(Item(job_class.from_fields(fields)))

    def add_all(
        self, jobs: Iterable[Job | Item[Job]], *, policy: Policy | None = None
    ) -> list[str]:
        """Enqueue many jobs.

        Args:
            jobs: an iterable of jobs; an `Item` gives a job its own id, delay or key.
            policy: whose stream they go to; None: that of each schema.

        Returns:
            The job ids, in order.

        Raises:
            OptionError: `jobs` is not an iterable.
            BulkError: a job was refused: `ids` are kept, and nothing after them is.
        """
        ids: list[str] = []
        rest = many(jobs)
        try:
            for _, some in groupby(items_of(rest), _place):
                while batch := list(islice(some, BATCH_JOBS)):
                    # A batch of which one job cannot be encoded is not sent.
                    for item in batch:
                        enqueue_command(item)
                    self._add_batch(batch, policy, ids)
        except BulkError:
            raise
        except Exception as error:
            raise BulkError(ids, 0, error) from error
        return ids

    def _add_batch(
        self, batch: list[Item[Job]], policy: Policy | None, ids: list[str]
    ) -> None:
        try:
            ids.extend(self.add(item, policy=policy) for item in batch)
        except (Unreachable, NotReady, IdNotIncreasing):
            raise  # nothing more was stored
        except ServerError as error:
            raise BulkError(ids, len(batch), error) from error


def _place(item: Item[Job]) -> tuple[str, str]:
    policy = spec_of(type(item.job)).policy
    return policy.stream, policy.group


def _id_of(entry: Entry) -> str:
    return entry.fields.get(b"_id", entry.id).decode("utf-8", "backslashreplace")


class MemoryStream:
    """Entries in the order in which they are due."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._waiting: list[tuple[float, int, Entry]] = []
        self._order = count()
        self._last = (0, 0)
        self._keys: dict[str, tuple[str, float]] = {}
        self.paused = False
        """Whether no queue takes its jobs."""

        self.gate = MemoryGate(self, clock)
        """What policies say of its jobs."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self.gate)

    @property
    def due(self) -> float:
        """When the next entry may run, by the clock; infinite if none may."""
        return self._waiting[0][0] if self._waiting and not self.paused else math.inf

    def take(self) -> Entry:
        """The entry that is due first, taken out."""
        entry = heapq.heappop(self._waiting)[2]
        self.gate.started(_id_of(entry))
        return entry if entry.id else entry._replace(id=self.new_id().encode())

    def add(self, item: Item[Job], policy: Policy) -> Stored:
        """Add a job; returns its id, and None if it is there already."""
        command = enqueue_command(item, policy)
        if item.key is not None:
            known, until = self._keys.get(item.key, ("", 0.0))
            if self._clock.now < until:
                return known, None
        delay = command.delay
        if command.due:
            delay = max(0.0, command.due - self._clock.now)
        if command.gate is not None:
            stored = self.gate.come(command, command.gate, delay)
        else:
            own = {b"_id": command.job_id.encode()} if command.waits else {}
            stored = self.store({**command.fields, **own}, delay, command.id)
        if item.key is not None:
            self._keys[item.key] = (stored[0], self._clock.now + item.key_ttl)
        return stored

    def store(
        self, fields: Mapping[bytes, bytes], delay: float, entry_id: str = "*"
    ) -> tuple[str, Entry]:
        """Keep a job that is due in `delay` seconds; returns its id as well."""
        # A delayed job becomes an entry when it is due.
        entry_id = "" if delay else self.new_id(entry_id)
        fields = dict(fields)
        if delay:
            fields[b"_at"] = str(int(self._clock.now * 1000)).encode()
        entry = self.put(entry_id, fields, delay)
        return _id_of(entry), entry

    def replace(
        self, job_id: str, fields: Mapping[bytes, bytes], due: float
    ) -> Entry | None:
        """Give a delayed job other fields and another time; None if none has the id."""
        for n, (_, order, entry) in enumerate(self._waiting):
            if not entry.id and _id_of(entry) == job_id:
                new = Entry(b"", 1, dict(fields), len(fields))
                self._waiting[n] = (due, order, new)
                heapq.heapify(self._waiting)
                return new
        return None

    def put(self, entry_id: str, fields: dict[bytes, bytes], delay: float) -> Entry:
        """Add an entry that is due in `delay` seconds; an empty id comes with the time."""
        entry = Entry(entry_id.encode(), 1, fields, len(fields))
        due = self._clock.now + delay
        heapq.heappush(self._waiting, (due, next(self._order), entry))
        return entry

    def remove(self, job_id: str) -> bool:
        """Take a job out that waits, and free its key; False if none has this id."""
        gone = self.withdraw(job_id)
        removed = bool(gone) or self.gate.remove(job_id)
        for entry in gone:
            self.gate.ended(entry.fields, job_id)
        if removed:
            known = self._keys.items()
            self._keys = {key: own for key, own in known if own[0] != job_id}
        return removed

    def withdraw(self, job_id: str) -> list[Entry]:
        """Take out what waits under this id, and nothing else; returns it."""
        gone = [each for each in self._waiting if _id_of(each[2]) == job_id]
        self._waiting = [each for each in self._waiting if each not in gone]
        heapq.heapify(self._waiting)
        return [entry for _, _, entry in gone]

    def hurry(self, job_id: str) -> bool:
        """Let a delayed job be due now; False if none is delayed under this id."""
        for n, (due, order, entry) in enumerate(self._waiting):
            if not entry.id and _id_of(entry) == job_id:
                self._waiting[n] = (min(due, self._clock.now), order, entry)
                heapq.heapify(self._waiting)
                return True
        return False

    def holds(self, job_id: str) -> bool:
        """Whether a job waits that carries this id with it."""
        own = job_id.encode()
        waits = any(entry.fields.get(b"_id") == own for _, _, entry in self._waiting)
        return waits or self.gate.holds(job_id)

    def new_id(self, wanted: str = "*") -> str:
        """An entry id above all others; raises IdNotIncreasing if `wanted` is not."""
        if wanted == "*":
            now = (int(self._clock.now * 1000), 0)
            new = max(now, (self._last[0], self._last[1] + 1))
        else:
            ms, _, sequence = wanted.partition("-")
            new = (int(ms), int(sequence or 0))
            if new <= self._last:
                raise IdNotIncreasing(f"{wanted} is not above the stream's last id")
        self._last = new
        return f"{new[0]}-{new[1]}"
