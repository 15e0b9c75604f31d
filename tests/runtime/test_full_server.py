"""A server without memory takes no job and loses none; workers make room in it."""

from __future__ import annotations

import asyncio

import pytest

from flowd import BulkError, Item, Queue, QueueFull, Reject
from flowd.server import Server
from jobs.email import Email
from tests.raw import Raw
from tests.runtime.expire import pending
from tests.runtime.faults import Bench, email, policy, until

GROUP = "senders"


def _fill(raw: Raw) -> None:
    """Let the server have less memory than it uses."""
    raw("CONFIG", "SET", "maxmemory-policy", "noeviction")
    raw("CONFIG", "SET", "maxmemory", 1)


def _free(raw: Raw) -> None:
    raw("CONFIG", "SET", "maxmemory", 0)


async def test_producers_are_told(own_server: Server, stream: str) -> None:
    """`enqueue` says QueueFull at once, in every form, and stores nothing."""
    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, Bench(), url=own_server.url, policy=rules) as queue:
            _fill(raw)
            with pytest.raises(QueueFull, match="out of memory"):
                await queue.enqueue(email())
            with pytest.raises(QueueFull):
                await queue.enqueue(email(), key="k")
            with pytest.raises(QueueFull):
                await queue.enqueue(email(), delay=1.0)
            with pytest.raises(BulkError) as failed:
                await queue.enqueue_bulk([email(), Item(email(), key="k")])
            assert failed.value.ids == ()
            assert failed.value.unknown == 0
            assert isinstance(failed.value.__cause__, QueueFull)
            keys = raw("KEYS", f"*{stream}*")
            assert keys == [stream.encode()]

            _free(raw)
            await queue.enqueue(email(), key="k")
            assert raw("XLEN", stream) == 1


async def test_workers_drain_on(own_server: Server, stream: str) -> None:
    """Jobs are read, run and acknowledged while nothing can be stored."""
    bench = Bench()
    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, bench, url=own_server.url, policy=rules) as queue:
            await queue.enqueue_bulk(email(str(number)) for number in range(50))
            _fill(raw)
            queue.run()
            await queue.drain()

    assert len(bench.done) == 50


@pytest.mark.parametrize("end", ["failed", "rejected"])
async def test_what_cannot_be_moved_stays(
    own_server: Server, stream: str, end: str
) -> None:
    """A refused retry or dead letter hurts no other job, and is made once there is room."""
    done: list[str] = []

    async def run(job: Email) -> None:
        if job.to == "bad" and "bad" not in done:
            done.append("bad")
            raise Reject("no") if end == "rejected" else ValueError("no")
        done.append(job.to)

    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, run, url=own_server.url, policy=rules) as queue:
            await queue.enqueue_bulk([email("bad"), *map(email, "0123456789")])
            _fill(raw)
            queue.run()
            await until(lambda: len(done) == 11 and raw("XLEN", stream) == 1)
            for _ in range(10):
                await asyncio.sleep(0.01)
            (held,) = pending(raw, stream, GROUP)
            assert held.deliveries == 1

            _free(raw)
            await queue.drain()
            dead = raw("XLEN", f"{{{stream}}}:{GROUP}:dlq")

    assert dead == (end == "rejected")
    assert done.count("bad") == (1 if end == "rejected" else 2)


async def test_due_jobs_wait_for_room(own_server: Server, stream: str) -> None:
    """A delayed job that cannot be promoted stays delayed, and runs later."""
    bench = Bench()
    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, bench, url=own_server.url, policy=rules) as queue:
            await queue.enqueue(email("delayed"), delay=0.001)
            await queue.enqueue(email("waiting"))
            _fill(raw)
            queue.run()
            await until(lambda: bench.done == ["waiting"])
            assert raw("ZCARD", f"{{{stream}}}:delayed") == 1

            _free(raw)
            await queue.drain()

    assert bench.done == ["waiting", "delayed"]


async def test_what_cannot_be_handed_back_stays(
    own_server: Server, stream: str
) -> None:
    """A shutdown acknowledges what ended and leaves the rest to the leases."""
    started: list[str] = []

    async def run(job: Email) -> None:
        started.append(job.to)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if job.to == "stays":
                raise

    rules = policy(stream)
    with Raw(own_server.url) as raw:
        async with Queue(Email, run, url=own_server.url, policy=rules) as queue:
            handle = queue.run()
            await queue.enqueue_bulk([email("stays"), email("ends")])
            await until(lambda: len(started) == 2)
            _fill(raw)
            await handle.shutdown(grace=0.0)
            left = [fields[b"to"] for _, fields in raw.entries(stream)]
            (held,) = pending(raw, stream, GROUP)

    assert left == [b"stays"]
    assert held.deliveries == 1


async def test_what_was_settled_by_another_hand_is_no_outage_for_ever(
    own_server: Server, stream: str
) -> None:
    """A job that could not be moved, and is gone, keeps the queue failing no longer."""

    async def fail(job: Email) -> None:
        raise ValueError(job.to)

    with Raw(own_server.url) as raw:
        rules = policy(stream, lease=60.0, backoff=60.0)
        async with Queue(Email, fail, url=own_server.url, policy=rules) as queue:
            queue.run()
            entry_id = await queue.enqueue(email())
            raw("CONFIG", "SET", "maxmemory", 1)
            await until(lambda: queue.failing is not None)
            raw("XACK", stream, "senders", entry_id)
            raw("XDEL", stream, entry_id)
            raw("CONFIG", "SET", "maxmemory", 0)
            await until(lambda: queue.failing is None)
