"""Entries of a read whose answer was lost run all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from flowd import Claimer, Queue, QueueGroup
from flowd.embedded import Server
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


@pytest.fixture
def over_tcp() -> Iterator[Server]:
    """A server whose clients have addresses of their own."""
    with Server("--appendonly", "no", tcp=True) as server:
        yield server


async def test_a_read_that_only_the_server_believes_in_is_ended(
    over_tcp: Server, stream: str
) -> None:
    """The connection that takes its place ends it, so that it takes no job."""
    recorder = RecordingHandler()
    # Not by a takeover: the lease is long.
    rules = policy(stream, lease=3600.0)
    with Raw(over_tcp.url) as raw:
        async with (
            proxy_to(over_tcp.url) as proxy,
            Queue(Email, recorder, url=proxy.url, policy=rules, block=30.0) as queue,
        ):
            queue.run()
            await wait_until(lambda: raw.info("blocked_clients") == "1")
            (before,) = _readers(raw)
            proxy.abandon(b"XREADGROUP")
            await wait_until(lambda: before not in _readers(raw))
            await queue.enqueue(email())
            await queue.drain()

    assert recorder.done == ["a"]


async def test_a_read_that_arrives_after_it_was_given_up_takes_nothing(
    over_tcp: Server, stream: str
) -> None:
    """A link that recovers carries it to the server, where its connection has ended."""
    recorder = RecordingHandler()
    rules = policy(stream, lease=3600.0)
    with Raw(over_tcp.url) as raw:
        async with (
            proxy_to(over_tcp.url) as proxy,
            Queue(
                Email, recorder, url=proxy.url, policy=rules, concurrency=1, block=30.0
            ) as queue,
        ):
            queue.run()
            await wait_until(lambda: raw.info("blocked_clients") == "1")
            # The answer of this one makes it read again.
            proxy.hold(b"BLOCK")
            await queue.enqueue(email("first"))
            await wait_until(lambda: recorder.done == ["first"])
            await wait_until(lambda: proxy.holds == 1)
            held = _readers(raw)
            proxy.abandon(b"BLOCK")
            await wait_until(lambda: raw.info("blocked_clients") == "1")
            assert held.isdisjoint(_readers(raw))
            recorder.gate.clear()
            await queue.enqueue(email("runs"))
            await wait_until(lambda: recorder.started[-1] == "runs")
            await queue.enqueue(email("waits"))
            proxy.let_through()
            await wait_until(lambda: not proxy.holds)
            recorder.gate.set()
            await queue.drain()

    assert recorder.done == ["first", "runs", "waits"]


async def test_a_shared_read_that_arrives_after_it_was_given_up_takes_nothing(
    over_tcp: Server, stream: str
) -> None:
    """Though its queue does not wait in the read any more."""
    recorder = RecordingHandler(closed=True)
    with Raw(over_tcp.url) as raw:
        async with proxy_to(over_tcp.url) as proxy:
            queues = [
                Queue(Email, recorder, url=proxy.url, policy=rules, concurrency=1)
                for rules in (
                    policy(f"{stream}.{number}", lease=3600.0) for number in range(2)
                )
            ]
            async with QueueGroup(queues) as group:
                group.run_all()
                await wait_until(
                    lambda: (
                        len(_readers(raw)) == 1 and raw.info("blocked_clients") == "1"
                    )
                )
                await queues[0].enqueue(email("other"))
                await wait_until(lambda: recorder.started == ["other"])
                await wait_until(lambda: raw.info("blocked_clients") == "1")
                proxy.hold(b"BLOCK")
                await wait_until(lambda: proxy.holds == 1)
                await queues[1].enqueue(email("runs"))
                proxy.abandon(b"BLOCK")
                await wait_until(lambda: recorder.started[-1] == "runs")
                await queues[1].enqueue(email("waits"))
                proxy.let_through()
                await wait_until(lambda: not proxy.holds)
                recorder.gate.set()
                await wait_until(lambda: len(recorder.done) == 3)

    assert sorted(recorder.done) == ["other", "runs", "waits"]


def _readers(raw: Raw) -> set[str]:
    """The ids of the connections that read."""
    return {client["id"] for client in raw.clients("flowd-reader")}


async def test_a_read_that_only_the_server_believes_in_is_made_good(
    stream: str,
) -> None:
    """On a unix socket it is not ended; its job is found when its lease is over."""
    with Server("--appendonly", "no") as server, Raw(server.url) as raw:
        await _lose_to_a_read_that_is_half_open(server.url, raw, stream)


async def _lose_to_a_read_that_is_half_open(url: str, raw: Raw, stream: str) -> None:
    recorder = RecordingHandler()
    async with (
        proxy_to(url) as proxy,
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
