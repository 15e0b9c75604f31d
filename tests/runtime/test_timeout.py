"""An attempt may take so long; then it is cancelled, and settled once it has ended."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial

import pytest

from flowd import Context, DeadLetters, Queue
from jobs.email import Email
from tests.raw import Raw
from tests.runtime.expire import pending
from tests.runtime.faults import Bench, email, events, policy, until

GROUP = "senders"
SHORT = 0.02


def _started(bench: Bench, number: int) -> bool:
    return len(bench.started) == number


async def test_a_timeout_is_a_failure(redis_url: str, stream: str) -> None:
    """The handler is cancelled, tried again, and in the end a dead letter."""
    bench = Bench(closed=True)
    rules = policy(stream, timeout=SHORT, max_retries=2)
    async with Queue(Email, bench, url=redis_url, policy=rules) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert bench.cancelled == ["a", "a", "a"]
    assert [ctx.attempt for ctx in bench.contexts] == [1, 2, 3]
    assert letter.error == "TimeoutError: timed out after 0.02 s"
    # Where the handler was when its time was up:
    assert "await self.gate.wait()" in letter.traceback


async def test_each_attempt_has_its_own_time(redis_url: str, stream: str) -> None:
    """A job that starts while another runs is cancelled by its own clock."""
    bench = Bench(closed=True)
    rules = policy(stream, timeout=SHORT, max_retries=0)
    async with Queue(Email, bench, url=redis_url, policy=rules) as queue:
        queue.run()
        for number in range(4):
            await queue.enqueue(email(str(number)))
            await until(partial(_started, bench, number + 1))
        await queue.drain()

    assert bench.cancelled == ["0", "1", "2", "3"]


async def test_who_ends_in_time_is_done(redis_url: str, raw: Raw, stream: str) -> None:
    """A timeout that nobody reaches changes nothing."""
    bench = Bench()
    rules = policy(stream, timeout=60.0)
    async with Queue(Email, bench, url=redis_url, policy=rules) as queue:
        await queue.enqueue_bulk([email("a"), email("b")])
        queue.run()
        await queue.drain()

    assert sorted(bench.done) == ["a", "b"]
    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 0


async def test_a_timed_out_handler_keeps_slot_and_lease_until_it_ends(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """One that takes its time to end is settled then, and nobody starts it before."""
    cancelled, gate = asyncio.Event(), asyncio.Event()
    bench = Bench()

    async def slow_to_end(job: Email, ctx: Context) -> None:
        if job.to == "next" or ctx.attempt > 1:
            await bench(job, ctx)
            return
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await gate.wait()

    rules = policy(stream, timeout=SHORT)
    async with Queue(
        Email, slow_to_end, url=redis_url, policy=rules, concurrency=1
    ) as queue:
        queue.run()
        await queue.enqueue_bulk([email("slow"), email("next")])
        await cancelled.wait()
        await asyncio.sleep(0.03)
        assert not bench.started
        assert len(pending(raw, stream, GROUP)) == 1
        gate.set()
        await queue.drain()

    assert sorted(bench.done) == ["next", "slow"]


async def test_a_handler_that_swallows_its_cancellation_and_returns_is_done(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It returned, so it is done: the work was finished, if late."""
    attempts: list[int] = []

    async def swallow(job: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    rules = policy(stream, timeout=SHORT)
    async with Queue(Email, swallow, url=redis_url, policy=rules) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert attempts == [1]
    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 0


async def test_a_timeout_that_the_handler_turns_into_an_error_is_the_failure(
    redis_url: str, stream: str
) -> None:
    """The error says first that the time was up, then what became of it."""

    async def fail_at_the_end(job: Email) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("rollback failed") from None

    rules = policy(stream, timeout=SHORT, max_retries=0)
    async with Queue(Email, fail_at_the_end, url=redis_url, policy=rules) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert letter.error == (
        "TimeoutError: timed out after 0.02 s; then ConnectionError: rollback failed"
    )
    assert "ConnectionError: rollback failed" in letter.traceback


async def test_a_thread_past_its_timeout_keeps_its_slot(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A thread cannot be cancelled: the next job waits until it has ended."""
    started, gate = threading.Event(), threading.Event()
    seen: list[str] = []

    def block(job: Email, ctx: Context) -> None:
        seen.append(job.to)
        if job.to == "slow" and ctx.attempt == 1:
            started.set()
            assert gate.wait(10)
            raise ValueError("late")

    rules = policy(stream, timeout=SHORT)
    async with Queue(Email, block, url=redis_url, policy=rules, concurrency=1) as queue:
        queue.run()
        await queue.enqueue_bulk([email("slow"), email("next")])
        await until(started.is_set)
        await asyncio.sleep(0.04)
        assert seen == ["slow"]
        assert len(pending(raw, stream, GROUP)) == 1
        gate.set()
        await queue.drain()

    assert sorted(seen) == ["next", "slow", "slow"]


async def test_the_handlers_own_timeout_is_its_own(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`asyncio.timeout` inside a handler works beside flowd's."""
    attempts: list[int] = []

    async def inner(job: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    rules = policy(stream, timeout=60.0)
    async with Queue(Email, inner, url=redis_url, policy=rules) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert attempts == [1, 2]
    assert events(caplog.records).count("retry") == 1
