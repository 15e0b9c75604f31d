"""A job is cancelled wherever it is, and whatever else happens to it at that moment."""

from __future__ import annotations

import asyncio

import pytest

from flowd import DeadLetters, OutcomeUnknown, Queue, Reject
from flowd.broker.control import removals
from flowd.broker.scripts import CANCEL
from flowd.broker.session import connected
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.events import Seen
from tests.support.leases import expire
from tests.support.proxy import proxy_to
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
LONG = 60.0


def left(raw: Raw, stream: str) -> list[object]:
    """Entries, delayed jobs, their bodies, and whether there are marks."""
    return [
        raw("XLEN", stream),
        raw("ZCARD", f"{{{stream}}}:delayed"),
        raw("HLEN", f"{{{stream}}}:delayed:jobs"),
        raw("HEXISTS", f"{{{stream}}}:{GROUP}:control", "@cancels"),
    ]


async def fail(_: Email) -> None:
    """Fail, to be tried again."""
    raise ValueError("no")


async def test_a_job_in_its_backoff_is_gone(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It waits for its next attempt, which does not come."""
    async with make_queue(fail, backoff=LONG) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: raw("ZCARD", f"{{{stream}}}:delayed"))
        assert await queue.cancel(job_id) == "cancelled"
        await queue.drain()
    assert left(raw, stream) == [0, 0, 0, 0]


async def test_a_dead_letter_stays(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It has ended: neither a cancel nor a delete takes it, and no mark is left."""

    async def reject(_: Email) -> None:
        raise Reject("no")

    async with make_queue(reject) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await queue.drain()
        assert await queue.cancel(job_id) == "not_found"
        assert await queue.delete(job_id) == "not_found"
    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 1
    assert left(raw, stream) == [0, 0, 0, 0]


async def test_a_job_of_another_queue_stays(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """An id means a job of this queue alone."""
    other = Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(f"{stream}-other")
    )
    async with make_queue() as queue, other:
        job_id = await queue.enqueue(email())
        delayed = await queue.enqueue(email(), delay=LONG)
        for each in (job_id, delayed):
            assert await other.cancel(each) == "not_found"
            assert await other.delete(each) == "not_found"
            assert not await other.run_now(each)
    assert left(raw, stream) == [1, 1, 1, 0]


async def test_many_callers_end_a_job_once(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Of all who cancel or delete it at once, one does; it is counted once."""
    async with make_queue() as first, make_queue() as second:
        job_id = await first.enqueue(email())
        said = await asyncio.gather(
            *(queue.cancel(job_id) for queue in (first, second) for _ in range(10)),
            *(queue.delete(job_id) for queue in (first, second) for _ in range(10)),
        )
    assert sorted(said)[:-39] in (["cancelled"], ["deleted"])
    assert said.count("not_found") == 39
    async with connected(Address.of(redis_url)) as connection:
        found = await removals(Stream(connection, stream, GROUP))
    assert sum(each.jobs for each in found) == 1


@pytest.mark.parametrize("taken", [False, True], ids=["waits", "runs"])
async def test_a_cancel_without_an_answer_is_repeated_safely(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue, taken: bool
) -> None:
    """The caller learns that the outcome is unknown; the repeat says how it is now."""
    recorder = RecordingHandler(closed=True)
    raw("SCRIPT", "LOAD", CANCEL.source)
    async with proxy_to(redis_url) as proxy, make_queue(recorder) as worker:
        caller = Queue(Email, recorder, url=proxy.url, policy=policy(stream))
        job_id = await caller.enqueue(email())
        if taken:
            worker.run()
            await wait_until(lambda: recorder.started)
        proxy.lose(CANCEL.sha.encode())
        with pytest.raises(OutcomeUnknown):
            await caller.cancel(job_id)
        assert proxy.lost == 1
        if taken:
            await wait_until(lambda: recorder.cancelled == ["a"])
        else:
            assert await caller.cancel(job_id) == "not_found"
        await caller.aclose()
        await worker.drain()
    assert left(raw, stream) == [0, 0, 0, 0]


async def test_a_cancel_during_the_grace_ends_the_job(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A worker that shuts down hears it, and need not wait for that handler any more."""
    recorder, seen = RecordingHandler(closed=True), Seen()
    async with make_queue(recorder, lease=LONG, middleware=[seen]) as queue:
        job_id = await queue.enqueue(email())
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        ending = asyncio.create_task(handle.shutdown(grace=None))
        await wait_until(lambda: queue.failing)
        assert await queue.cancel(job_id) == "cancelling"
        await ending
    assert [each.job_id for each in seen.named("cancelled")] == [job_id]
    assert left(raw, stream) == [0, 0, 0, 0]


@pytest.mark.parametrize("round_", range(10))
async def test_a_cancel_at_the_end_of_a_worker_is_not_lost(
    raw: Raw, stream: str, make_queue: MakeQueue, round_: int
) -> None:
    """Whichever comes first: the job is settled as cancelled, here or by the next worker."""
    recorder, seen = RecordingHandler(closed=True), Seen()
    async with make_queue(recorder, lease=LONG, middleware=[seen]) as queue:
        job_id = await queue.enqueue(email())
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        said, _ = await asyncio.gather(queue.cancel(job_id), handle.shutdown(grace=0.0))
    assert said in ("cancelling", "cancelled")
    async with make_queue(recorder, lease=LONG, middleware=[seen]) as queue:
        queue.run()
        await queue.drain()
    assert len(recorder.started) == 1, round_
    assert len(seen.named("cancelled")) + len(seen.named("removed")) == 1
    assert left(raw, stream) == [0, 0, 0, 0]


async def test_a_running_job_of_a_paused_queue_is_cancelled(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A pause keeps no cancel from a handler, nor from a job that is taken over later."""
    recorder, seen = RecordingHandler(closed=True), Seen()
    async with make_queue(recorder, lease=LONG, middleware=[seen]) as queue:
        running = await queue.enqueue(email("runs"))
        queue.run()
        await wait_until(lambda: recorder.started)
        abandoned = await queue.enqueue(email("abandoned"))
        await wait_until(lambda: len(recorder.started) == 2)
        await queue.pause()
        for job_id in (running, abandoned):
            assert await queue.cancel(job_id) == "cancelling"
        await wait_until(lambda: len(seen.named("cancelled")) == 2)
        await queue.resume()
        await queue.drain()
    assert left(raw, stream) == [0, 0, 0, 0]


async def test_a_mark_holds_through_a_pause_and_a_takeover(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A job of a dead worker that is cancelled during a pause never starts again."""
    recorder, seen = RecordingHandler(), Seen()
    async with make_queue(recorder, middleware=[seen]) as queue:
        job_id = await queue.enqueue(email())
        raw("XREADGROUP", "GROUP", GROUP, "dead", "STREAMS", stream, ">")
        await queue.pause()
        assert await queue.cancel(job_id) == "cancelling"
        queue.run()
        expire(raw, stream, GROUP)
        await queue.resume()
        await queue.drain()
    assert not recorder.started
    assert [each.job_id for each in seen.named("cancelled")] == [job_id]
    assert left(raw, stream) == [0, 0, 0, 0]


async def test_a_job_that_was_redriven_twice_is_known_by_its_id(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Each redrive makes a new entry; the id from its enqueue cancels the last of them."""
    rejects = 2

    async def work(job: Email) -> None:
        nonlocal rejects
        rejects -= 1
        if rejects >= 0:
            raise Reject("no")
        await asyncio.Event().wait()

    seen = Seen()
    async with make_queue(work, lease=LONG, middleware=[seen]) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        for _ in range(2):
            await queue.drain()
            async with DeadLetters(Email, redis_url, stream=stream) as letters:
                async for letter in letters.list():
                    await letters.redrive(letter)
        await wait_until(lambda: rejects < 0)
        assert await queue.cancel(job_id) == "cancelling"
        await queue.drain()
    assert [each.job_id for each in seen.named("cancelled")] == [job_id]
    assert left(raw, stream) == [0, 0, 0, 0]


async def test_a_handler_that_ignores_its_cancel_runs_once(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It is stuck after a lease; whichever worker has the job then ends it and starts nothing."""
    seen, runs, end = Seen(), list[str](), asyncio.Event()

    async def work(job: Email) -> None:
        runs.append(job.to)
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    async with make_queue(work, lease=0.5, middleware=[seen]) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: runs)
        assert await queue.cancel(job_id) == "cancelling"
        await wait_until(lambda: seen.named("cancelled"))
        assert seen.named("stuck")
        end.set()
        await queue.drain()
    assert runs == ["a"]
    assert left(raw, stream) == [0, 0, 0, 0]
