"""What a careless fence or a careless batch would lose, at the sizes where it would."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from flowd import Queue, Reject
from flowd.broker.commands import Requeue
from flowd.broker.connection import Connection
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.embedded import Server
from flowd.model.delivery import Delivery
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until
from tests.system.faults.recovery import GROUP

_MANY: Final = 1_500


async def test_the_first_and_the_last_of_many_held(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """A batch may reach over more held jobs than one page of the pending list has."""
    gates = {"first": asyncio.Event(), "rest": asyncio.Event()}
    ends = ("0", str(_MANY - 1))
    started: list[str] = []

    async def run(job: Email) -> None:
        started.append(job.to)
        await gates["first" if job.to in ends else "rest"].wait()

    async with make_queue(run, lease=60.0, concurrency=_MANY) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(_MANY))
        queue.run()
        await wait_until(lambda: len(started) == _MANY)
        gates["first"].set()
        await wait_until(lambda: raw("XLEN", stream) == _MANY - 2)
        gates["rest"].set()
        await queue.drain()

    assert len(started) == _MANY
    assert "lost" not in events(caplog.records)


async def test_the_leases_of_many_held(
    raw: Raw, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Every one is renewed, and none is taken for lost, however many there are."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=4.0, concurrency=_MANY) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(_MANY))
        queue.run()
        await wait_until(lambda: len(recorder.started) == _MANY)
        read = [context.lease_deadline for context in recorder.contexts]
        await wait_until(
            lambda: all(
                context.lease_deadline > before
                for context, before in zip(recorder.contexts, read, strict=True)
            )
        )
        recorder.gate.set()
        await queue.drain()

    assert not recorder.cancelled
    assert "lease_lost" not in events(caplog.records)


async def test_a_batch_with_refused_items(own_server: Server, stream: str) -> None:
    """Out of memory, one settle call ends what needs no room and leaves what would grow."""
    gate = asyncio.Event()
    started: list[str] = []

    async def run(job: Email) -> None:
        started.append(job.to)
        await gate.wait()
        if started.count(job.to) == 1 and job.to == "failed":
            raise ValueError("no")
        if job.to == "rejected":
            raise Reject("no")

    names = ["failed", *map(str, range(8)), "rejected"]
    with Raw(own_server.url) as raw:
        async with Queue(
            Email, run, url=own_server.url, policy=policy(stream, lease=60.0)
        ) as queue:
            queue.run()
            await queue.enqueue_bulk(map(email, names))
            await wait_until(lambda: len(started) == len(names))
            raw("CONFIG", "SET", "maxmemory", 1)
            gate.set()
            await wait_until(lambda: started.count("failed") == 2)
            await wait_until(lambda: raw("XLEN", stream) == 1)
            left = [fields[b"to"] for _, fields in raw.entries(stream)]
            assert left == [b"rejected"]
            assert [each.deliveries for each in pending(raw, stream, GROUP)] == [1]
            raw("CONFIG", "SET", "maxmemory", 0)
            await queue.drain()
            assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 1

    assert sorted(started) == sorted([*names, "failed"])


async def test_a_second_group_that_comes_and_goes(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """From the moment it is there nothing is deleted under it, busy as the worker is."""
    recorder = RecordingHandler()
    async with make_queue(recorder, lease=60.0) as queue:
        queue.run()
        for _ in range(20):
            await queue.enqueue_bulk(email() for _ in range(100))
            raw("MULTI")
            raw("XGROUP", "CREATE", stream, "auditors", "0")
            raw("XLEN", stream)
            replies = raw("EXEC")
            assert isinstance(replies, list)
            await asyncio.sleep(0.02)
            assert raw("XLEN", stream) == replies[1]
            raw("XGROUP", "DESTROY", stream, "auditors")
        await queue.drain()

    assert len(recorder.done) == 2_000


async def test_a_stale_ack_after_release_and_return(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that is released and read again by the same worker is not settled twice."""
    connection = Connection(Address.of(redis_url))
    place = Stream(connection, stream, GROUP)

    async def read() -> Delivery:
        (entry,) = await place.read("worker", 1)
        return Delivery(entry, 0.0)

    await place.init("0")
    raw("XADD", stream, "*", "to", "a", "subject", "hi")
    first = await read()
    back = Requeue(first, 0.0, first.requeue_envelope(failed=False))
    assert await place.settle("worker", [], [back]) == [1]
    second = await read()

    assert await place.settle("worker", [first], []) == [0]
    (held,) = pending(raw, stream, GROUP)
    assert held.id == second.entry_id.decode()
    assert await place.settle("worker", [second], []) == [1]
    assert raw("XLEN", stream) == 0
    await connection.aclose()
