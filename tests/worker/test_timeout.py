"""An attempt may take so long; then it is cancelled, and settled once it has ended."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial

import pytest

from flowd import Claimer, Context, DeadLetters
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
SHORT = 0.02
LEASE = 0.4


def _started(recorder: RecordingHandler, number: int) -> bool:
    return len(recorder.started) == number


async def test_a_timeout_is_a_failure(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """The handler is cancelled, tried again, and in the end a dead letter."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, timeout=SHORT, max_retries=2) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert recorder.cancelled == ["a", "a", "a"]
    assert [ctx.attempt for ctx in recorder.contexts] == [1, 2, 3]
    assert letter.error == "TimeoutError: timed out after 0.02 s"
    # Where the handler was when its time was up:
    assert "await self.gate.wait()" in letter.traceback


async def test_each_attempt_has_its_own_time(make_queue: MakeQueue) -> None:
    """A job that starts while another runs is cancelled by its own clock."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, timeout=SHORT, max_retries=0) as queue:
        queue.run()
        for number in range(4):
            await queue.enqueue(email(str(number)))
            await wait_until(partial(_started, recorder, number + 1))
        await queue.drain()

    assert recorder.cancelled == ["0", "1", "2", "3"]


async def test_handler_within_its_timeout_is_done(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A timeout that is not reached changes nothing."""
    recorder = RecordingHandler()
    async with make_queue(recorder, timeout=60.0) as queue:
        await queue.enqueue_bulk([email("a"), email("b")])
        queue.run()
        await queue.drain()

    assert sorted(recorder.done) == ["a", "b"]
    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 0


async def test_a_timed_out_handler_keeps_slot_and_lease_until_it_ends(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """One that takes its time to end is settled then, and no worker starts it before."""
    cancelled, gate = asyncio.Event(), asyncio.Event()
    recorder = RecordingHandler()

    async def slow_to_end(job: Email, ctx: Context) -> None:
        if job.to == "next" or ctx.attempt > 1:
            await recorder(job, ctx)
            return
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await gate.wait()

    async with make_queue(
        slow_to_end, timeout=SHORT, lease=60.0, concurrency=1
    ) as queue:
        queue.run()
        await queue.enqueue_bulk([email("slow"), email("next")])
        await cancelled.wait()
        await asyncio.sleep(0.03)
        assert not recorder.started
        assert len(pending(raw, stream, GROUP)) == 1
        gate.set()
        await queue.drain()

    assert sorted(recorder.done) == ["next", "slow"]


async def test_a_handler_that_swallows_its_cancellation_and_returns_is_done(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It returned, so it is done: the work was finished, if late."""
    attempts: list[int] = []

    async def swallow(job: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with make_queue(swallow, timeout=SHORT) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert attempts == [1]
    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 0


async def test_a_timeout_that_the_handler_turns_into_an_error_is_the_failure(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """The error says first that the time was up, then what became of it."""

    async def fail_at_the_end(job: Email) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("rollback failed") from None

    async with make_queue(fail_at_the_end, timeout=SHORT, max_retries=0) as queue:
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
    raw: Raw, stream: str, make_queue: MakeQueue
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

    async with make_queue(block, timeout=SHORT, lease=60.0, concurrency=1) as queue:
        queue.run()
        await queue.enqueue_bulk([email("slow"), email("next")])
        await wait_until(started.is_set)
        await asyncio.sleep(0.04)
        assert seen == ["slow"]
        assert len(pending(raw, stream, GROUP)) == 1
        gate.set()
        await queue.drain()

    assert sorted(seen) == ["next", "slow", "slow"]


async def test_the_handlers_own_timeout_is_its_own(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """`asyncio.timeout` inside a handler works together with flowd's."""
    attempts: list[int] = []

    async def inner(job: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    async with make_queue(inner, timeout=60.0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert attempts == [1, 2]
    assert events(caplog.records).count("retry") == 1


@pytest.mark.parametrize("threaded", [False, True])
async def test_ignored_timeout_is_a_crash(
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    threaded: bool,
    make_queue: MakeQueue,
) -> None:
    """It is said once, its slot stays taken, and another worker takes the job over."""
    gate, stopped = threading.Event(), asyncio.Event()
    cancelled: list[str] = []

    def hang(job: Email) -> None:
        assert gate.wait(20)

    async def swallow(job: Email) -> None:
        while not stopped.is_set():
            try:
                await stopped.wait()
            except asyncio.CancelledError:
                cancelled.append(job.to)
                if len(cancelled) > 2:  # this test has failed, and has to end
                    raise

    other = RecordingHandler()
    handler = hang if threaded else swallow
    rules = policy(stream, timeout=SHORT, lease=LEASE)
    async with (
        make_queue(handler, rules=rules, concurrency=1) as queue,
        make_queue(other, rules=rules) as another,
    ):
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: handle.failing)
        assert str(handle.failing).startswith("every slot has a handler")
        await queue.enqueue(email("next"))
        await wait_until(
            lambda: pending(raw, stream, GROUP)[0].consumer != handle.consumer
        )
        (held,) = pending(raw, stream, GROUP)
        assert (held.consumer, held.deliveries) == (f"{handle.consumer}:stuck", 1)

        another.run()
        await wait_until(lambda: sorted(other.done) == ["a", "next"])
        gate.set()
        stopped.set()
        await wait_until(lambda: handle.failing is None)
        await queue.drain()

    by_name = dict(zip(other.started, other.contexts, strict=True))
    assert by_name["a"].deliveries == 2
    assert by_name["a"].attempt == 1
    assert cancelled == ([] if threaded else ["a", "a"])
    (said,) = [each for each in caplog.records if vars(each).get("event") == "stuck"]
    assert said.getMessage().endswith(
        "has not ended one lease (0.4 s) after its timeout of 0.02 s; it keeps its slot,"
        " and its lease runs out"
    )
    assert "0.4" not in said.msg
    assert events(caplog.records).count("retry") == 0


async def test_a_handler_that_obeys_the_second_cancellation_timed_out(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Its job is still held, so the attempt is a failure and no crash."""
    contexts: list[Context] = []

    async def obey_twice(job: Email, ctx: Context) -> None:
        contexts.append(ctx)
        if ctx.attempt == 1:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    async with make_queue(obey_twice, timeout=SHORT, lease=LEASE) as queue:
        queue.run()
        await queue.enqueue(email())
        await queue.drain()

    assert [(each.attempt, each.deliveries) for each in contexts] == [(1, 1), (2, 2)]
    said = events(caplog.records)
    assert (said.count("stuck"), said.count("retry"), said.count("lost")) == (1, 1, 0)


async def test_a_handler_that_never_ends_is_dead_lettered(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """Each of its runs is a crash, and so many crashes are the end."""
    gate = asyncio.Event()
    started: list[int] = []

    async def swallow(job: Email, ctx: Context) -> None:
        started.append(ctx.deliveries)
        with suppress(asyncio.CancelledError):
            await gate.wait()
        with suppress(asyncio.CancelledError):
            await gate.wait()
        await gate.wait()

    claimer = Claimer(max_crashes=1)
    async with make_queue(
        swallow, timeout=SHORT, lease=LEASE, claimer=claimer
    ) as queue:
        queue.run()
        await queue.enqueue(email())
        await queue.drain()
        gate.set()
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert started == [1, 2]
    assert letter.reason == "crashed"
