"""Consumers of processes that died are forgotten, and what they own never is."""

from __future__ import annotations

from flowd import Claimer
from flowd.broker.connection import Connection
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import consumers, die_with, pending
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_a_dead_consumer_that_owns_nothing_is_forgotten(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A worker forgets the silent ones in passing, and works on."""
    recorder = RecordingHandler()
    async with make_queue(
        recorder, lease=0.05, claimer=Claimer(interval=0.05), block=0.05
    ) as queue:
        for number in range(5):
            raw("XGROUP", "CREATECONSUMER", stream, GROUP, f"dead-{number}")
        queue.run()
        await wait_until(
            lambda: not any("dead" in c for c in consumers(raw, stream, GROUP))
        )
        await queue.enqueue(email())
        await queue.drain()

    assert recorder.done == ["a"]


async def test_a_consumer_that_owns_an_entry_is_kept(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """However long it was silent: deleting it would lose what it owns."""
    async with make_queue() as queue:
        await queue.enqueue(email())
    die_with(raw, stream, GROUP, jobs=1, name="owner")
    raw("XGROUP", "CREATECONSUMER", stream, GROUP, "idler")
    connection = Connection(Address.of(redis_url))
    try:
        assert await Stream(connection, stream, GROUP).reap(0.0) == 1
        assert await Stream(connection, stream, GROUP).reap(0.0) == 0
    finally:
        await connection.aclose()

    assert consumers(raw, stream, GROUP) == ["owner"]
    assert [each.consumer for each in pending(raw, stream, GROUP)] == ["owner"]


async def test_a_consumer_that_was_heard_of_is_kept(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """One that owns nothing right now may be about to read."""
    connection = Connection(Address.of(redis_url))
    queue = Stream(connection, stream, GROUP)
    try:
        await queue.init("0")
        raw("XGROUP", "CREATECONSUMER", stream, GROUP, "idler")
        assert await queue.reap(60.0) == 0
    finally:
        await connection.aclose()

    assert consumers(raw, stream, GROUP) == ["idler"]


async def test_two_workers_of_one_name_are_two(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A name given twice is made unique: each job is delivered and settled once."""
    recorders = RecordingHandler(), RecordingHandler()
    rules = policy(stream, lease=60.0)
    async with (
        make_queue(recorders[0], rules=rules, consumer="one") as first,
        make_queue(recorders[1], rules=rules, consumer="one") as second,
    ):
        handles = first.run(), second.run()
        assert handles[0].consumer != handles[1].consumer
        await wait_until(lambda: raw.info("blocked_clients") == "2")
        await first.enqueue_bulk(email(str(number)) for number in range(100))
        await first.drain()

    assert all(handle.consumer.startswith("one-") for handle in handles)
    done = recorders[0].done + recorders[1].done
    assert sorted(done, key=int) == [str(number) for number in range(100)]


async def test_shared_consumer_name_settles_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Even under one and the same name, only the last delivery can settle its job."""
    connection = Connection(Address.of(redis_url))
    queue = Stream(connection, stream, GROUP)
    try:
        await queue.init("0")
        raw("XADD", stream, "*", "to", "a", "subject", "hi")
        (first,) = await queue.read("one", 1)
        raw("XCLAIM", stream, GROUP, "other", 0, first.id)
        raw("XCLAIM", stream, GROUP, "one", 0, first.id)
        stale = Delivery(first, 0.0)
        fresh = Delivery(first._replace(delivery_count=3), 0.0)
        assert await queue.settle("one", [stale], []) == [0]
        assert await queue.renew("one", [(stale.entry_id, stale.count)]) == [first.id]
        assert await queue.settle("one", [fresh], []) == [1]
        assert await queue.settle("one", [fresh], []) == [0]
    finally:
        await connection.aclose()

    assert raw("XLEN", stream) == 0
