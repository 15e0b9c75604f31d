"""A running job is this worker's as long as it runs, and not a moment longer."""

from __future__ import annotations

import threading
import time

import pytest

from flowd import Claimer, Context, Queue, Reject
from flowd.worker import maintenance
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import lease_threads, pending, steal
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until, wait_until_blocking

GROUP = "senders"

_AGED = 30_000
_CLAIMED = 60_000
"""Milliseconds: without a renewal an aged lease is claimed, but not before the test fails."""


async def test_a_job_longer_than_its_lease_is_kept(
    raw: Raw, stream: str, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renewal keeps a job from a worker that looks for abandoned ones all the time."""
    recorder, other = RecordingHandler(closed=True), RecordingHandler()
    lease = 0.4
    # A process that stands still for a moment renews late; nothing is taken over for that.
    claimer = Claimer(min_idle=_CLAIMED / 1000, interval=0.05)
    monkeypatch.setattr(maintenance, "RENEWALS_PER_LEASE", 1_000)  # it looks soon
    async with (
        make_queue(recorder, lease=lease) as queue,
        make_queue(other, lease=lease, claimer=claimer) as hunter,
    ):
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        hunter.run()

        started = time.monotonic()
        while time.monotonic() - started < 4 * lease:
            _age(raw, stream)
            await wait_until(lambda: _is_renewed(raw, stream))
        (held,) = pending(raw, stream, GROUP)
        recorder.gate.set()
        await queue.drain()

    assert held.deliveries == 1
    assert recorder.done == ["a"]
    assert not other.started


async def test_a_handler_that_blocks_the_loop_keeps_its_job(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """The event loop stands still for three leases and no worker can claim the job."""
    lease = 0.4
    thefts: list[object] = []
    finished: list[str] = []

    async def compute(job: Email) -> None:
        until_then = time.monotonic() + 3 * lease
        while time.monotonic() < until_then:
            _age(raw, stream)
            wait_until_blocking(lambda: _is_renewed(raw, stream))
            thefts.append(_try_to_take(raw, stream, _CLAIMED / 1000))
        finished.append(job.to)

    async with make_queue(compute, lease=lease, max_retries=0) as queue:
        queue.run()
        await queue.enqueue(email())
        await queue.drain()

    assert finished
    assert not any(thefts)


async def test_hung_process_loses_its_jobs(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Once its time limit is over and the loop stands still, the lease runs out."""
    lease = 0.2

    async def hang(job: Email) -> None:
        until_then = time.monotonic() + 10.0
        while not _try_to_take(raw, stream, lease):
            assert time.monotonic() < until_then
            time.sleep(0.02)  # noqa: ASYNC251 - a handler that hangs

    async with make_queue(hang, lease=lease, timeout=0.05) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: [p.consumer for p in pending(raw, stream, GROUP)])
        await wait_until(lambda: pending(raw, stream, GROUP)[0].consumer == "thief")


def _age(raw: Raw, stream: str) -> None:
    """Let what is held look as if it had been renewed long ago, if not too long."""
    for each in pending(raw, stream, GROUP):
        claim = ("XCLAIM", stream, GROUP, each.consumer, 0, each.id)
        raw(*claim, "IDLE", _AGED, "JUSTID")


def _is_renewed(raw: Raw, stream: str) -> bool:
    return all(each.idle < _AGED for each in pending(raw, stream, GROUP))


def _try_to_take(raw: Raw, stream: str, lease: float) -> object:
    claim = raw(
        *("XAUTOCLAIM", stream, GROUP, "thief", int(lease * 1000), "0-0"),
        *("COUNT", 10, "JUSTID"),
    )
    assert isinstance(claim, list)
    return claim[1]


async def test_a_lost_lease_cancels_the_handler(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """What was taken over is cancelled here, and nothing is settled for it."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=0.4) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        steal(raw, stream, GROUP)
        await wait_until(lambda: recorder.cancelled)

    (held,) = pending(raw, stream, GROUP)
    assert (held.consumer, held.deliveries) == ("thief", 2)
    assert raw("XLEN", stream) == 1
    assert events(caplog.records).count("lease_lost") == 1


@pytest.mark.parametrize("end", ["done", "failed", "rejected"])
async def test_a_zombie_settles_nothing(
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    end: str,
    make_queue: MakeQueue,
) -> None:
    """A handler that ends after a takeover neither acknowledges nor moves the job."""

    async def finish(job: Email) -> None:
        steal(raw, stream, GROUP)
        if end == "failed":
            raise ValueError
        if end == "rejected":
            raise Reject("no")

    async with make_queue(finish, lease=60.0) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: "lost" in events(caplog.records))

    assert [p.consumer for p in pending(raw, stream, GROUP)] == ["thief"]
    assert raw("XLEN", stream) == 1
    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 0
    assert raw("ZCARD", f"{{{stream}}}:delayed") == 0


async def test_the_count_fences_where_the_owner_cannot(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """A job that came back under the same name is not settled by its first run."""

    async def finish(job: Email) -> None:
        steal(raw, stream, GROUP)
        steal(raw, stream, GROUP, name=handle.consumer)

    async with make_queue(finish, lease=60.0, claimer=None) as queue:
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: "lost" in events(caplog.records))

    (held,) = pending(raw, stream, GROUP)
    assert (held.consumer, held.deliveries) == (handle.consumer, 3)
    assert raw("XLEN", stream) == 1


async def test_a_thread_that_lost_its_lease_keeps_its_slot(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A thread cannot be cancelled: no other job starts in its slot until it ends."""
    release = threading.Event()
    started: list[str] = []

    def block(job: Email) -> None:
        started.append(job.to)
        release.wait(10.0)

    async with make_queue(block, lease=0.2, concurrency=1, claimer=None) as queue:
        queue.run()
        await queue.enqueue(email("first"))
        await wait_until(lambda: started)
        steal(raw, stream, GROUP)
        await queue.enqueue(email("second"))
        seen = time.monotonic()
        await wait_until(lambda: time.monotonic() - seen > 0.4)
        assert started == ["first"]

        release.set()
        await wait_until(lambda: started == ["first", "second"])
        await wait_until(lambda: raw("XLEN", stream) == 1)

    assert [p.consumer for p in pending(raw, stream, GROUP)] == ["thief"]


async def test_the_deadline_of_the_lease_moves_on(make_queue: MakeQueue) -> None:
    """`ctx.lease_deadline` is one lease after the last renewal."""
    deadlines: list[float] = []

    async def watch(job: Email, ctx: Context) -> None:
        deadlines.append(ctx.lease_deadline)
        assert ctx.lease_deadline <= time.monotonic() + 0.4
        await wait_until(lambda: ctx.lease_deadline > deadlines[0])
        deadlines.append(ctx.lease_deadline)

    async with make_queue(watch, lease=0.4) as queue:
        queue.run()
        await queue.enqueue(email())
        await queue.drain()

    assert len(deadlines) == 2


async def test_all_queues_share_one_lease_thread(redis_url: str, stream: str) -> None:
    """A process has one thread that renews, and it ends with the last queue."""
    rules = [policy(f"{stream}-{number}") for number in range(3)]
    queues = [
        Queue(Email, RecordingHandler(), url=redis_url, policy=each) for each in rules
    ]
    handles = [queue.run() for queue in queues]
    await wait_until(lambda: len(lease_threads()) == 1)

    await handles[0].shutdown()
    assert len(lease_threads()) == 1
    for queue in queues:
        await queue.aclose()
    await wait_until(lambda: not lease_threads())


async def test_a_deleted_entry_is_done_all_the_same(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """An entry deleted while its job ran leaves nothing pending once it ends."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder) as queue:
        queue.run()
        entry = await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        raw("XDEL", stream, entry)
        recorder.gate.set()
        await wait_until(lambda: not pending(raw, stream, GROUP))

    assert recorder.done == ["a"]


async def test_a_deleted_entry_is_not_brought_back(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """A deleted entry is neither tried again nor dead-lettered by a failure."""
    entry = ""

    async def fail(job: Email) -> None:
        raw("XDEL", stream, entry)
        raise ValueError

    # Once its lease were over, a sweep would forget it ahead of the failure.
    async with make_queue(fail, lease=60.0) as queue:
        entry = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: "deleted" in events(caplog.records))

        assert not pending(raw, stream, GROUP)
        assert raw("XLEN", stream) == 0
        assert raw("EXISTS", f"{{{stream}}}:delayed", f"{{{stream}}}:{GROUP}:dlq") == 0
