"""A shutdown loses nothing, counts nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

import pytest

from flowd import Claimer, Context, Letter, OptionError
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import consumers, expire, pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_running_handlers_may_end(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Within the grace a running job ends by itself and is done; no new one starts."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, concurrency=1) as queue:
        handle = queue.run()
        await queue.enqueue_bulk([email("running"), email("waiting")])
        await wait_until(lambda: recorder.started)
        handle.stop(grace=10.0)
        recorder.gate.set()
        await handle.wait()

    assert recorder.done == ["running"]
    assert not pending(raw, stream, GROUP)
    assert [fields[b"to"] for _, fields in raw.entries(stream)] == [b"waiting"]


async def test_handler_that_stops_its_queue_cancels_no_other(
    make_queue: MakeQueue,
) -> None:
    """A slot that is freed in the turn of a stop ends the reading, and not the handlers."""
    done: list[str] = []
    running = asyncio.Event()
    finish = asyncio.Event()

    async def work(job: Email) -> None:
        if job.to == "stops":
            await running.wait()
            handle.stop(grace=10.0)
        else:
            running.set()
            await finish.wait()
        done.append(job.to)

    async with make_queue(work, concurrency=2) as queue:
        handle = queue.run()
        await queue.enqueue_bulk([email("stops"), email("runs")])
        await wait_until(lambda: done)
        for _ in range(20):
            await asyncio.sleep(0)
        finish.set()
        await handle.wait()

    assert done == ["stops", "runs"]


async def test_shutdown_without_a_grace_limit_waits(make_queue: MakeQueue) -> None:
    """With `grace=None` a shutdown takes as long as the handlers do."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        handle.stop(grace=None)
        ending = asyncio.ensure_future(handle.wait())
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not ending.done()
        recorder.gate.set()
        await ending

    assert recorder.done == ["a"]


async def test_a_second_call_may_shorten_the_grace(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A shutdown with a long grace ends at once when it is called with a short one."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        first = asyncio.ensure_future(handle.shutdown(grace=None))
        second = asyncio.ensure_future(handle.shutdown(grace=60.0))
        await asyncio.sleep(0.02)
        await handle.shutdown(grace=0.0)
        await asyncio.gather(first, second)
        await handle.shutdown()

    assert recorder.cancelled == ["a"]
    assert raw("XLEN", stream) == 1


async def test_a_second_call_cannot_lengthen_the_grace(make_queue: MakeQueue) -> None:
    """The earliest end that was asked for holds."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        handle.stop(grace=0.0)
        handle.stop(grace=None)
        await handle.shutdown(grace=60.0)

    assert recorder.cancelled == ["a"]


async def test_no_consumer_is_left(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A worker that owns nothing is forgotten by the group when it ends."""
    async with make_queue() as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await queue.drain()
        assert consumers(raw, stream, GROUP) == [handle.consumer]
        await handle.shutdown()

        assert consumers(raw, stream, GROUP) == []


async def test_a_handler_that_will_not_end_is_left_to_its_lease(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Who swallows the cancellation keeps the job until its lease is over, and no more."""
    end = asyncio.Event()
    started: list[str] = []

    async def stubborn(job: Email) -> None:
        started.append(job.to)
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    async with make_queue(stubborn) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: started)
        await handle.shutdown(grace=0.0)

        (held,) = pending(raw, stream, GROUP)
        assert (held.consumer, held.deliveries) == (f"{handle.consumer}:stuck", 0)
        assert consumers(raw, stream, GROUP) == [held.consumer]
        assert events(caplog.records).count("stuck") == 1
        await wait_until(lambda: pending(raw, stream, GROUP)[0].idle > 1000)
        end.set()
        await asyncio.sleep(0)

    assert raw("XLEN", stream) == 1


async def test_a_thread_that_runs_on_is_left_to_its_lease(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """A thread cannot be cancelled: until its lease ends no worker starts its job again."""
    end = threading.Event()
    started: list[str] = []

    def block(job: Email) -> None:
        started.append(job.to)
        end.wait(10.0)

    async with make_queue(block) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: started)
        await handle.shutdown(grace=0.0)

        (held,) = pending(raw, stream, GROUP)
        assert (held.consumer, held.deliveries) == (f"{handle.consumer}:stuck", 0)
        assert events(caplog.records).count("stuck") == 1
        end.set()

    assert raw("XLEN", stream) == 1


@pytest.mark.parametrize("threaded", [True, False])
async def test_stops_of_a_handler_that_runs_on_are_no_crashes(
    raw: Raw, stream: str, threaded: bool, make_queue: MakeQueue
) -> None:
    """A takeover brings the job to the count that it had, however often workers stop."""
    ended, stopped = threading.Event(), asyncio.Event()
    seen: list[tuple[int, int]] = []

    def block(job: Email, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.deliveries))
        ended.wait(10.0)

    async def swallow(job: Email, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.deliveries))
        while not stopped.is_set():
            with suppress(asyncio.CancelledError):
                await stopped.wait()

    claimer = Claimer(interval=0.01, max_crashes=0)
    expected: list[tuple[int, int]] = []
    for last in (False, True):
        expected.append((1, 1))
        async with make_queue(block if threaded else swallow, claimer=claimer) as queue:
            handle = queue.run()
            if not last:
                await queue.enqueue(email())
            await wait_until(lambda: len(seen) == len(expected))
            if last:
                ended.set()
                stopped.set()
            await handle.shutdown(grace=0.0)
            expire(raw, stream, GROUP)

    assert seen == expected
    assert raw("XLEN", f"{{{stream}}}:senders:dlq") == 0


async def test_a_handler_past_its_timeout_is_a_crash_at_a_stop_too(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It is stuck by its own fault, so its delivery stays counted."""
    ended = threading.Event()
    began: list[float] = []

    def block(job: Email) -> None:
        began.append(time.monotonic())
        ended.wait(10.0)

    async with make_queue(block, timeout=0.01) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: began and time.monotonic() > began[0] + 0.01)
        await handle.shutdown(grace=0.0)
        (held,) = pending(raw, stream, GROUP)
        ended.set()

    assert (held.consumer, held.deliveries) == (handle.consumer, 1)


async def test_an_error_that_follows_the_shutdown_spends_no_attempt(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A handler that fails because it was cancelled is released uncounted."""
    started: list[str] = []

    async def fail(job: Email) -> None:
        started.append(job.to)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError from None

    async with make_queue(fail, max_retries=0, backoff=60.0) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: started)
        await handle.shutdown(grace=0.0)

    assert raw("ZCARD", f"{{{stream}}}:delayed") == 0
    assert raw("XLEN", f"{{{stream}}}:senders:dlq") == 0
    assert raw("XLEN", stream) == 1


async def test_dead_letter_callbacks_run_before_the_end(make_queue: MakeQueue) -> None:
    """A shutdown waits for `on_dead_letter` to return."""
    notified: list[str] = []

    async def notify(letter: Letter[Email]) -> None:
        await asyncio.sleep(0.02)
        notified.append(letter.error)

    async def fail(job: Email) -> None:
        handle.stop()
        raise ValueError("no")

    async with make_queue(fail, max_retries=0, on_dead_letter=notify) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await handle.wait()

    assert notified == ["ValueError: no"]


async def test_an_idle_worker_ends_at_once(raw: Raw, make_queue: MakeQueue) -> None:
    """A read that would block for a minute is ended, not waited for."""
    async with make_queue(block=60.0) as queue:
        handle = queue.run()
        await wait_until(lambda: _blocked(raw))
        unblocked = raw.calls("client|unblock")
        await handle.shutdown(grace=None)
        assert raw.calls("client|unblock") > unblocked


async def test_a_queue_may_run_again(make_queue: MakeQueue) -> None:
    """After a shutdown the same queue runs again; while it runs it does not."""
    recorder = RecordingHandler()
    async with make_queue(recorder) as queue:
        first = queue.run()
        with pytest.raises(OptionError, match="this queue runs already"):
            queue.run()
        await first.shutdown()
        second = queue.run()
        await queue.enqueue(email())
        await queue.drain()

        assert first.ended
        assert first.consumer != second.consumer

    assert recorder.done == ["a"]


async def test_a_shutdown_may_come_at_once(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A queue that is stopped before it has read anything leaves the jobs alone."""
    recorder = RecordingHandler()
    async with make_queue(recorder) as queue:
        await queue.enqueue(email())
        for _ in range(5):
            await queue.run().shutdown()

    assert raw("XLEN", stream) == 1 or recorder.done == ["a"]
    assert not pending(raw, stream, GROUP)
    assert not consumers(raw, stream, GROUP)


def _blocked(raw: Raw) -> bool:
    return raw.info("blocked_clients") == "1"
