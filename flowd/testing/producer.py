"""Producers that send nothing: they stand where the application expects a real one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from flowd.broker.control import CancelResult
from flowd.broker.durability import Durable
from flowd.model.expiry import Expires
from flowd.model.item import KEY_TTL, Item
from flowd.model.job import Job
from flowd.model.timing import Seconds
from flowd.producer import Producer
from flowd.sync import SyncProducer
from flowd.testing.memory import Memory
from flowd.testing.recorded import Recorded

__all__ = ["RecordingProducer", "RecordingSyncProducer"]

# Nothing is opened before the first job is sent, and none is.
_NOWHERE = "embedded:"


class RecordingProducer(Recorded, Producer):
    """A `Producer` that keeps jobs in memory, and says what it was given.

    Args:
        memory: shared with other producers and queues; their own if None.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        Recorded.__init__(self, memory)
        Producer.__init__(self, _NOWHERE)

    async def __aenter__(self) -> Self:
        return self

    async def enqueue(
        self,
        job: Job,
        *,
        id: str = "*",  # noqa: A002 - the name in the Rust crate flowd
        delay: Seconds | None = None,
        at: datetime | None = None,
        key: str | None = None,
        key_ttl: Seconds = KEY_TTL,
        expires: Expires | None = None,
        priority: str | None = None,
        durable: Durable | bool = False,  # noqa: ARG002 - nothing here outlives a crash
    ) -> str:
        """Keep one job as `memory` has it, and return its id.

        Args:
            job: an instance of a generated class; its stream is the schema's.
            id: the stream's entry id; `*` lets the memory choose.
            delay: how long until the job may start: seconds, or a `timedelta`; None:
                it may start at once.
            at: when it may start, instead of `delay`: a `datetime` with a time zone.
            key: an idempotency key: a second job under it is not stored.
            key_ttl: how long `key` is remembered: seconds, or a `timedelta`.
            expires: until when it may start: seconds, a `timedelta` or a `datetime`.
            priority: a level of the schema's `priority`, as "high".
            durable: accepted, and of no effect: nothing here outlives the process.

        Returns:
            The job's id.

        Raises:
            EncodeError: a value cannot be serialized.
            PayloadTooLarge: the fields have more than 256 KiB.
            OptionError: an invalid argument, or `delay` and `at` together.
            IdNotIncreasing: `id` is not above the stream's last.
            ServerError: the `error` of the memory, which a test has set.
        """
        return self.memory.add(
            Item(
                job, id, delay, key, key_ttl, at=at, expires=expires, priority=priority
            )
        )

    async def enqueue_bulk(
        self,
        jobs: Iterable[Job | Item[Job]],
        *,
        durable: Durable | bool = False,  # noqa: ARG002 - as above
    ) -> list[str]:
        """Keep many jobs.

        Args:
            jobs: an iterable of jobs; an `Item` gives a job its own id, delay or key.
            durable: accepted, and of no effect: nothing here outlives the process.

        Returns:
            The job ids, in order.

        Raises:
            OptionError: `jobs` is not an iterable.
            BulkError: a job was refused: `ids` are kept, and nothing after them is.
        """
        return self.memory.add_all(jobs)

    async def cancel(self, job_class: type[Job], job_id: str) -> CancelResult:
        """Cancel a job that waits in memory.

        Args:
            job_class: its stream is the schema's.
            job_id: as `enqueue` returned it.

        Returns:
            `cancelled`, or `not_found` for one that has ended or never was.
        """
        return self.memory.cancel(job_class, job_id)


class RecordingSyncProducer(Recorded, SyncProducer):
    """A `SyncProducer` that keeps jobs in memory, and says what it was given.

    Args:
        memory: shared with other producers and queues; their own if None.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        Recorded.__init__(self, memory)
        SyncProducer.__init__(self, _NOWHERE)

    def enqueue(
        self,
        job: Job,
        *,
        id: str = "*",  # noqa: A002 - the name in the Rust crate flowd
        delay: Seconds | None = None,
        at: datetime | None = None,
        key: str | None = None,
        key_ttl: Seconds = KEY_TTL,
        expires: Expires | None = None,
        priority: str | None = None,
        durable: Durable | bool = False,  # noqa: ARG002 - as above
    ) -> str:
        """Keep one job as `memory` has it, and return its id.

        Args:
            job: an instance of a generated class; its stream is the schema's.
            id: the stream's entry id; `*` lets the memory choose.
            delay: how long until the job may start: seconds, or a `timedelta`; None:
                it may start at once.
            at: when it may start, instead of `delay`: a `datetime` with a time zone.
            key: an idempotency key: a second job under it is not stored.
            key_ttl: how long `key` is remembered: seconds, or a `timedelta`.
            expires: until when it may start: seconds, a `timedelta` or a `datetime`.
            priority: a level of the schema's `priority`, as "high".
            durable: accepted, and of no effect: nothing here outlives the process.

        Returns:
            The job's id.

        Raises:
            EncodeError: a value cannot be serialized.
            PayloadTooLarge: the fields have more than 256 KiB.
            OptionError: an invalid argument, or `delay` and `at` together.
            IdNotIncreasing: `id` is not above the stream's last.
            ServerError: the `error` of the memory, which a test has set.
        """
        return self.memory.add(
            Item(
                job, id, delay, key, key_ttl, at=at, expires=expires, priority=priority
            )
        )

    def enqueue_bulk(
        self,
        jobs: Iterable[Job | Item[Job]],
        *,
        durable: Durable | bool = False,  # noqa: ARG002 - as above
    ) -> list[str]:
        """Keep many jobs.

        Args:
            jobs: an iterable of jobs; an `Item` gives a job its own id, delay or key.
            durable: accepted, and of no effect: nothing here outlives the process.

        Returns:
            The job ids, in order.

        Raises:
            OptionError: `jobs` is not an iterable.
            BulkError: a job was refused: `ids` are kept, and nothing after them is.
        """
        return self.memory.add_all(jobs)

    def cancel(self, job_class: type[Job], job_id: str) -> CancelResult:
        """Cancel a job that waits in memory.

        Args:
            job_class: its stream is the schema's.
            job_id: as `enqueue` returned it.

        Returns:
            `cancelled`, or `not_found` for one that has ended or never was.
        """
        return self.memory.cancel(job_class, job_id)
