"""An operator deletes the group, the stream or everything: work goes on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from flowd import Claimer, Queue
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import pending
from tests.support.log import events
from tests.support.proxy import proxy_to
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.scripts import MAINTAIN
from tests.support.waiting import wait_until

GROUP = "senders"


@pytest.mark.parametrize("how", ["flushall", "del", "destroy"])
async def test_a_waiting_worker_goes_on(
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    how: str,
    make_queue: MakeQueue,
) -> None:
    """A worker that waits for jobs sets the group up again and warns once."""
    recorder = RecordingHandler()
    async with make_queue(recorder) as queue:
        queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        _lose(raw, stream, how)
        await wait_until(lambda: "group_recreated" in events(caplog.records))
        await queue.enqueue(email())
        await queue.drain()

    assert recorder.done == ["a"]
    assert events(caplog.records).count("group_recreated") == 1


@pytest.mark.parametrize("how", ["flushall", "del", "destroy"])
async def test_a_busy_worker_goes_on(
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    how: str,
    make_queue: MakeQueue,
) -> None:
    """A worker without a free slot finds out later, and no slot is lost."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=60.0, concurrency=1) as queue:
        queue.run()
        await queue.enqueue(email("before"))
        await wait_until(lambda: recorder.started)
        _lose(raw, stream, how)
        recorder.gate.set()
        await wait_until(lambda: "group_recreated" in events(caplog.records))
        await queue.enqueue(email("after"))
        await wait_until(lambda: "after" in recorder.done)
        await queue.drain()

    # What was only in the group is still in the stream, so it may run again.
    assert recorder.started in (["before", "after"], ["before", "before", "after"])
    assert how == "destroy" or len(recorder.started) == 2


async def test_jobs_that_wait_are_not_passed_over(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A group that is set up again begins at the oldest job, not at the newest."""
    recorder = RecordingHandler()
    async with make_queue(recorder, starting_id="$") as queue:
        queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        raw("MULTI")
        raw("XGROUP", "DESTROY", stream, GROUP)
        for number in range(5):
            raw("XADD", stream, "*", "to", number, "subject", "hi")
        raw("EXEC")
        await queue.drain()

    assert sorted(recorder.done) == ["0", "1", "2", "3", "4"]


async def test_a_flush_cancels_what_runs(raw: Raw, make_queue: MakeQueue) -> None:
    """A job that Redis has forgotten is cancelled, as any whose lease is lost."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=0.4) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        raw("FLUSHALL")
        await wait_until(lambda: recorder.cancelled)


async def test_a_flush_under_load_costs_only_what_was_there(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """All that is enqueued after the flush runs, and nothing is left over."""
    recorder = RecordingHandler()
    async with make_queue(recorder, concurrency=3) as queue:
        queue.run()
        for _ in range(3):
            await queue.enqueue_bulk(email("before") for _ in range(300))
            raw("FLUSHALL")
        await queue.enqueue_bulk(email(str(number)) for number in range(100))
        await wait_until(lambda: len(set(recorder.done) - {"before"}) == 100)
        await queue.drain()
        assert not pending(raw, stream, GROUP)

    after = [job for job in recorder.done if job != "before"]
    assert sorted(after, key=int) == [str(number) for number in range(100)]


async def test_a_server_may_forget_the_scripts(raw: Raw, make_queue: MakeQueue) -> None:
    """SCRIPT FLUSH is no event at all."""
    recorder = RecordingHandler()
    async with make_queue(recorder) as queue:
        queue.run()
        for number in range(10):
            raw("SCRIPT", "FLUSH")
            await queue.enqueue(email(str(number)), key=str(number))
        await queue.drain()

    assert sorted(recorder.done) == [str(number) for number in range(10)]


def _lose(raw: Raw, stream: str, how: str) -> None:
    match how:
        case "flushall":
            raw("FLUSHALL")
        case "del":
            raw("DEL", stream)
        case _:
            raw("XGROUP", "DESTROY", stream, GROUP)


async def test_late_group_ends_its_outage(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that sets its group up at a later try has recovered then."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler(closed=True)
    rules = policy(stream, lease=0.4)
    with Raw(own_server.url) as raw:
        async with Queue(
            Email, recorder, url=own_server.url, policy=rules, concurrency=1
        ) as queue:
            queue.run()
            await queue.enqueue(email("before"))
            await wait_until(lambda: recorder.started)
            # Its one slot is taken until the lease is lost: no read fails, only a sweep.
            for _ in range(20):
                await asyncio.sleep(0.01)
            raw("CONFIG", "SET", "maxmemory", 1)
            raw("FLUSHALL")
            await wait_until(lambda: "outage" in events(caplog.records))
            for _ in range(10):
                await asyncio.sleep(0.01)
            raw("CONFIG", "SET", "maxmemory", 0)
            await wait_until(lambda: "group_recreated" in events(caplog.records))
            recorder.gate.set()
            await queue.enqueue(email("after"))
            await queue.drain()
            await wait_until(lambda: "recovery" in events(caplog.records))

    said = events(caplog.records)
    assert (said.count("outage"), said.count("recovery")) == (1, 1)


async def test_group_made_without_an_answer_ends_its_outage(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Once it is read, it is set up, whichever caller got the answer."""
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, RecordingHandler(), url=proxy.url, policy=policy(stream)) as queue,
    ):
        queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        proxy.lose(b"XGROUP")
        raw("DEL", stream)
        await wait_until(lambda: proxy.lost)
        await wait_until(lambda: raw("EXISTS", stream))
        raw("XADD", stream, "*", "to", "a", "subject", "hi")
        await queue.drain()
        await wait_until(lambda: queue.failing is None)


async def test_a_worker_without_a_slot_takes_nothing_over_and_does_not_fail(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A takeover that failed is no outage for as long as the handlers run."""
    recorder = RecordingHandler(closed=True)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email,
            recorder,
            url=proxy.url,
            policy=policy(stream, lease=0.3),
            concurrency=1,
            claimer=Claimer(interval=0.05),
        ) as queue,
    ):
        raw("CONFIG", "RESETSTAT")
        queue.run()
        # So often it is asked only once it takes over.
        await wait_until(lambda: raw.calls("evalsha") > 10)
        proxy.lose(MAINTAIN.sha.encode())
        await wait_until(lambda: proxy.lost)
        raw("XADD", stream, "*", "to", "a", "subject", "hi")
        await wait_until(lambda: recorder.started)
        await wait_until(lambda: queue.failing is None)
        recorder.gate.set()
        await queue.drain()
