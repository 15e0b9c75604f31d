"""Cut what is to be enqueued into batches: jobs of one stream that go in one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, Protocol, TypeGuard, TypeVar

from flowd.broker.commands import (
    EnqueueCommand,
    enqueue_command,
    entries_of,
)
from flowd.broker.stream import Stream
from flowd.model.item import Item
from flowd.model.job import Job, JobSpec, payload_size
from flowd.model.policy import Policy

__all__ = ["BATCH_JOBS", "Batch", "Streams", "batches"]

T = TypeVar("T")

BATCH_JOBS: Final = 500
"""How many jobs go in one round trip, at most. A script has up to seven arguments of each,
and some managed services refuse a request that has more than 4,000."""

_GATED_JOBS: Final = 200
"""Of a queue with policies, which cost the server several times as much. No script is to
occupy the server for 5 ms; so many jobs with all policies at once take half of that."""

_BATCH_BYTES: Final = 1_000_000

# Jobs that are encoded together, which takes half of the time. Few: they may be large.
_TOGETHER: Final = 50


class Streams(Protocol):
    """Where jobs go."""

    def stream_of(self, job: Job) -> Stream:
        """The stream of a job.

        Raises:
            OptionError: jobs of this class are not sent from here.
            FormatError: `flowd-gen` did not write its class.
        """
        ...


class Batch:
    """Consecutive jobs of one stream, as many as go in one round trip."""

    __slots__ = ("_size", "commands", "entries", "stream")

    def __init__(self, stream: Stream, commands: Iterable[EnqueueCommand] = ()) -> None:
        self.stream = stream
        self.entries: list[Mapping[bytes, bytes]] = []
        """The fields of all of them, if it takes no more than to append them."""

        self.commands: list[EnqueueCommand] = []
        """All of them, if it takes a script; then there are no `entries`."""

        self._size = 0
        for command in commands:
            self.add(stream, command)

    def __len__(self) -> int:
        return len(self.entries) or len(self.commands)

    def is_open(self, stream: Stream) -> bool:
        """Whether it may take one more of that stream."""
        return stream is self.stream and len(self) < BATCH_JOBS

    def extend(self, entries: Sequence[Mapping[bytes, bytes]], size: int) -> bool:
        """Add all of these, which are only appended, if there is room for all."""
        size += self._size
        if (
            self.commands
            or size > _BATCH_BYTES
            or len(self.entries) + len(entries) > BATCH_JOBS
        ):
            return False
        self.entries += entries
        self._size = size
        return True

    def add(self, stream: Stream, command: EnqueueCommand) -> bool:
        """Add one more, if it is of this stream and there is room, or it is the first.

        All of them come to the same gate, or to none: classes may share a stream.
        """
        if not self.is_open(stream):
            return False
        size = self._size + command.size
        gate = self.commands[0].gate if self.commands else None
        if self and (size > _BATCH_BYTES or command.gate is not gate):
            return False
        if gate is not None and len(self.commands) == _GATED_JOBS:
            return False
        if not self.commands and command.is_plain:
            self.entries.append(command.fields)
            self._size = size
            return True
        if self.entries:
            self.commands = [EnqueueCommand(each, 0) for each in self.entries]
            self.entries = []
        self.commands.append(command)
        self._size = size
        return True


def batches(
    jobs: Iterable[Job | Item[Job]], streams: Streams, policy: Policy | None
) -> Iterator[Batch]:
    """Batches of consecutive jobs, in order.

    Raises:
        Exception: of the iterable, of `streams`, or as `enqueue_command`.
    """
    batch: Batch | None = None
    for some in _read(jobs):
        together = _together(some, streams, policy)
        if together is not None:
            if batch is None or not batch.is_open(together.stream):
                if batch:
                    yield batch
                batch = Batch(together.stream)
            if batch.extend(together.entries, together.size):
                continue
            each = together.commands()
        else:
            each = _one_by_one(some, streams, policy)
        for stream, command in each:
            if batch is None or not batch.add(stream, command):
                if batch:
                    yield batch
                batch = Batch(stream, [command])
    if batch:
        yield batch


def _read(jobs: Iterable[T]) -> Iterator[list[T]]:
    """A few at a time; also those that come before the iterable fails."""
    left = iter(jobs)
    while True:
        some: list[T] = []
        try:
            some.extend(islice(left, _TOGETHER))
        except Exception:
            yield some
            raise
        if not some:
            return
        yield some


class _Together(NamedTuple):
    """Jobs of one class that are only appended."""

    stream: Stream
    entries: Sequence[Mapping[bytes, bytes]]
    size: int

    def commands(self) -> Iterator[tuple[Stream, EnqueueCommand]]:
        """Each of them, as `_one_by_one`."""
        for fields in self.entries:
            yield self.stream, EnqueueCommand(fields, payload_size(fields))


def _together(
    jobs: Sequence[Job | Item[Job]], streams: Streams, policy: Policy | None
) -> _Together | None:
    """Encode them together; None if they are not alike, or if one of them is refused."""
    if not _are_alike(jobs):
        return None
    try:
        return _Together(streams.stream_of(jobs[0]), *entries_of(jobs, policy))
    except Exception:  # one by one, it comes behind those before it
        return None


def _one_by_one(
    jobs: Iterable[Job | Item[Job]], streams: Streams, policy: Policy | None
) -> Iterator[tuple[Stream, EnqueueCommand]]:
    for job in jobs:
        stream = streams.stream_of(job.job if isinstance(job, Item) else job)
        yield stream, enqueue_command(job, policy)


def _are_alike(jobs: Sequence[Job | Item[Job]]) -> TypeGuard[Sequence[Job]]:
    """Whether they are of one class, and are only appended."""
    classes = {*map(type, jobs)}
    spec: object = getattr(classes.pop(), "SPEC", None) if classes else None
    return not classes and isinstance(spec, JobSpec) and spec.gate is None
