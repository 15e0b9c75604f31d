"""What random histories seldom come to: numbers, moments, and answers that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from flowd import OutcomeUnknown, Queue
from flowd.broker.commands import EnqueueCommand, MoveToDeadLetter, Requeue
from flowd.broker.connection import Connection
from flowd.broker.scripts import SETTLE
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery, Entry
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.monitor import Monitor
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.scripts import MAINTAIN
from tests.system.delivery_model.snapshot import pass_time, take_snapshot

GROUP: Final = "g"
LEASE: Final = 1000.0
_LARGE: Final = b"x" * 200_000


@asynccontextmanager
async def _jobs(
    url: str, stream: str, number: int
) -> AsyncGenerator[tuple[Connection, Stream, list[Entry]], None]:
    """A queue with so many jobs, all held by `a`."""
    connection = Connection(Address.of(url))
    queue = Stream(connection, stream, GROUP)
    try:
        await queue.init("0")
        await asyncio.gather(*(queue.add({b"n": b"1"}) for _ in range(number)))
        yield connection, queue, await queue.read("a", number)
    finally:
        await connection.aclose()


async def test_a_lease_holds_to_its_end(redis_url: str, stream: str) -> None:
    """An entry that was idle for nine tenths of a lease cannot be claimed yet."""
    async with _jobs(redis_url, stream, 3) as (connection, queue, _):
        for passed, taken in ((0.6, 0), (0.3, 0), (0.2, 3)):
            await pass_time(connection, queue.keys, GROUP, passed * LEASE)
            maintained = await queue.maintain(
                "b", lease=LEASE, takeovers=9, cursor=b"0-0"
            )
            assert len(maintained.claimed) == taken


@pytest.mark.parametrize("number", [1000, 1001, 2500])
async def test_a_worker_may_hold_thousands(
    redis_url: str, stream: str, number: int
) -> None:
    """All are renewed in one step and settled in one step, to the last."""
    async with _jobs(redis_url, stream, number) as (connection, queue, entries):
        held = [Delivery(entry, 0.0) for entry in entries]
        await pass_time(connection, queue.keys, GROUP, 0.9 * LEASE)
        assert not await queue.renew("a", [(d.entry_id, d.count) for d in held])
        leases = (await take_snapshot(connection, queue.keys, GROUP)).held.values()
        assert max(lease.idle for lease in leases) < 0.5 * LEASE

        others = [Requeue(delivery, LEASE, {}) for delivery in held[-3:]]
        assert set(await queue.settle("a", held[:-3], others)) == {1}
        assert await queue.remaining() == (0, 3)


async def test_an_expired_job_behind_thousands_is_found_at_once(
    redis_url: str, stream: str
) -> None:
    """One sweep passes 5,000 running jobs, even for a worker with one free slot."""
    async with _jobs(redis_url, stream, 5_001) as (connection, queue, entries):
        last = entries[-1].id
        claim = (queue.keys.stream, GROUP, "a", 0, last, "IDLE", 2_000_000, "JUSTID")
        await connection.call("XCLAIM", *claim)
        maintained = await queue.maintain("b", lease=LEASE, takeovers=1, cursor=b"0-0")
        assert [entry.id for entry in maintained.claimed] == [last]


@pytest.mark.parametrize("own", [False, True], ids=["others", "own"])
async def test_claimed_jobs_are_bounded_in_bytes(
    redis_url: str, stream: str, own: bool
) -> None:
    """One script claims a megabyte and the job that reaches it; the next call goes on."""
    async with _jobs(redis_url, stream, 0) as (connection, queue, _):
        await asyncio.gather(*(queue.add({b"n": _LARGE}) for _ in range(12)))
        await queue.read("a", 12)
        await pass_time(connection, queue.keys, GROUP, 1.1 * LEASE)
        taken: list[int] = []
        cursor, mine = b"0-0", list[bytes]()
        while sum(taken) < 12:
            maintained = await queue.maintain(
                "a" if own else "b",
                lease=LEASE,
                takeovers=0 if own else 50,
                orphans=50 if own else 0,
                cursor=cursor,
                running=mine,
            )
            cursor = maintained.cursor
            mine += [entry.id for entry in maintained.claimed]
            taken.append(len(maintained.claimed))
        assert taken == [5, 5, 2]
        assert len(set(mine)) == 12


async def test_promoted_jobs_are_bounded_in_bytes(redis_url: str, stream: str) -> None:
    """One script promotes a megabyte and the job that reaches it; then at once the rest."""
    async with _jobs(redis_url, stream, 0) as (_, queue, _):
        jobs = [
            EnqueueCommand({b"n": _LARGE}, len(_LARGE), delay=0.001, job_id=str(number))
            for number in range(12)
        ]
        await queue.enqueue(jobs)
        promoted: list[int] = []
        while sum(promoted) < 12:
            maintained = await queue.maintain(
                "a", lease=LEASE, takeovers=0, cursor=b"0-0"
            )
            promoted.append(maintained.promoted)
            assert (maintained.next_due == 0) == (sum(promoted) < 12)
        assert [each for each in promoted if each] == [5, 5, 2]


async def test_a_batch_costs_the_same_among_thousands(
    redis_url: str, stream: str
) -> None:
    """Settling and renewing two jobs reads no more rows, however many lie between."""
    async with _jobs(redis_url, stream, 3_000) as (_, queue, entries):
        ends = [Delivery(entries[at], 0.0) for at in (0, -1)]
        with Monitor(redis_url) as monitor:
            assert not await queue.renew("a", [(d.entry_id, d.count) for d in ends])
            renewing = monitor.rows()
            assert await queue.settle("a", ends, []) == [1, 1]
            settling = monitor.rows()
        assert renewing <= 2 * 2 + 16 + 1
        assert settling <= 2 * 2 + 16 + 1


async def test_a_lost_promotion_is_one_promotion(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A due job whose promotion was answered into the void runs once."""
    recorder = RecordingHandler()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
    ):
        raw("SCRIPT", "LOAD", MAINTAIN.source)
        await queue.enqueue(email(), delay=0.001)
        proxy.lose(MAINTAIN.sha.encode())
        queue.run()
        await queue.drain()
        assert proxy.lost == 1

    assert recorder.done == ["a"]
    assert recorder.contexts[0].deliveries == 1


@pytest.mark.parametrize("end", ["ack", "requeue", "delay", "bury"])
async def test_a_settle_is_complete_before_its_answer(
    redis_url: str, raw: Raw, stream: str, end: str
) -> None:
    """A worker that dies while the answer is on its way leaves the job in one place."""
    async with _jobs(redis_url, stream, 1) as (connection, queue, entries):
        delivery = Delivery(entries[0], 0.0)
        acks = [delivery] if end == "ack" else []
        others: dict[str, Requeue | MoveToDeadLetter] = {
            "requeue": Requeue(delivery, 0.0, {}),
            "delay": Requeue(delivery, LEASE, {}),
            "bury": MoveToDeadLetter(delivery, [b"_error", b"why"]),
        }
        moved = [others[end]] if end in others else []
        raw("SCRIPT", "LOAD", SETTLE.source)
        async with proxy_to(redis_url) as proxy:
            dying = Connection(Address.of(proxy.url))
            proxy.lose(SETTLE.sha.encode())
            with pytest.raises(OutcomeUnknown):
                await queue.over(dying).settle("a", acks, moved)
            await dying.aclose()
        left = await take_snapshot(connection, queue.keys, GROUP)
        places = (len(left.entries), len(left.delayed), len(left.dead))
        assert places == (end == "requeue", end == "delay", end == "bury")
        assert not left.held


async def test_a_worker_takes_none_of_its_thousands(
    redis_url: str, stream: str
) -> None:
    """Of the jobs that it runs it renews all and takes none, however many there are."""
    async with _jobs(redis_url, stream, 1500) as (connection, queue, entries):
        await pass_time(connection, queue.keys, GROUP, 1.1 * LEASE)
        running = [entry.id for entry in entries]
        maintained = await queue.maintain(
            "a", lease=LEASE, takeovers=500, cursor=b"0-0"
        )
        assert maintained.claimed == []
        assert maintained.unsorted
        maintained = await queue.maintain(
            "a",
            lease=LEASE,
            takeovers=0,
            cursor=b"0-0",
            orphans=500,
            running=running,
        )
        assert maintained.claimed == []
