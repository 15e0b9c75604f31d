"""Connections break and servers go away; work goes on where it stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

import pytest

from flowd import (
    Claimer,
    DeadLetters,
    NotReady,
    Producer,
    Queue,
    QueueGroup,
    Reject,
    Unreachable,
)
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import expire, pending
from tests.support.log import events
from tests.support.proxy import proxy_to
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_killed_connections_cost_nothing(raw: Raw, make_queue: MakeQueue) -> None:
    """While every client is killed again and again, each job runs exactly once."""
    recorder = RecordingHandler()
    async with make_queue(recorder, lease=60.0) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(500))
        queue.run()
        for _ in range(20):
            raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.02)
        await queue.drain()

    assert sorted(recorder.done, key=int) == [str(number) for number in range(500)]


async def test_a_server_that_crashes_loses_nothing(
    own_server: Server, stream: str
) -> None:
    """Killed and started again with its data: running jobs end, waiting ones run."""
    recorder = RecordingHandler(closed=True)
    rules = policy(stream, lease=60.0)
    async with Queue(
        Email, recorder, url=own_server.url, policy=rules, concurrency=3
    ) as queue:
        queue.run()
        await queue.enqueue_bulk(email(str(number)) for number in range(20))
        await wait_until(lambda: len(recorder.started) == 3)
        own_server.kill()
        recorder.gate.set()
        await wait_until(lambda: len(recorder.done) == 3)
        await asyncio.to_thread(own_server.start)
        await queue.drain()

    assert sorted(recorder.done, key=int) == [str(number) for number in range(20)]
    assert not recorder.cancelled


async def test_an_outage_is_one_line_in_the_log(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Many loops of many queues fail at once; the log says it once, and its end once."""
    caplog.set_level(logging.INFO)
    recorder = RecordingHandler()
    async with proxy_to(redis_url) as proxy:
        queues = [
            Queue(Email, recorder, url=proxy.url, policy=policy(f"{stream}-{number}"))
            for number in range(4)
        ]
        async with QueueGroup(queues) as group:
            group.run_all()
            for queue in queues:
                await queue.enqueue(email("before"))
            await wait_until(lambda: len(recorder.done) == 4)
            proxy.cut()
            await wait_until(lambda: "outage" in events(caplog.records))
            for _ in range(30):
                await asyncio.sleep(0.01)
            proxy.restore()
            await wait_until(lambda: "recovery" in events(caplog.records))
            for queue in queues:
                await queue.enqueue(email("after"))
            await group.drain()

    assert len(recorder.done) == 8
    assert events(caplog.records).count("outage") == 1
    assert events(caplog.records).count("recovery") == 1


async def test_a_server_that_is_down_is_asked_seldom(
    redis_url: str, stream: str
) -> None:
    """Reader, commands and leases back off; there is no storm of connections."""
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, RecordingHandler(), url=proxy.url, policy=policy(stream)) as queue,
    ):
        queue.run()
        await queue.enqueue(email())
        await queue.drain()
        before, began = proxy.accepted, time.monotonic()
        proxy.cut()
        for _ in range(100):
            await asyncio.sleep(0.01)
        tried, took = proxy.accepted - before, time.monotonic() - began
        proxy.restore()

    # Three loops, 50 ms doubling to 0.5 s with full jitter: about ten each in
    # a second, of which a slow machine takes more.
    assert 0 < tried < 60 * max(1.0, took)


async def test_a_refusal_is_not_asked_for_again_and_again(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """While a second group reads the stream, the worker backs off."""
    node = raw.at(stream)
    async with make_queue() as queue:
        queue.run()
        await wait_until(lambda: node.info("blocked_clients") == "1")
        node("XGROUP", "CREATE", stream, "auditors", "$")
        node("CONFIG", "RESETSTAT")
        began = time.monotonic()
        for _ in range(100):
            await asyncio.sleep(0.01)
        handled = int(node.info("total_commands_processed"))
        took = time.monotonic() - began
        node("XGROUP", "DESTROY", stream, "auditors")

    assert handled < 100 * max(1.0, took)


@pytest.mark.parametrize(
    ("broken", "repaired"),
    [
        (("CONFIG", "SET", "min-replicas-to-write", 1), 0),
        (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["no replicas", "read-only"],
)
async def test_a_server_that_takes_no_writes_is_waited_for(
    own_server: Server,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    broken: tuple[str | int, ...],
    repaired: tuple[str, ...] | int,
) -> None:
    """A server that refuses every write for a while gets the work done afterwards."""
    recorder = RecordingHandler(closed=True)
    rules = policy(stream, lease=60.0)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            queue.run()
            await queue.enqueue_bulk([email("a"), email("b")])
            await wait_until(lambda: len(recorder.started) == 2)
            raw(*broken)
            recorder.gate.set()
            await wait_until(lambda: "outage" in events(caplog.records))
            for _ in range(30):
                await asyncio.sleep(0.01)
            assert len(pending(raw, stream, GROUP)) == 2

            raw(
                *(repaired if isinstance(repaired, tuple) else (*broken[:-1], repaired))
            )
            await queue.drain()

    assert sorted(recorder.done) == ["a", "b"]
    assert events(caplog.records).count("outage") == 1
    assert "lost" not in events(caplog.records)


async def test_a_failover_is_followed(
    own_server: Server,
    other_server: Server,
    stream: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A primary that becomes a replica is left; the same address has a new primary."""
    recorder = RecordingHandler()
    with Raw(own_server.url) as old, Raw(other_server.url) as raw:
        async with (
            proxy_to(own_server.url) as proxy,
            Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
        ):
            queue.run()
            await queue.enqueue(email("before"))
            await queue.drain()
            # It stays reachable, its connections stay open, and it knows of no new job.
            raw("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
            proxy.server = other_server.url
            old("REPLICAOF", "127.0.0.1", 1)
            raw("XADD", stream, "*", "to", "after", "subject", "hi")
            await wait_until(lambda: recorder.done == ["before", "after"])
            await wait_until(lambda: raw("XLEN", stream) == 0)

    assert events(caplog.records).count("outage") == 1


async def test_a_server_that_hangs_is_not_waited_for_forever(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A frozen server is given up, and what it was asked is asked again later."""
    recorder = RecordingHandler()
    rules = policy(stream, lease=60.0)
    async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
        queue.run()
        await queue.enqueue(email("before"))
        await queue.drain()
        own_server.pause()
        await wait_until(lambda: "outage" in events(caplog.records))
        own_server.resume()
        await queue.enqueue(email("after"), key="after")
        await queue.drain()

    assert recorder.done == ["before", "after"]


async def test_leases_are_renewed_before_any_claim(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """After an outage longer than the lease a running job is still its worker's."""
    recorder, other = RecordingHandler(closed=True), RecordingHandler()
    rules = policy(stream, lease=8.0)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=rules) as queue,
        Queue(
            Email, other, url=proxy.url, policy=rules, claimer=Claimer(interval=0.02)
        ) as hunter,
    ):
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        hunter.run()
        await wait_until(lambda: raw.info("blocked_clients") == "2")
        proxy.cut()
        await wait_until(lambda: raw.info("connected_clients") == "1")
        expire(raw, stream, GROUP)
        proxy.restore()
        started = time.monotonic()
        await wait_until(lambda: pending(raw, stream, GROUP)[0].idle < 8000)
        await wait_until(lambda: time.monotonic() - started > 2.5)
        recorder.gate.set()
        await queue.drain()

    assert recorder.done == ["a"]
    assert not other.started


async def test_a_shutdown_during_an_outage_ends(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Without a server a worker still ends; its jobs are left to their leases."""
    recorder = RecordingHandler(closed=True)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
    ):
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        proxy.cut()
        await handle.shutdown(grace=0.0)

    assert recorder.cancelled == ["a"]
    assert raw("XLEN", stream) == 1


async def test_a_producer_outlives_its_server(own_server: Server) -> None:
    """The same producer fails while the server is away and works when it is back."""
    async with Producer(own_server.url, connect_timeout=0.1) as producer:
        await producer.enqueue(email())
        own_server.kill()
        await asyncio.sleep(0.01)
        with pytest.raises(Unreachable):
            await producer.enqueue(email())
        await asyncio.to_thread(own_server.start)
        await producer.enqueue(email())

    with Raw(own_server.url) as raw:
        assert raw("XLEN", Email.SPEC.policy.stream) == 2


async def test_cancelled_drain_ends_its_outage(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller whose patience ends before the outage does leaves nothing behind."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
    ):
        queue.run()
        await queue.enqueue(email("before"))
        await queue.drain()
        proxy.cut()
        await wait_until(lambda: "outage" in events(caplog.records))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await queue.drain()
        proxy.restore()
        await queue.enqueue(email("after"), key="after")
        await wait_until(lambda: "after" in recorder.done)
        await wait_until(lambda: "recovery" in events(caplog.records))


@pytest.mark.parametrize("what", ["key", "delay", "redrive", "drain"])
async def test_a_failover_is_noticed_by_every_script(
    own_server: Server, other_server: Server, stream: str, what: str
) -> None:
    """What asks the demoted primary goes to the new one, whichever way it asks."""

    async def refuse(job: Email) -> None:
        raise Reject("no")

    with Raw(own_server.url) as old, Raw(other_server.url) as raw:
        async with (
            proxy_to(own_server.url) as proxy,
            Queue(Email, refuse, url=proxy.url, policy=policy(stream)) as queue,
            DeadLetters(Email, proxy.url, stream=stream) as letters,
        ):
            handle = queue.run()
            await queue.enqueue(email("before"))
            await queue.drain()
            await handle.shutdown()
            (letter,) = [each async for each in letters.list()]
            raw("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
            dead = f"{{{stream}}}:{GROUP}:dlq"
            for entry_id, fields in old.entries(dead):
                raw(
                    "XADD",
                    dead,
                    entry_id,
                    *(word for each in fields.items() for word in each),
                )
            proxy.server = other_server.url
            old("REPLICAOF", "127.0.0.1", 1)

            if what == "key":
                await queue.enqueue(email("after"), key="k")
                assert raw("XLEN", stream) == 1
            elif what == "delay":
                await queue.enqueue(email("after"), delay=60)
                assert raw("ZCARD", f"{{{stream}}}:delayed") == 1
            elif what == "redrive":
                with suppress(NotReady):
                    await letters.redrive(letter.id)
                if not raw("XLEN", stream):
                    await letters.redrive(letter.id)
                assert raw("XLEN", stream) == 1
            else:
                raw("XADD", stream, "*", "to", "after", "subject", "hi")
                raw("CONFIG", "RESETSTAT")
                draining = asyncio.ensure_future(queue.drain())
                await wait_until(lambda: raw.calls("evalsha") + raw.calls("eval") > 0)
                raw("XTRIM", stream, "MAXLEN", 0)
                await draining
