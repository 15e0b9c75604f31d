"""Middleware, and the helpers for tests of users."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from flowd import Context, Item, Job, Middleware, Producer, Queue, Run, Send
from flowd.metrics import Metrics
from flowd.testing import (
    FakeClock,
    Memory,
    MemoryQueue,
    RecordingProducer,
    RecordingSyncProducer,
    debug_map,
    from_text,
    round_trip,
)
from flowd.tracing import Tracing
from jobs.email import Email

EMAIL = Email(to="a@b.c", subject="hi")


class Tenant(Middleware):
    """Overrides everything."""

    async def enqueue(
        self, stream: str, items: Iterable[Item[Job]], send: Send
    ) -> list[str]:
        headers = {"tenant": stream}
        return await send(dataclasses.replace(each, headers=headers) for each in items)

    async def handle(self, job: Job, ctx: Context, run: Run) -> object:
        ctx.log.info("%s of %s", type(job).__name__, ctx.headers.get("tenant"))
        return await run()


class Counted(Middleware):
    """Overrides one."""

    async def handle(self, job: Job, ctx: Context, run: Run) -> object:
        del job, ctx
        return await run()


async def handle(job: Email) -> None:
    del job


queue = Queue(Email, handle, middleware=[Tenant(), Counted(), Metrics(), Tracing()])
producer = Producer(middleware=(Tenant(),))


async def use_helpers() -> None:
    """As `docs/testing.md` shows it."""
    clock = FakeClock()
    memory = Memory(clock)
    recording = RecordingProducer(memory)
    await recording.enqueue(EMAIL)
    item: Item[Email] = recording.assert_enqueued(Email, to="a@b.c")
    recording.refute_enqueued(Email, to="x")
    jobs: list[Email] = recording.jobs(Email)
    RecordingSyncProducer().enqueue(jobs[0])
    emails = MemoryQueue(Email, handle)
    await emails.enqueue(item.job)
    await emails.drain()
    same: Email = round_trip(EMAIL)
    read: Email = from_text(Email, {"to": "a@b.c", "subject": "hi"})
    shown: dict[str, str] = debug_map(same)
    print(read, shown)
