"""`drain` returns when nothing waits, runs or is delayed."""

from __future__ import annotations

import asyncio

import pytest

from flowd import Context, Queue, Snooze, WrongKeyType
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import die_with
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until


async def test_an_empty_queue_is_drained(redis_url: str, stream: str) -> None:
    """It need not even run, nor its stream be there."""
    queue = Queue(Email, RecordingHandler(), url=redis_url, stream=stream)
    await queue.drain()
    async with queue:
        await queue.drain()


async def test_a_running_job_is_waited_for(redis_url: str, stream: str) -> None:
    """Until the last handler has ended and is settled, the queue is not drained."""
    recorder = RecordingHandler(closed=True)
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        draining = asyncio.ensure_future(queue.drain())
        await asyncio.sleep(0.02)
        assert not draining.done()
        recorder.gate.set()
        await draining

    assert recorder.done == ["a"]


async def test_drain_waits_for_delayed_and_retried_jobs(make_queue: MakeQueue) -> None:
    """Delayed jobs, retries and snoozes are work that is left to do."""
    recorder = RecordingHandler()

    async def handle(job: Email, ctx: Context) -> None:
        if job.to == "retry" and ctx.attempt == 1:
            raise ValueError
        if job.to == "snooze" and "snooze" not in recorder.started:
            recorder.started.append(job.to)
            raise Snooze(0.02)
        await recorder(job, ctx)

    async with make_queue(handle, backoff=0.02) as queue:
        await queue.enqueue_bulk([email("retry"), email("snooze")])
        await queue.enqueue(email("delayed"), delay=0.02)
        queue.run()
        await queue.drain()

    assert sorted(recorder.done) == ["delayed", "retry", "snooze"]


async def test_drain_waits_for_jobs_of_other_workers(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A job of a dead worker is taken over before the queue is drained."""
    recorder = RecordingHandler()
    async with make_queue(recorder) as queue:
        await queue.enqueue_bulk([email("theirs"), email("ours")])
        die_with(raw, stream, "senders", jobs=1)
        queue.run()
        await queue.drain()

    assert sorted(recorder.done) == ["ours", "theirs"]


async def test_drain_waits_for_workers_elsewhere(redis_url: str, stream: str) -> None:
    """A queue that only enqueues waits for the worker of another."""
    recorder = RecordingHandler()
    async with (
        Queue(Email, RecordingHandler(), url=redis_url, stream=stream) as watching,
        Queue(Email, recorder, url=redis_url, stream=stream) as working,
    ):
        await watching.enqueue_bulk(email(str(number)) for number in range(20))
        working.run()
        await watching.drain()

    assert len(recorder.done) == 20


async def test_dead_letters_are_not_waited_for(make_queue: MakeQueue) -> None:
    """What was given up is no work that is left to do."""

    async def fail(job: Email) -> None:
        raise ValueError

    async with make_queue(fail, max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()


async def test_a_queue_that_has_failed_is_not_waited_for(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """`drain` waits until the queue fails, and says why."""
    queue = Queue(Email, RecordingHandler(), url=redis_url, stream=stream)
    await queue.init()
    queue.run()
    raw("DEL", stream)
    raw("SET", stream, "no stream any more")
    with pytest.raises(WrongKeyType):
        await queue.drain()
    with pytest.raises(WrongKeyType):
        await queue.aclose()


@pytest.mark.parametrize("starting_id", ["$", "9999999999999-0"])
async def test_drain_ignores_entries_before_the_group(
    raw: Raw, stream: str, starting_id: str, make_queue: MakeQueue
) -> None:
    """Entries from before the group's beginning are no work."""
    raw("XADD", stream, "*", "to", "before", "subject", "x")
    recorder = RecordingHandler()
    async with make_queue(recorder, starting_id=starting_id) as queue:
        queue.run()
        await queue.enqueue(email("after"), id="9999999999999-1")
        await asyncio.wait_for(queue.drain(), 10)
    assert recorder.done == ["after"]
    assert raw("XLEN", stream) == 1


async def test_drain_ignores_acknowledged_entries(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """An entry that another tool only acknowledged is no work."""
    recorder = RecordingHandler()
    async with make_queue(recorder) as queue:
        entry_id = await queue.enqueue(email("elsewhere"))
        raw("XREADGROUP", "GROUP", "senders", "tool", "STREAMS", stream, ">")
        raw("XACK", stream, "senders", entry_id)
        queue.run()
        await queue.enqueue(email("here"))
        await asyncio.wait_for(queue.drain(), 10)
    assert recorder.done == ["here"]
