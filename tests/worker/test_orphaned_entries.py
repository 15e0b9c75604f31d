"""Entries of a read whose answer was lost run all the same."""

from __future__ import annotations

import logging

import pytest

from flowd import Claimer, Queue
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, pending
from tests.support.log import events
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.scripts import MAINTAIN
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_a_lost_read_is_made_good_uncounted(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Jobs of a read whose answer was lost run once, as if delivered once."""
    recorder = RecordingHandler()
    # Not by a takeover: the lease is long.
    rules = policy(stream, lease=3600.0)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=rules) as queue,
    ):
        queue.run()
        await queue.enqueue(email("warm"))
        await queue.drain()
        proxy.lose(b"XREADGROUP")
        await queue.enqueue_bulk(email(str(number)) for number in range(5))
        await queue.drain()
        assert proxy.lost == 1

    assert sorted(recorder.done) == ["0", "1", "2", "3", "4", "warm"]
    assert {ctx.deliveries for ctx in recorder.contexts} == {1}


async def test_more_than_the_free_slots_may_be_stranded(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What one round of maintenance cannot start is started by the next ones."""
    recorder = RecordingHandler()
    rules = policy(stream, lease=3600.0)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=rules, concurrency=2) as queue,
    ):
        handle = queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        # As if earlier reads had been lost as well.
        raw("MULTI")
        for number in range(9):
            raw("XADD", stream, "*", "to", number, "subject", "hi")
        read = ("XREADGROUP", "GROUP", GROUP, handle.consumer, "COUNT", 9)
        raw(*read, "STREAMS", stream, ">")
        raw("EXEC")
        proxy.cut()
        proxy.restore()
        await queue.drain()

    assert sorted(recorder.done) == [str(number) for number in range(9)]


async def test_a_lost_takeover_is_made_good(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Jobs whose takeover was answered into the void run once, counted once."""
    recorder = RecordingHandler()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email,
            recorder,
            url=proxy.url,
            policy=policy(stream),
            claimer=Claimer(interval=0.05),
        ) as queue,
    ):
        raw("SCRIPT", "LOAD", MAINTAIN.source)
        await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1)
        proxy.lose(MAINTAIN.sha.encode() + b"\r\n$1\r\n5")
        queue.run()
        await queue.drain()
        assert proxy.lost == 1

    assert recorder.done == ["a"]
    assert recorder.contexts[0].deliveries == 2


async def test_a_read_that_only_the_server_believes_in_is_made_good(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that went to a connection half open is found when its lease is over."""
    recorder = RecordingHandler()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email,
            recorder,
            url=proxy.url,
            policy=policy(stream, lease=0.4),
            claimer=Claimer(interval=0.05),
            block=30.0,
        ) as queue,
    ):
        handle = queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        # The worker's end is gone, the server's is not: the next job goes there.
        proxy.abandon(b"XREADGROUP")
        await wait_until(lambda: raw.info("blocked_clients") == "2")
        await queue.enqueue(email())
        (held,) = pending(raw, stream, GROUP)
        assert held.consumer == handle.consumer
        await queue.drain()

    assert recorder.done == ["a"]
    assert recorder.contexts[0].deliveries == 1


async def test_running_jobs_are_not_taken_for_stranded(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failed read a worker starts what it does not run, and only that."""
    recorder = RecordingHandler(closed=True)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
    ):

        async def fail(number: int) -> None:
            proxy.cut()
            await wait_until(lambda: events(caplog.records).count("outage") > number)
            proxy.restore()
            raw("XADD", stream, "*", "to", "after", "subject", "hi")
            await wait_until(lambda: len(recorder.started) == 4 + number)
            # What the cut reader was sent starts before it reads again.
            await wait_until(lambda: events(caplog.records).count("recovery") > number)

        caplog.set_level(logging.INFO)
        queue.run()
        await queue.enqueue_bulk(email(str(number)) for number in range(3))
        await wait_until(lambda: len(recorder.started) == 3)
        for number in range(3):
            await fail(number)
        recorder.gate.set()
        await queue.drain()

    assert sorted(recorder.started) == ["0", "1", "2", "after", "after", "after"]
    assert sorted(recorder.done) == sorted(recorder.started)
