"""A server's clock that steps back is noticed, and takes no job away."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from flowd import Claimer, Queue
from flowd.broker.session import connected
from flowd.broker.stream import Stream
from flowd.model.event import EventBus
from flowd.worker.server_clock import ServerClock, expire, fresh
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
LEASE = 0.4
HOUR = 3600.0


class Worker:
    """What one worker sees: its own clock is moved on where the server's steps back."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._ahead = 0.0
        self.clock = ServerClock(stream, LEASE, EventBus("s", "g"), self._now)

    def _now(self) -> float:
        return time.monotonic() + self._ahead

    def step(self, seconds: float) -> None:
        """Let the server's clock step back so far, as it looks from here."""
        self._ahead += seconds

    async def check(self) -> None:
        """Check the clock, and let a quarter of a lease pass."""
        await self.clock.look()
        await asyncio.sleep(LEASE / 4)


@asynccontextmanager
async def worker_of(
    url: str, stream: str
) -> AsyncGenerator[tuple[Worker, Queue[Email]]]:
    """A worker that has checked once, and its queue."""
    async with (
        Queue(Email, RecordingHandler(), url=url, policy=policy(stream)) as queue,
        connected(queue.address) as connection,
    ):
        worker = Worker(Stream(connection, stream, GROUP))
        await worker.check()
        yield worker, queue


def stamp_ahead(raw: Raw, stream: str, consumer: str, *, jobs: int) -> None:
    """Let a consumer hold jobs since an hour from now, as before a clock's step back.

    No command stamps in the future, so what the server holds is written anew.
    """
    raw("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", jobs, "STREAMS", stream, ">")
    then = int(time.time() * 1000) - 12_345_678
    for each in pending(raw, stream, GROUP):
        raw("XCLAIM", stream, GROUP, consumer, 0, each.id, "TIME", then, "JUSTID")
    dump = raw("DUMP", stream)
    assert isinstance(dump, bytes)
    ahead = struct.pack("<q", then + 12_345_678 + int(HOUR * 1000))
    body = dump[:-8].replace(struct.pack("<q", then), ahead)
    assert body != dump[:-8]
    raw("RESTORE", stream, 0, body + struct.pack("<Q", crc64(body)), "REPLACE")


def crc64(data: bytes) -> int:
    """The checksum at the end of a DUMP (CRC-64 of Jones, reflected)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


async def test_clock_step_back_is_reported_once(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has how far it was; less than a second is no step."""
    async with worker_of(redis_url, stream) as (worker, _):
        worker.step(0.9)
        for _ in range(4):
            await worker.check()
        assert "clock_stepped" not in events(caplog.records)
        worker.step(HOUR)
        for _ in range(4):
            await worker.check()

    said = [r for r in caplog.records if vars(r).get("event") == "clock_stepped"]
    assert len(said) == 1
    assert "stepped back by 3,600." in said[0].getMessage()
    assert said[0].levelno == logging.WARNING


async def test_jobs_of_a_dead_worker_are_taken_over_after_a_step(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Stamped an hour ahead they look fresh; two leases later a sweep finds them."""
    async with worker_of(redis_url, stream) as (worker, queue):
        await queue.enqueue_bulk([email("a"), email("b")])
        stamp_ahead(raw, stream, "dead", jobs=2)
        worker.step(HOUR)
        began = time.monotonic()
        while not all(each.idle for each in pending(raw, stream, GROUP)):
            assert time.monotonic() - began < 10.0
            await worker.check()
        # Who lives had the time to renew.
        assert time.monotonic() - began > LEASE
        maintained = await worker.stream.maintain(
            "b", lease=LEASE, takeovers=5, cursor=b"0-0"
        )

    assert [entry.fields[b"to"] for entry in maintained.claimed] == [b"a", b"b"]
    assert [entry.delivery_count for entry in maintained.claimed] == [2, 2]


async def test_jobs_of_a_live_worker_stay_its_own_after_a_step(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What is renewed is stamped by the new clock, and no worker ends its lease."""
    async with worker_of(redis_url, stream) as (worker, queue):
        await queue.enqueue_bulk([email("a"), email("b")])
        stamp_ahead(raw, stream, "alive", jobs=2)
        held = [(each.id.encode(), 1) for each in pending(raw, stream, GROUP)]
        worker.step(HOUR)
        renewed = 0.0
        for _ in range(16):
            renewed = time.monotonic()
            assert await worker.stream.renew("alive", held) == []
            await wait_until(lambda: all(p.idle for p in pending(raw, stream, GROUP)))
            await worker.check()

        rows = pending(raw, stream, GROUP)
        since = time.monotonic() - renewed
    assert [(row.consumer, row.deliveries) for row in rows] == [("alive", 1)] * 2
    # A lease that is ended shows all of its time at once, whenever it was renewed.
    assert all(0 < row.idle <= since * 1000 + 1 for row in rows)


async def test_a_lease_is_ended_only_as_it_was_seen(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Renewed, taken over or settled meanwhile, an entry is left as it is."""
    async with worker_of(redis_url, stream) as (worker, queue):
        await queue.enqueue_bulk(map(email, "abcd"))
        stamp_ahead(raw, stream, "dead", jobs=4)
        seen = await fresh(worker.stream)
        renewed, stolen, settled, left = [each.decode() for each, _, _ in seen]
        raw("XCLAIM", stream, GROUP, "dead", 0, renewed, "IDLE", 50, "JUSTID")
        raw("XCLAIM", stream, GROUP, "thief", 0, stolen, "JUSTID")
        raw("XACK", stream, GROUP, settled)
        # So long that none of the others is over by itself.
        assert await expire(worker.stream, HOUR, seen) == 1

        over = [p.id for p in pending(raw, stream, GROUP) if p.idle >= HOUR * 1000]
        assert over == [left]
        assert await expire(worker.stream, HOUR, seen) == 0


async def test_a_running_queue_watches_the_clock(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It asks for the time while it is idle, and seldom."""
    rules = policy(stream, lease=1.0)
    async with make_queue(rules=rules, claimer=Claimer(interval=0.02)) as queue:
        queue.run()
        raw("CONFIG", "RESETSTAT")
        started = time.monotonic()
        await wait_until(lambda: outside(raw) >= 3)
        took = time.monotonic() - started
        assert outside(raw) <= 4 * took / rules.claim_after + 2


def outside(raw: Raw) -> int:
    """How often the time was asked for, less those of the scripts that ask for it."""
    return raw.calls("time") - raw.calls("evalsha") - raw.calls("eval")
