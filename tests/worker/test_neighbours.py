"""A queue with many slots leaves the event loop to the others of its process."""

from __future__ import annotations

import asyncio
import time

import pytest

from flowd import Queue
from flowd.embedded import Server
from flowd.worker import tasks
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

_JOBS = 600


class _Busy:
    """A handler that takes half a millisecond of a processor.

    Attributes:
        turns: how many of them ran between two turns of the event loop.
    """

    def __init__(self) -> None:
        self.turns: list[int] = []
        self.ran = 0

    async def __call__(self, _: Email) -> None:
        """Run one job."""
        end = time.thread_time() + 0.0005
        while time.thread_time() < end:
            pass
        self.ran += 1

    async def count(self) -> None:
        """Count them until all have run."""
        while self.ran < _JOBS:
            before = self.ran
            await asyncio.sleep(0)
            if self.ran > before:
                self.turns.append(self.ran - before)


async def test_few_long_handlers_begin_in_one_turn(make_queue: MakeQueue) -> None:
    """Of those that take half a millisecond, as many as 10 ms hold, though 1000 may run."""
    busy = _Busy()
    async with make_queue(busy, concurrency=1_000, lease=30.0) as queue:
        await queue.enqueue_bulk(email() for _ in range(_JOBS))
        queue.run()
        await asyncio.wait_for(busy.count(), 30.0)
    assert max(busy.turns[len(busy.turns) // 2 :]) <= 40


async def test_short_handlers_begin_as_they_come(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than at first: a turn that is not long holds hundreds."""
    # On a slow machine, too, none of these is long.
    monkeypatch.setattr(tasks, "_LONG", 60.0)
    monkeypatch.setattr(tasks, "_SHORT", 30.0)
    most = begun = 0
    stop = asyncio.Event()

    async def run(_: Email) -> None:
        nonlocal begun
        begun += 1

    async def count() -> None:
        nonlocal most, begun
        while not stop.is_set():
            begun = 0
            await asyncio.sleep(0)
            most = max(most, begun)

    async with make_queue(run, concurrency=1_000, lease=30.0) as queue:
        await queue.enqueue_bulk(email() for _ in range(10_000))
        counting = asyncio.create_task(count())
        queue.run()
        await queue.drain()
        stop.set()
        await counting
    assert most > 64


async def test_jobs_that_wait_for_their_turn_are_released(
    make_queue: MakeQueue, raw: Raw
) -> None:
    """At the end of the queue, as those that run; none is lost, and none counts as tried."""
    began: list[str] = []

    async def run(job: Email) -> None:
        began.append(job.to)
        end = time.thread_time() + 0.003
        while time.thread_time() < end:
            pass
        await asyncio.sleep(60)

    async with make_queue(run, concurrency=1_000, lease=30.0) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(_JOBS))
        handle = queue.run()
        await wait_until(lambda: began)
        await handle.shutdown(grace=0.0)
        assert len(began) < _JOBS
        assert raw("XLEN", queue.policy.stream) == _JOBS
        assert raw("XPENDING", queue.policy.stream, queue.policy.group) == [
            0,
            None,
            None,
            None,
        ]
        fields = raw("XRANGE", queue.policy.stream, "-", "+")
    assert repr(fields).count("b'_attempt', b'1'") == _JOBS


class _Waiting(_Busy):
    """The same, but all of them wait for the same moment first."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = asyncio.Event()
        self.waiting = 0

    async def __call__(self, job: Email) -> None:
        """Run one job."""
        self.waiting += 1
        await self.moment.wait()
        if job.to != "short":
            await super().__call__(job)

    async def go_on(self) -> None:
        """Let all of them go on, and count them until they have run."""
        counting = asyncio.create_task(self.count())
        await asyncio.sleep(0)
        self.moment.set()
        await asyncio.wait_for(counting, 30.0)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_few_handlers_go_on_in_one_turn(
    make_queue: MakeQueue,
    redis_url: str,
    own_server: Server,
    stream: str,
    elsewhere: bool,
) -> None:
    """If another queue runs, of any server, few go on at a time; all have run then."""
    busy = _Waiting()
    url = own_server.url if elsewhere else redis_url
    calm = Queue(Email, RecordingHandler(), url=url, stream=f"{stream}.calm")
    async with make_queue(busy, concurrency=1_000, lease=30.0) as queue, calm:
        calm.run()
        queue.run()
        # More than begin in one turn, so that some have waited for that as well; those that
        # are short say nothing of those behind them.
        await queue.enqueue_bulk(email("short") for _ in range(200))
        await queue.enqueue_bulk(email() for _ in range(_JOBS))
        await wait_until(lambda: busy.waiting == 200 + _JOBS)
        await busy.go_on()
    # The first ones began before the queue was known to wait.
    assert max(busy.turns[len(busy.turns) // 2 :]) <= 40
    assert max(busy.turns) <= 64 + 40


async def test_handlers_of_a_queue_alone_go_on_as_they_come(
    make_queue: MakeQueue,
) -> None:
    """There is nothing that they could hold up."""
    busy = _Waiting()
    async with make_queue(busy, concurrency=1_000, lease=30.0) as queue:
        queue.run()
        await queue.enqueue_bulk(email() for _ in range(_JOBS))
        await wait_until(lambda: busy.waiting == _JOBS)
        await busy.go_on()
    assert max(busy.turns) == _JOBS


async def test_handlers_that_wait_for_their_turn_can_be_cancelled(
    make_queue: MakeQueue, redis_url: str, stream: str, raw: Raw
) -> None:
    """They end where they stand, and their jobs go back; those before them have run."""
    busy = _Waiting()
    calm = Queue(Email, RecordingHandler(), url=redis_url, stream=f"{stream}.calm")
    async with make_queue(busy, concurrency=1_000, lease=30.0) as queue, calm:
        calm.run()
        handle = queue.run()
        await queue.enqueue_bulk(email() for _ in range(_JOBS))
        await wait_until(lambda: busy.waiting == _JOBS)
        busy.moment.set()
        while not busy.ran:  # noqa: ASYNC110 - in the turn after the first have run
            await asyncio.sleep(0)
        await handle.shutdown(grace=0.0)
        assert busy.ran < _JOBS
        assert raw("XLEN", stream) == _JOBS - busy.ran
        assert raw("XPENDING", stream, queue.policy.group) == [0, None, None, None]
