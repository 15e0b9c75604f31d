"""A worker says that it lives, what it can take, and since when its jobs run."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time

from flowd import Claimer, Queue
from flowd.broker.connection import Connection
from flowd.broker.url import Address
from flowd.embedded import Server
from flowd.model.heartbeat import Heartbeat, heartbeat_of
from flowd.ops import ConsumerView, QueueView, find_job, overview, server_time
from flowd.ops.queries import Queries
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import RECOVERY, wait_until, wait_until_blocking

GROUP = "senders"


def workers(stream: str) -> str:
    """The key of the heartbeats."""
    return f"{{{stream}}}:{GROUP}:workers"


def beats(raw: Raw, stream: str) -> dict[str, Heartbeat]:
    """What is there, by the names of consumers."""
    flat = raw("HGETALL", workers(stream))
    assert isinstance(flat, list)
    found: dict[str, Heartbeat] = {}
    for name, said in zip(flat[::2], flat[1::2], strict=True):
        assert isinstance(name, bytes)
        assert isinstance(said, bytes)
        beat = heartbeat_of(said)
        assert beat is not None
        found[name.decode()] = beat
    return found


def age(raw: Raw, stream: str, consumer: str, seconds: float) -> None:
    """Let a heartbeat be so old, as if its process had been killed then."""
    said = raw("HGET", workers(stream), consumer)
    assert isinstance(said, bytes)
    at, _, text = said.partition(b" ")
    older = b"%d %s" % (int(at) - round(1000 * seconds), text)
    raw("HSET", workers(stream), consumer, older)


async def consumers(url: str) -> dict[str, ConsumerView]:
    """Those of the only queue, by name."""
    connection = Connection(Address.of(url))
    try:
        (view,) = await overview(connection)
    finally:
        await connection.aclose()
    assert isinstance(view, QueueView)
    assert view.consumers is not None
    return {each.name: each for each in view.consumers}


async def only_consumer(url: str) -> ConsumerView:
    """The only one of the only queue."""
    (found,) = (await consumers(url)).values()
    return found


async def test_worker_says_that_it_lives_and_what_it_can_take(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Host, process, slots, lease and versions; the key expires, and goes with the worker."""
    async with make_queue(lease=60.0, concurrency=7) as queue:
        handle = queue.run()
        await wait_until(lambda: raw("EXISTS", workers(stream)))
        (beat,) = beats(raw, stream).values()
        left = raw("PTTL", workers(stream))
        seen = await only_consumer(redis_url)
        await handle.shutdown()

    assert (beat.host, beat.pid) == (socket.gethostname(), os.getpid())
    assert (beat.slots, beat.busy, beat.lease) == (7, 0, 60.0)
    assert (beat.job, beat.version, beat.stopping) == ("Email", 1, False)
    assert abs(beat.at - time.time()) < 300
    assert isinstance(left, int)
    assert 3_000_000 < left <= 3_600_000
    assert (seen.state, seen.slots, seen.free, seen.lease) == ("idle", 7, 7, 60.0)
    assert seen.started_at is not None
    assert raw("EXISTS", workers(stream)) == 0


async def test_killed_worker_is_dead_after_one_lease(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Whether it held jobs or not; the others are not."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=30.0) as queue:
        handle = queue.run()
        await wait_until(lambda: raw("EXISTS", workers(stream)))
        said = raw("HGET", workers(stream), handle.consumer)
        assert isinstance(said, bytes)
        for name in ("killed", "slow", handle.consumer):
            raw("XGROUP", "CREATECONSUMER", stream, GROUP, name)
        for name in ("killed", "slow"):
            raw("HSET", workers(stream), name, said)
        age(raw, stream, "killed", 31.0)
        age(raw, stream, "slow", 20.0)
        found = await consumers(redis_url)
        await handle.shutdown()

    assert {name: each.state for name, each in found.items()} == {
        "killed": "dead",
        "slow": "idle",
        handle.consumer: "idle",
    }
    assert found["killed"].silent > 30
    assert found["killed"].free == 0


async def test_handler_that_blocks_the_loop_does_not_look_dead(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """The lease thread says it while the loop cannot."""
    beaten = threading.Event()

    async def block(_: Email) -> None:
        await wait_until(lambda: raw("EXISTS", workers(stream)))
        age(raw, stream, handle.consumer, 1_000.0)
        wait_until_blocking(
            lambda: beats(raw, stream)[handle.consumer].silent(time.time()) < 500
        )
        beaten.set()

    async with make_queue(block, lease=1.0) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await queue.drain()
        await handle.shutdown()
    assert beaten.is_set()


async def test_worker_that_is_shut_down_says_so_while_its_jobs_end(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It reads no more and maintains no more, and lives."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=1.0) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        ending = asyncio.create_task(handle.shutdown(grace=None))
        await wait_until(lambda: beats(raw, stream)[handle.consumer].stopping)
        # A process that stood still for a lease is dead until it has said this again.
        async with asyncio.timeout(RECOVERY):
            seen = await only_consumer(redis_url)
            while seen.state == "dead":
                seen = await only_consumer(redis_url)
        recorder.gate.set()
        await ending
    assert (seen.state, seen.owned) == ("stopping", 1)


async def test_age_of_a_running_job_counts_from_its_start(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Not from when it was enqueued; for a job that runs longer than a second, exactly."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, concurrency=2) as queue:
        await queue.init()
        raw("XADD", stream, "1600000000000-0", *fields(email("old")))
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        connection = Connection(Address.of(redis_url))
        queries = Queries(connection, stream, GROUP)
        now = await server_time(connection)
        fresh = await find_job(queries, "1600000000000-0", now, scan=0)
        await wait_until(lambda: beats(raw, stream)[handle.consumer].runs)
        (said,) = beats(raw, stream)[handle.consumer].runs.values()
        now = await server_time(connection)
        later = await find_job(queries, "1600000000000-0", now, scan=0)
        await connection.aclose()
        recorder.gate.set()
        await queue.drain()
        await handle.shutdown()
    for seen in (fresh, later):
        assert seen is not None
        assert seen.age is not None
        assert seen.age < 300
    assert later is not None
    assert later.age is not None
    assert later.age >= said >= 1.0


def fields(job: Email) -> list[bytes]:
    """Its fields as the arguments of XADD."""
    return [each for pair in job.to_fields().items() for each in pair]


async def test_full_server_takes_heartbeats(own_server: Server, stream: str) -> None:
    """A server that is out of memory does not let its workers look dead."""
    with Raw(own_server.url) as raw:
        # One that claims writes before, now and then.
        async with Queue(
            Email,
            RecordingHandler(),
            url=own_server.url,
            policy=policy(stream),
            claimer=None,
        ) as queue:
            handle = queue.run()
            await wait_until(lambda: raw("EXISTS", workers(stream)))
            raw("CONFIG", "SET", "maxmemory-policy", "noeviction")
            raw("CONFIG", "SET", "maxmemory", 1)
            raw("DEL", workers(stream))
            await wait_until(lambda: raw("EXISTS", workers(stream)))
            raw("CONFIG", "SET", "maxmemory", 0)
            await handle.shutdown()


async def test_worker_without_the_right_runs_on_without_a_heartbeat(
    own_server: Server, stream: str
) -> None:
    """As one of a release before; it is judged by Redis's own record."""
    recorder = RecordingHandler()
    with Raw(own_server.url) as raw:
        raw("SET", workers(stream), "what another program put there")
        async with Queue(
            Email,
            recorder,
            url=own_server.url,
            policy=policy(stream),
            claimer=Claimer(),
        ) as queue:
            handle = queue.run()
            await queue.enqueue(email(), delay=0.001)
            await wait_until(lambda: recorder.done)
            await handle.shutdown()


def test_heartbeat_reads_what_it_wrote() -> None:
    """And what is nothing of flowd's, or of a later release, does no harm."""
    beat = Heartbeat(
        host="h",
        pid=7,
        up=1.5,
        slots=3,
        busy=2,
        lease=30.0,
        stopping=True,
        flowd="1",
        job="Email",
        version=2,
        runs={"1-0": 2.5},
        at=5.0,
    )
    assert heartbeat_of(b"5000 " + beat.text().encode()) == beat
    for junk in (b"", b"5000", b"5000 7", b'5000 ["a"]', b"\xff \xff"):
        assert heartbeat_of(junk) is None
    odd = heartbeat_of(b'x {"host": 7, "slots": "a", "runs": {"a": "b"}, "new": 1}')
    assert odd is not None
    assert (odd.host, odd.slots, odd.runs, odd.at) == ("", 0, {}, 0.0)
