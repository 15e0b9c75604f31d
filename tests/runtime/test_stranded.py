"""Entries that were handed out in an answer that never came are run all the same."""

from __future__ import annotations

import logging

import pytest

from flowd import Claimer, Queue
from jobs.email import Email
from tests.raw import Raw
from tests.runtime.expire import die_with, pending
from tests.runtime.faults import Bench, email, events, policy, until
from tests.runtime.proxy import proxy_to
from tests.scripts import MAINTAIN

GROUP = "senders"


async def test_a_lost_read_is_made_good_uncounted(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Jobs whose read was answered into the void run once, as if handed out once."""
    bench = Bench()
    # Not by a takeover: the lease is long.
    rules = policy(stream, lease=3600.0)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, bench, url=proxy.url, policy=rules) as queue,
    ):
        queue.run()
        await queue.enqueue(email("warm"))
        await queue.drain()
        proxy.lose(b"XREADGROUP")
        await queue.enqueue_bulk(email(str(number)) for number in range(5))
        await queue.drain()
        assert proxy.lost == 1

    assert sorted(bench.done) == ["0", "1", "2", "3", "4", "warm"]
    assert {ctx.deliveries for ctx in bench.contexts} == {1}


async def test_more_than_the_free_slots_may_be_stranded(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What one tending cannot start is started by the next ones."""
    bench = Bench()
    rules = policy(stream, lease=3600.0)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, bench, url=proxy.url, policy=rules, concurrency=2) as queue,
    ):
        handle = queue.run()
        await until(lambda: raw.info("blocked_clients") == "1")
        # As if earlier reads had been lost as well.
        raw("MULTI")
        for number in range(9):
            raw("XADD", stream, "*", "to", number, "subject", "hi")
        read = ("XREADGROUP", "GROUP", GROUP, handle.consumer, "COUNT", 9)
        raw(*read, "STREAMS", stream, ">")
        raw("EXEC")
        proxy.cut()
        proxy.mend()
        await queue.drain()

    assert sorted(bench.done) == [str(number) for number in range(9)]


async def test_a_lost_takeover_is_made_good(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Jobs whose takeover was answered into the void run once, counted once."""
    bench = Bench()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email,
            bench,
            url=proxy.url,
            policy=policy(stream),
            claimer=Claimer(interval=0.05),
        ) as queue,
    ):
        raw("SCRIPT", "LOAD", MAINTAIN.source)
        await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1)
        proxy.lose(MAINTAIN.sha.encode() + b"\r\n$1\r\n3")
        queue.run()
        await queue.drain()
        assert proxy.lost == 1

    assert bench.done == ["a"]
    assert bench.contexts[0].deliveries == 2


async def test_a_read_that_only_the_server_believes_in_is_made_good(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that went to a connection half open is found when its lease is over."""
    bench = Bench()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email,
            bench,
            url=proxy.url,
            policy=policy(stream, lease=0.4),
            claimer=Claimer(interval=0.05),
            block=30.0,
        ) as queue,
    ):
        handle = queue.run()
        await until(lambda: raw.info("blocked_clients") == "1")
        # The worker's end is gone, the server's is not: the next job goes there.
        proxy.abandon(b"XREADGROUP")
        await until(lambda: raw.info("blocked_clients") == "2")
        await queue.enqueue(email())
        (held,) = pending(raw, stream, GROUP)
        assert held.consumer == handle.consumer
        await queue.drain()

    assert bench.done == ["a"]
    assert bench.contexts[0].deliveries == 1


async def test_running_jobs_are_not_taken_for_stranded(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failed read a worker starts what it does not run, and only that."""
    bench = Bench(closed=True)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, bench, url=proxy.url, policy=policy(stream)) as queue,
    ):

        async def fail(number: int) -> None:
            proxy.cut()
            await until(lambda: events(caplog.records).count("outage") > number)
            proxy.mend()
            raw("XADD", stream, "*", "to", "after", "subject", "hi")
            await until(lambda: len(bench.started) == 4 + number)
            # What the cut reader was handed starts before it reads again.
            await until(lambda: events(caplog.records).count("recovery") > number)

        caplog.set_level(logging.INFO)
        queue.run()
        await queue.enqueue_bulk(email(str(number)) for number in range(3))
        await until(lambda: len(bench.started) == 3)
        for number in range(3):
            await fail(number)
        bench.gate.set()
        await queue.drain()

    assert sorted(bench.started) == ["0", "1", "2", "after", "after", "after"]
    assert sorted(bench.done) == sorted(bench.started)
