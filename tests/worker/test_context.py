"""What a handler sees: its context, and the context variables of its attempt."""

from __future__ import annotations

import asyncio
import contextvars
import time

import pytest

from flowd import Context, Queue
from jobs.email import Email
from tests.support.email_job import email
from tests.support.leases import pending
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="unset")


@pytest.mark.parametrize("threads", [False, True])
async def test_context_variables_are_the_attempts_own(
    redis_url: str, stream: str, *, threads: bool
) -> None:
    """What one handler sets no other sees; what was set before `run` all see."""
    seen: list[str] = []

    def note_and_set(job: Email) -> None:
        seen.append(VAR.get())
        VAR.set(job.to)

    async def note_on_loop(job: Email) -> None:
        note_and_set(job)

    VAR.set("application")
    async with Queue(
        Email,
        note_and_set if threads else note_on_loop,
        url=redis_url,
        stream=stream,
        concurrency=2,
    ) as queue:
        queue.run()
        VAR.set("later")
        await queue.enqueue_bulk(email(str(number)) for number in range(20))
        await queue.drain()

    assert seen == ["application"] * 20


async def test_a_suspect_sees_no_variable_of_the_job_before_it(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A job that waited for another to end does not begin in that one's context."""
    seen: dict[str, str] = {}
    started, gate = asyncio.Event(), asyncio.Event()

    async def handle(job: Email) -> None:
        seen[job.to] = VAR.get()
        VAR.set(job.to)
        if job.to == "first":
            started.set()
            await gate.wait()

    async with make_queue(handle, lease=20.0) as queue:
        queue.run()
        await queue.enqueue(email("first"))
        await started.wait()
        crashed = ("to", "suspect", "subject", "", "_attempt", 1, "_deliveries", 2)
        raw("XADD", stream, "*", *crashed)
        await wait_until(lambda: len(pending(raw, stream, "senders")) == 2)
        gate.set()
        await queue.drain()

    assert seen == {"first": "unset", "suspect": "unset"}


async def test_the_context_tells_of_the_delivery(redis_url: str, stream: str) -> None:
    """Id, stream, attempt, deliveries, times; and it prints without the job."""
    seen: list[str] = []

    async def handle(job: Email, ctx: Context) -> None:
        await asyncio.sleep(0)
        assert (ctx.stream, ctx.group) == (stream, "senders")
        assert ctx.consumer == handle_.consumer
        assert (ctx.attempt, ctx.deliveries) == (1, 1)
        assert 0 < ctx.lease_deadline - time.monotonic() <= 30.0
        assert ctx.enqueued_at.tzinfo is not None
        seen.append(repr(ctx))

    async with Queue(Email, handle, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email(), id="1-1")
        handle_ = queue.run()
        await queue.drain()

    assert seen == ["Context(id='1-1', attempt=1)"]
