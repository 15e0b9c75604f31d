"""Cancel, delete, run now, pause and expiry: the same with a server and without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import pytest

from flowd import Context, OptionError, Queue
from flowd.testing import MemoryQueue
from jobs.email import Email
from tests.support.email_job import email, policy
from tests.support.scheduled import every, scheduled
from tests.support.waiting import RECOVERY, wait_until

HOUR = 3_600.0


class Controlled(Protocol):
    """What both kinds of queue are asked here."""

    async def enqueue(
        self,
        job: Email,
        *,
        delay: float | None = None,
        key: str | None = None,
        expires: float | None = None,
    ) -> str:
        """Enqueue one job."""
        ...

    async def cancel(
        self, job_id: str
    ) -> Literal["cancelled", "cancelling", "not_found"]:
        """Cancel one."""
        ...

    async def delete(self, job_id: str) -> Literal["deleted", "running", "not_found"]:
        """Delete one."""
        ...

    async def run_now(self, job_id: str) -> bool:
        """Hurry one."""
        ...

    async def pause(self) -> bool:
        """Pause."""
        ...

    async def resume(self) -> bool:
        """Resume."""
        ...


class Handler:
    """Records what it runs; does with each job what the test wants done meanwhile."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.cleaned: list[str] = []
        self.said: list[str] = []
        self.meanwhile: Callable[[Context], object] | None = None

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one."""
        if self.meanwhile is not None:
            task = asyncio.ensure_future(self._ask(ctx))
            await task
            await asyncio.Event().wait()
        self.ran.append(job.to)

    async def _ask(self, ctx: Context) -> None:
        assert self.meanwhile is not None
        answer = self.meanwhile(ctx)
        assert asyncio.iscoroutine(answer)
        self.said.append(await answer)


@dataclass
class Bench:
    """A queue, what its handler saw, and how to let it run all that is due."""

    queue: Controlled
    handler: Handler
    run: Callable[[Sequence[str]], Awaitable[None]]
    """Called with what will have run then."""

    pass_time: Callable[[float], Awaitable[object]]
    """Let so many seconds pass, or as few as a real queue needs."""

    async def expect(self, *ran: str) -> None:
        """Let the queue run until exactly these jobs have run."""
        await self.run(ran)
        assert self.handler.ran == [*ran]

    async def expect_gone(self, job_id: str) -> None:
        """Wait until a job that ended is settled, which a worker does a moment later."""
        async with asyncio.timeout(RECOVERY):
            said = ""
            while said != "not_found":
                await asyncio.sleep(0.005)
                said = await self.queue.cancel(job_id)


@asynccontextmanager
async def on_a_server(redis_url: str, stream: str) -> AsyncGenerator[Bench]:
    """A real queue that begins to run when it is first expected to."""
    handler = Handler()
    async with Queue(
        *(Email, handler),
        url=redis_url,
        policy=policy(stream),
        on_cancelled=lambda job: handler.cleaned.append(job.to),
    ) as queue:
        handles: list[object] = []

        async def run(ran: Sequence[str]) -> None:
            if not handles:
                handles.append(queue.run())
            await wait_until(lambda: len(handler.ran) >= len(ran))

        yield Bench(queue, handler, run, lambda _: asyncio.sleep(0.01))


@asynccontextmanager
async def in_memory() -> AsyncGenerator[Bench]:
    """A queue without a server."""
    handler = Handler()
    queue = MemoryQueue(
        Email, handler, on_cancelled=lambda job: handler.cleaned.append(job.to)
    )

    async def run(_: Sequence[str]) -> None:
        await queue.run_due()

    yield Bench(queue, handler, run, queue.advance_time)


MakeBench: TypeAlias = Callable[[], AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=["server", "memory"])
def bench(request: pytest.FixtureRequest, redis_url: str, stream: str) -> MakeBench:
    """Opens one of both kinds."""
    if request.param == "server":
        return lambda: on_a_server(redis_url, stream)
    return in_memory


async def test_waiting_and_delayed_jobs_end_at_once(bench: MakeBench) -> None:
    """They never run, their keys are free, and a second call finds nothing."""
    async with bench() as own:
        plain = await own.queue.enqueue(email("plain"))
        keyed = await own.queue.enqueue(email("keyed"), key="k")
        delayed = await own.queue.enqueue(email("delayed"), delay=HOUR, key="d")
        assert await own.queue.cancel(keyed) == "cancelled"
        assert await own.queue.cancel(delayed) == "cancelled"
        assert await own.queue.delete(plain) == "deleted"
        for job_id in (plain, keyed, delayed, "1-1", "no such", "", "\ud800"):
            assert await own.queue.cancel(job_id) == "not_found"
            assert await own.queue.delete(job_id) == "not_found"
            assert not await own.queue.run_now(job_id)
        assert await own.queue.enqueue(email("again"), key="k") != keyed
        assert await own.queue.enqueue(email("later"), key="d") != delayed
        await own.expect("again", "later")
        assert not own.handler.cleaned


async def test_a_delayed_job_is_hurried(bench: MakeBench) -> None:
    """It runs at once; one that waits is not delayed."""
    async with bench() as own:
        delayed = await own.queue.enqueue(email("delayed"), delay=HOUR)
        await own.queue.enqueue(email("stays"), delay=HOUR)
        assert await own.queue.run_now(delayed)
        await own.expect("delayed")
        assert not await own.queue.run_now(delayed)
        waiting = await own.queue.enqueue(email("waiting"))
        await own.expect("delayed", "waiting")
        assert not await own.queue.run_now(waiting)


async def test_a_paused_queue_runs_nothing(bench: MakeBench) -> None:
    """What is enqueued waits and can be cancelled; all that is left runs after the resume."""
    async with bench() as own:
        assert not await own.queue.resume()
        assert await own.queue.pause()
        assert not await own.queue.pause()
        await own.queue.enqueue(email("waits"))
        gone = await own.queue.enqueue(email("gone"))
        delayed = await own.queue.enqueue(email("delayed"), delay=HOUR)
        assert await own.queue.run_now(delayed)
        await own.expect()
        assert await own.queue.cancel(gone) == "cancelled"
        assert await own.queue.resume()
        await own.expect("waits", "delayed")


async def test_a_running_job_is_cancelled_and_cleaned_up(bench: MakeBench) -> None:
    """Its handler is cancelled, deletes leave it alone, and it does not come back."""
    async with bench() as own:
        job_id = await own.queue.enqueue(email("runs"))
        own.handler.meanwhile = lambda _: own.queue.delete(job_id)
        running = asyncio.ensure_future(own.expect())
        await wait_until(lambda: own.handler.said)
        assert own.handler.said == ["running"]
        assert await own.queue.cancel(job_id) == "cancelling"
        await wait_until(lambda: own.handler.cleaned == ["runs"])
        await running
        await own.expect_gone(job_id)
        own.handler.meanwhile = None
        await own.queue.enqueue(email("next"))
        await own.expect("next")


async def test_a_job_that_comes_too_late_is_dropped(bench: MakeBench) -> None:
    """While its queue is paused its deadline passes, and it does not start."""
    async with bench() as own:
        await own.queue.pause()
        late = await own.queue.enqueue(email("late"), expires=0.001)
        await own.queue.enqueue(email("in time"), expires=HOUR)
        await own.pass_time(1.0)
        await own.queue.resume()
        await own.expect("in time")
        await own.expect_gone(late)


async def test_time_goes_on_while_a_memory_is_paused() -> None:
    """Schedules tick and delays end; a drain that cannot end says so."""
    ran: list[str] = []

    async def work(_: Email, ctx: Context) -> None:
        ran.append(ctx.id)

    queue = MemoryQueue(scheduled(every(60, "minutely")), work)
    await queue.pause()
    await queue.advance_time(180.0)
    assert (len(queue), ran) == (3, [])
    with pytest.raises(OptionError, match="paused"):
        await queue.drain()
    await queue.resume()
    await queue.drain()
    assert len({*ran}) == 3
