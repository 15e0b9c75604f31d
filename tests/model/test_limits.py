"""What random histories seldom come to: numbers, moments, and answers that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from flowd import Queue
from flowd.address import Address
from flowd.connection import Link
from flowd.delivery import Delivery, Entry
from flowd.scripts import TEND
from flowd.steps import Requeue
from flowd.stream import Stream
from jobs.email import Email
from tests.model.look import look, pass_time
from tests.raw import Raw
from tests.runtime.faults import Bench, email, policy
from tests.runtime.proxy import proxy_to

GROUP: Final = "g"
LEASE: Final = 1000.0


@asynccontextmanager
async def _jobs(
    url: str, stream: str, number: int
) -> AsyncGenerator[tuple[Link, Stream, list[Entry]], None]:
    """A queue with so many jobs, all held by `a`."""
    link = Link(Address.of(url))
    queue = Stream(link, stream, GROUP)
    try:
        await queue.init("0")
        await asyncio.gather(*(queue.add({b"n": b"1"}) for _ in range(number)))
        yield link, queue, await queue.read("a", number)
    finally:
        await link.aclose()


async def test_a_lease_holds_to_its_end(redis_url: str, stream: str) -> None:
    """An entry that was idle for nine tenths of a lease is nobody else's yet."""
    async with _jobs(redis_url, stream, 3) as (link, queue, _):
        for passed, taken in ((0.6, 0), (0.3, 0), (0.2, 3)):
            await pass_time(link, queue.keys, GROUP, passed * LEASE)
            tended = await queue.tend("b", lease=LEASE, takeovers=9, cursor=b"0-0")
            assert len(tended.taken) == taken


@pytest.mark.parametrize("number", [1000, 1001, 2500])
async def test_a_worker_may_hold_thousands(
    redis_url: str, stream: str, number: int
) -> None:
    """All are renewed in one step and settled in one step, to the last."""
    async with _jobs(redis_url, stream, number) as (link, queue, entries):
        held = [Delivery(entry, 0.0) for entry in entries]
        await pass_time(link, queue.keys, GROUP, 0.9 * LEASE)
        assert not await queue.renew("a", [(d.entry_id, d.count) for d in held])
        leases = (await look(link, queue.keys, GROUP)).held.values()
        assert max(lease.idle for lease in leases) < 0.5 * LEASE

        others = [Requeue(delivery, LEASE, {}) for delivery in held[-3:]]
        assert set(await queue.settle("a", held[:-3], others)) == {1}
        assert await queue.left() == (0, 3)


async def test_a_lost_promotion_is_one_promotion(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A due job whose promotion was answered into the void runs once."""
    bench = Bench()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, bench, url=proxy.url, policy=policy(stream)) as queue,
    ):
        raw("SCRIPT", "LOAD", TEND.source)
        await queue.enqueue(email(), delay=0.001)
        proxy.lose(TEND.sha.encode())
        queue.run()
        await queue.drain()
        assert proxy.lost == 1

    assert bench.done == ["a"]
    assert bench.contexts[0].deliveries == 1


async def test_a_worker_takes_none_of_its_thousands(
    redis_url: str, stream: str
) -> None:
    """Of the jobs that it runs it renews all and takes none, however many there are."""
    async with _jobs(redis_url, stream, 1500) as (link, queue, entries):
        await pass_time(link, queue.keys, GROUP, 1.1 * LEASE)
        running = [entry.id for entry in entries]
        tended = await queue.tend(
            "a", lease=LEASE, takeovers=500, cursor=b"0-0", running=running
        )
        assert tended.taken == []
