"""Pausing a queue: no worker takes a job, whatever it is, until the queue is resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from flowd import Queue, Snooze
from flowd.broker.control import pause, paused_since, resume
from flowd.broker.scripts import Part
from flowd.broker.session import connected
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.errors import GroupMissing, StreamShared
from flowd.ops.queries import Queries
from flowd.worker.cancellation import Cancellations
from flowd.worker.in_flight import InFlight
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, expire
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
END = b"18446744073709551615-18446744073709551614"


@asynccontextmanager
async def opened(redis_url: str, stream: str) -> AsyncGenerator[Stream]:
    """The queue, as a program sees it that runs no worker."""
    async with connected(Address.of(redis_url)) as connection:
        yield Stream(connection, stream, GROUP)


def position(raw: Raw, stream: str) -> dict[bytes, object]:
    """Where the group stands."""
    groups = raw("XINFO", "GROUPS", stream)
    assert isinstance(groups, list)
    (flat,) = groups
    assert isinstance(flat, list)
    return dict(zip(flat[::2], flat[1::2], strict=True))  # type: ignore[arg-type]


async def test_no_job_is_taken_while_the_queue_is_paused(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A worker that is blocked in a read gets nothing either; all run after the resume."""
    recorder = RecordingHandler()
    async with (
        opened(redis_url, stream) as target,
        Queue(
            Email, recorder, url=redis_url, policy=policy(stream), block=5.0
        ) as queue,
    ):
        queue.run()
        await queue.enqueue(email("before"))
        await wait_until(lambda: recorder.done)
        await wait_until(lambda: raw.info("blocked_clients") != "0")
        assert await queue.pause() is True
        assert await pause(target) is False
        await queue.enqueue_bulk(email(str(number)) for number in range(5))
        await queue.enqueue(email("delayed"), delay=0.01)
        await wait_until(lambda: raw("XLEN", stream) == 6)
        assert queue.failing is None
        assert raw("XPENDING", stream, GROUP)[0] == 0  # type: ignore[index]
        assert await resume(target) is True
        assert await queue.resume() is False
        await queue.drain()
    assert recorder.done == ["before", *map(str, range(5)), "delayed"]
    assert raw("EXISTS", target.keys.control) == 0


async def test_the_group_stands_where_it_stood(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Pausing and resuming leave no trace, in the server's count of the lag as well."""
    async with opened(redis_url, stream) as target:
        raw("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
        for number in range(5):
            raw("XADD", stream, "*", "n", number)
        raw("XREADGROUP", "GROUP", GROUP, "c", "COUNT", 2, "STREAMS", stream, ">")
        before = position(raw, stream)
        await pause(target)
        assert position(raw, stream)[b"last-delivered-id"] == END
        for command in (("COUNT", 9), ("COUNT", 9, "BLOCK", 1)):
            words = ("XREADGROUP", "GROUP", GROUP, "other", *command)
            assert raw(*words, "STREAMS", stream, ">") is None
        await resume(target)
        after = position(raw, stream)
        assert {**after, b"consumers": 1} == before
        reply = raw(
            "XREADGROUP", "GROUP", GROUP, "c", "COUNT", 9, "STREAMS", stream, ">"
        )
        assert len(reply[0][1]) == 3  # type: ignore[index, arg-type]


async def test_waiting_jobs_are_counted_while_paused(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Operators see the jobs that wait, and those that run, as at any time."""
    async with opened(redis_url, stream) as target:
        raw("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
        for number in range(5):
            raw("XADD", stream, "*", "n", number)
        die_with(raw, stream, GROUP, jobs=2)
        await pause(target)
        queries = Queries(target.connection, stream, GROUP)
        sizes = await queries.sizes()
        assert (sizes.waiting, sizes.running) == (3, 2)
        assert [row.fields[b"n"] for row in await queries.waiting(9)] == [
            b"2",
            b"3",
            b"4",
        ]
        assert await target.remaining() == (3, 0)
        assert await paused_since(target) is not None
        await resume(target)
        assert await paused_since(target) is None


async def test_running_jobs_end_and_failed_ones_wait(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What runs is settled; what comes back waits as the others do."""
    recorder = RecordingHandler(closed=True)
    snoozed: list[str] = []

    async def work(job: Email) -> None:
        recorder.started.append(job.to)
        await recorder.gate.wait()
        if job.to == "snoozes" and not snoozed:
            snoozed.append(job.to)
            raise Snooze(0.0)
        recorder.done.append(job.to)

    async with Queue(Email, work, url=redis_url, policy=policy(stream)) as queue:
        await queue.enqueue_bulk([email("runs"), email("snoozes")])
        queue.run()
        await wait_until(lambda: len(recorder.started) == 2)
        await queue.pause()
        recorder.gate.set()
        await wait_until(lambda: raw("XPENDING", stream, GROUP)[0] == 0)  # type: ignore[index]
        await wait_until(lambda: raw("XLEN", stream) == 1)
        draining = asyncio.ensure_future(queue.drain())
        assert recorder.done == ["runs"]
        assert not draining.done()
        await queue.resume()
        await draining
    assert recorder.done == ["runs", "snoozes"]


async def test_a_paused_queue_takes_over_nothing(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job of a dead worker would start; it is claimed when the queue is resumed."""
    recorder = RecordingHandler()
    async with (
        opened(redis_url, stream) as target,
        Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue,
    ):
        await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1)
        await queue.pause()
        expire(raw, stream, GROUP)
        reply = await target.maintain(
            "me",
            lease=0.001,
            takeovers=9,
            cursor=b"0-0",
            orphans=9,
            parts=(queue_part(target),),
        )
        assert not reply.claimed
        await queue.resume()
        queue.run()
        await queue.drain()
    assert recorder.done == ["a"]


def queue_part(target: Stream) -> Part:
    """What a worker adds to its maintenance."""
    return Cancellations(target, InFlight(1)).maintain_part()


async def test_a_pause_outlives_its_group(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A group that was destroyed and is set up again is paused by the next call."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue:
        await queue.pause()
        raw("XGROUP", "DESTROY", stream, GROUP)
        await queue.init()
        assert await queue.pause() is False
        await queue.enqueue(email())
        assert position(raw, stream)[b"last-delivered-id"] == END
        await queue.resume()
        queue.run()
        await queue.drain()
    assert recorder.done == ["a"]


async def test_a_group_behind_the_end_is_repaired(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """If what a pause has kept is lost, a resume gives out what was never delivered."""
    recorder = RecordingHandler()
    async with (
        opened(redis_url, stream) as target,
        Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue,
    ):
        ids = await queue.enqueue_bulk(email(str(number)) for number in range(3))
        die_with(raw, stream, GROUP, jobs=1)
        await queue.pause()
        raw("DEL", target.keys.control)
        assert await queue.resume() is True
        assert position(raw, stream)[b"last-delivered-id"] == ids[0].encode()
        expire(raw, stream, GROUP)
        queue.run()
        await queue.drain()
    assert sorted(recorder.done) == ["0", "1", "2"]


async def test_a_queue_that_cannot_be_paused_says_why(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Without a group there is nothing to pause, and of two groups neither is."""
    async with opened(redis_url, stream) as target:
        with pytest.raises(GroupMissing):
            await pause(target)
        raw("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
        raw("XGROUP", "CREATE", stream, "other", "0")
        for call in (pause, resume):
            with pytest.raises(StreamShared):
                await call(target)


async def test_waiting_jobs_are_cancelled_while_paused(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A paused queue's jobs wait, though its group stands behind them."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        job_id = await queue.enqueue(email())
        raw("XADD", stream, "*", "to", "a", "subject", "b", "_id", "mine")
        await queue.pause()
        assert await queue.cancel("mine") == "cancelled"
        assert await queue.cancel(job_id) == "cancelled"
        assert raw("XLEN", stream) == 0
        await queue.resume()


async def test_a_pause_is_stored_with_the_stream(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What a server writes to disk, and to its replicas, has the pause in it."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue:
        await queue.enqueue(email())
        await queue.pause()
        dump = raw("DUMP", stream)
        assert isinstance(dump, bytes)
        raw("DEL", stream)
        raw("RESTORE", stream, 0, dump)
        assert position(raw, stream)[b"last-delivered-id"] == END
        await queue.resume()
        queue.run()
        await queue.drain()
    assert recorder.done == ["a"]
