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
        """As `Producer.enqueue`; a server's errors are those of `memory.error`."""
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
        """As `Producer.enqueue_bulk`."""
        return self.memory.add_all(jobs)

    async def cancel(self, job_class: type[Job], job_id: str) -> CancelResult:
        """As `Producer.cancel`."""
        return self.memory.cancel(job_class, job_id)


class RecordingSyncProducer(Recorded, SyncProducer):
    """A `SyncProducer` that keeps jobs in memory, and says what it was given.

    Args:
        memory: as `RecordingProducer`.
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
        """As `SyncProducer.enqueue`; a server's errors are those of `memory.error`."""
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
        """As `SyncProducer.enqueue_bulk`."""
        return self.memory.add_all(jobs)

    def cancel(self, job_class: type[Job], job_id: str) -> CancelResult:
        """As `SyncProducer.cancel`."""
        return self.memory.cancel(job_class, job_id)
