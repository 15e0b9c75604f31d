"""Cancelling jobs: what waits is gone at once, what runs is ended by its worker."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from flowd import Context, OptionError, Producer, Queue, Reject, SyncProducer
from flowd.broker.control import cancel_by_id, read_marks
from flowd.broker.session import connected
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.deadletter import DeadLetters
from flowd.errors import ServerError, StreamShared
from flowd.testing import MemoryQueue, RecordingProducer, RecordingSyncProducer
from flowd.worker.lease import QueueLeases
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.events import Seen
from tests.support.held_queue import HeldQueue
from tests.support.leases import expire
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
LONG = 60.0


def control_key(stream: str) -> str:
    """Where the marks of a queue are."""
    return f"{{{stream}}}:{GROUP}:control"


def marks_of(raw: Raw, stream: str) -> int:
    """Whether there are marks of running jobs: 1 or 0."""
    marked = raw("HEXISTS", control_key(stream), "@cancels")
    assert isinstance(marked, int)
    return marked


def left(raw: Raw, stream: str) -> list[object]:
    """How much is left of a queue: entries, delayed jobs, their bodies, dead letters, marks."""
    return [
        raw("XLEN", stream),
        raw("ZCARD", f"{{{stream}}}:delayed"),
        raw("HLEN", f"{{{stream}}}:delayed:jobs"),
        raw("XLEN", f"{{{stream}}}:{GROUP}:dlq"),
        marks_of(raw, stream),
    ]


async def test_a_waiting_job_is_gone_at_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Once the call has returned it does not run, and its idempotency key is free."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue:
        plain = await queue.enqueue(email("plain"))
        keyed = await queue.enqueue(email("keyed"), key="k")
        delayed = await queue.enqueue(email("delayed"), delay=LONG, key="d")
        await queue.enqueue(email("stays"))
        for job_id in (plain, keyed, delayed):
            assert await queue.cancel(job_id) == "cancelled"
            assert await queue.cancel(job_id) == "not_found"
        assert await queue.enqueue(email("again"), key="k") != keyed
        assert await queue.enqueue(email("again"), key="d") != delayed
        queue.run()
        await queue.drain()
    assert recorder.started == ["stays", "again", "again"]
    assert left(raw, stream) == [0, 0, 0, 0, 0]


async def test_a_key_of_another_job_stays(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A key that ran out and was taken by a later job is that job's."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        first = await queue.enqueue(email(), key="k")
        raw("SET", f"{{{stream}}}:key:k", "another")
        assert await queue.cancel(first) == "cancelled"
    assert raw("GET", f"{{{stream}}}:key:k") == b"another"


async def test_a_running_job_is_cancelled(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Its handler is cancelled, it is settled with an event of its own, and cleaned up."""
    recorder, seen = RecordingHandler(closed=True), Seen()
    cleaned: list[Email] = []
    async with Queue(
        Email,
        recorder,
        url=redis_url,
        policy=policy(stream, lease=4.0),
        middleware=[seen],
        on_cancelled=cleaned.append,
    ) as queue:
        job_id = await queue.enqueue(email("runs"))
        await queue.enqueue(email("other"))
        queue.run()
        await wait_until(lambda: len(recorder.started) == 2)
        assert await queue.cancel(job_id) == "cancelling"
        assert await queue.cancel(job_id) == "cancelling"
        await wait_until(lambda: cleaned)
        recorder.gate.set()
        await queue.drain()
    assert recorder.cancelled == [job.to for job in cleaned] == ["runs"]
    assert recorder.contexts[0].cancelled == "cancel"
    assert [each.job_id for each in seen.named("cancelled")] == [job_id]
    assert recorder.done == ["other"]
    assert left(raw, stream) == [0, 0, 0, 0, 0]


async def test_a_renewal_sees_a_mark(redis_url: str, stream: str) -> None:
    """So a quarter of a lease is enough: the lease thread looks by itself."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        job_id = await queue.enqueue(email())
        async with connected(queue.address) as connection:
            held = HeldQueue(Stream(connection, stream, GROUP), LONG)
            (delivery,) = await held.take(1)
            leases = QueueLeases(held)
            await leases.renew(connection, time.monotonic())
            await held.cancellations.up_to_date()
            assert not held.cancellations.has(delivery)
            assert await queue.cancel(job_id) == "cancelling"
            await leases.renew(connection, time.monotonic())
            await wait_until(lambda: held.cancellations.has(delivery))


async def test_a_plain_function_sees_that_it_is_cancelled(
    redis_url: str, stream: str
) -> None:
    """A thread cannot be cancelled: it looks, gives up, and the job is cancelled."""
    began, seen = threading.Event(), Seen()

    def work(_: Email, ctx: Context) -> None:
        began.set()
        while not ctx.cancelled:
            threading.Event().wait(0.005)
        raise RuntimeError(ctx.cancelled)

    async with Queue(
        Email, work, url=redis_url, policy=policy(stream), middleware=[seen]
    ) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(began.is_set)
        assert await queue.cancel(job_id) == "cancelling"
        await queue.drain()
    assert len(seen.named("cancelled")) == 1
    assert not seen.named("retry")


async def test_a_job_that_ends_anyway_is_done(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A handler that does not give up has done its work, and the mark goes with the job."""
    recorder, seen = RecordingHandler(), Seen()
    marked = asyncio.Event()

    async def work(job: Email) -> None:
        recorder.started.append(job.to)
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            marked.set()

    async with Queue(
        Email, work, url=redis_url, policy=policy(stream), middleware=[seen]
    ) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: recorder.started)
        await queue.cancel(job_id)
        await queue.drain()
    assert marked.is_set()
    assert len(seen.named("done")) == 1
    assert not seen.named("cancelled")
    assert left(raw, stream) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("fails", [False, True], ids=["lease", "attempt"])
async def test_a_mark_outlives_its_worker(
    redis_url: str, raw: Raw, stream: str, fails: bool
) -> None:
    """Whichever worker has the job next sees the mark before it starts the handler."""
    recorder, seen = RecordingHandler(), Seen()
    async with Queue(
        Email, recorder, url=redis_url, policy=policy(stream), middleware=[seen]
    ) as queue:
        job_id = await queue.enqueue(email())
        raw("XREADGROUP", "GROUP", GROUP, "dead", "STREAMS", stream, ">")
        assert await queue.cancel(job_id) == "cancelling"
        if fails:
            # As its worker would put it back after a failure.
            raw("XACK", stream, GROUP, job_id)
            raw("XDEL", stream, job_id)
            raw("XADD", stream, "*", "to", "a", "subject", "b", "_id", job_id)
        else:
            expire(raw, stream, GROUP)
        queue.run()
        await queue.drain()
    assert not recorder.started
    assert [each.job_id for each in seen.named("cancelled")] == [job_id]
    assert left(raw, stream) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "error", [ValueError("while it cleans up"), Reject("half done")], ids=repr
)
async def test_a_failed_job_that_is_marked_does_not_come_back(
    redis_url: str, raw: Raw, stream: str, error: Exception
) -> None:
    """An exception of its own, raised as it is cancelled, brings no retry and no letter."""
    recorder, seen = RecordingHandler(), Seen()

    async def work(job: Email) -> None:
        recorder.started.append(job.to)
        try:
            await asyncio.sleep(LONG)
        finally:
            raise error

    async with Queue(
        Email,
        work,
        url=redis_url,
        policy=policy(stream, max_retries=0),
        middleware=[seen],
    ) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: recorder.started)
        await queue.cancel(job_id)
        await queue.drain()
    assert recorder.started == ["a"]
    assert len(seen.named("cancelled")) == 1
    assert left(raw, stream) == [0, 0, 0, 0, 0]


async def test_a_job_under_another_entry_is_found(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A retried job waits or runs under an entry of another id, and is found by its own."""
    recorder = RecordingHandler(closed=True)
    async with Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue:
        for name in ("first", "second"):
            raw("XADD", stream, "*", "to", name, "subject", "b", "_id", f"id-{name}")
        assert await queue.cancel("id-first") == "cancelled"
        queue.run()
        await wait_until(lambda: recorder.started)
        assert await queue.cancel("id-second") == "cancelling"
        await queue.drain()
    assert recorder.started == recorder.cancelled == ["second"]


@pytest.mark.parametrize(
    "job_id",
    [
        *("1-1", "nothing", "", "999999999999999999999-0", "99999999999999999999-0"),
        *("1-18446744073709551616", "*", "-", "+", "(1-0", "@cancels", "1-*"),
        *("a\nb", "\0", "\ud800", "\udcff", "\u2028", "x" * 100_000),
    ],
    ids=ascii,
)
async def test_an_unknown_id_is_said_to_be_unknown(
    redis_url: str, raw: Raw, stream: str, job_id: str
) -> None:
    """Nothing is marked for a job that has ended, or never was."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        assert await queue.cancel(job_id) == "not_found"
    assert left(raw, stream) == [0, 0, 0, 0, 0]


async def test_a_job_that_cannot_be_found_is_marked(
    redis_url: str, raw: Raw, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind so many others it is not searched for, and ends when a worker takes it."""
    monkeypatch.setattr("flowd.broker.control._SCAN", 2)
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(3))
        raw("XADD", stream, "*", "to", "far", "subject", "b", "_id", "far-away")
        assert await queue.cancel("far-away") == "cancelling"
        queue.run()
        await queue.drain()
    assert "far" not in recorder.done
    assert left(raw, stream) == [0, 0, 0, 0, 0]


async def test_old_marks_make_room(redis_url: str, raw: Raw, stream: str) -> None:
    """Of 1,000 marks those of an hour ago are given up; younger ones are kept."""
    now = raw("TIME")
    assert isinstance(now, list)
    assert isinstance(now[0], bytes)
    ages = [7_200] * 2 + [60] * 998
    lines = [f"{int(now[0]) - age}000 job{n}" for n, age in enumerate(ages)]
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        ids = [await queue.enqueue(email()) for _ in range(3)]
        raw("XREADGROUP", "GROUP", GROUP, "x", "COUNT", 9, "STREAMS", stream, ">")
        raw("HSET", control_key(stream), "@cancels", "\n".join(["1", *lines]))
        for job_id in ids[:2]:
            assert await queue.cancel(job_id) == "cancelling"
        with pytest.raises(ServerError, match="1,000 running jobs"):
            await queue.cancel(ids[2])
    async with connected(Address.of(redis_url)) as connection:
        marks = await read_marks(Stream(connection, stream, GROUP))
    assert marks.jobs == {*ids[:2], *(f"job{n}" for n in range(2, 1_000))}


async def test_a_shared_stream_is_refused(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What another group reads as well is not deleted under its hands."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        job_id = await queue.enqueue(email())
        raw("XGROUP", "CREATE", stream, "other", "0")
        with pytest.raises(StreamShared):
            await queue.cancel(job_id)
        assert raw("XLEN", stream) == 1


async def test_a_redriven_job_is_not_cancelled_by_an_old_mark(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that died before its worker saw the mark runs when it is redriven."""
    recorder = RecordingHandler()

    async def reject(_: Email) -> None:
        raise Reject("no")

    rules = policy(stream)
    async with Queue(Email, reject, url=redis_url, policy=rules) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await queue.drain()
    async with connected(Address.of(redis_url)) as connection:
        target = Stream(connection, stream, GROUP)
        raw("HSET", control_key(stream), "@cancels", f"1\n9999999999999 {job_id}")
        assert job_id in (await read_marks(target)).jobs
    async with DeadLetters(Email, redis_url, stream=stream) as letters:
        async for letter in letters.list():
            await letters.redrive(letter)
    async with Queue(Email, recorder, url=redis_url, policy=rules) as queue:
        queue.run()
        await queue.drain()
    assert recorder.done == ["a"]
    assert left(raw, stream) == [0, 0, 0, 0, 0]


async def test_marks_of_other_jobs_are_kept(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The end of one cancelled job takes its own mark, and workers see what has changed."""
    recorder = RecordingHandler(closed=True)
    async with Queue(
        Email, recorder, url=redis_url, policy=policy(stream, lease=LONG)
    ) as queue:
        ids = [await queue.enqueue(email(str(number))) for number in range(3)]
        raw("XREADGROUP", "GROUP", GROUP, "other", "COUNT", 1, "STREAMS", stream, ">")
        queue.run()
        await wait_until(lambda: len(recorder.started) == 2)
        for job_id in ids[:2]:
            assert await queue.cancel(job_id) == "cancelling"
        await wait_until(lambda: recorder.cancelled)
        async with connected(Address.of(redis_url)) as connection:
            stream_ = Stream(connection, stream, GROUP)
            await wait_until(lambda: raw("XLEN", stream) == 2)
            assert (await read_marks(stream_)).jobs == {ids[0]}
            assert await cancel_by_id(stream_, ids[2]) == "cancelling"
            await wait_until(lambda: len(recorder.cancelled) == 2)


async def test_a_cleanup_that_fails_is_reported(redis_url: str, stream: str) -> None:
    """What `on_cancelled` raises is an event; the worker goes on."""
    recorder, seen = RecordingHandler(closed=True), Seen()

    async def cleanup(_: Email) -> None:
        raise SystemExit("no")

    async with Queue(
        Email,
        recorder,
        url=redis_url,
        policy=policy(stream),
        middleware=[seen],
        on_cancelled=cleanup,
    ) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: recorder.started)
        await queue.cancel(job_id)
        await wait_until(lambda: seen.named("callback_failed"))
        await queue.drain()
    (failed,) = seen.named("callback_failed")
    assert failed.details["job"] == job_id
    with pytest.raises(OptionError, match="on_cancelled"):
        Queue(Email, recorder, on_cancelled="mail@b.c")  # type: ignore[arg-type]


async def test_producers_cancel(redis_url: str, raw: Raw) -> None:
    """A producer names the class, whose schema names the stream."""
    async with Producer(redis_url) as producer:
        job_id = await producer.enqueue(email())
        assert await producer.cancel(Email, job_id) == "cancelled"
        assert await producer.cancel(Email, job_id) == "not_found"

    def cancel() -> str:
        with SyncProducer(redis_url) as producer:
            return producer.cancel(Email, producer.enqueue(email()))

    assert await asyncio.to_thread(cancel) == "cancelled"
    assert raw("XLEN", "emails") == 0


async def test_jobs_in_memory_are_cancelled() -> None:
    """Users' tests cancel as their programs do."""
    recorder = RecordingHandler()
    queue = MemoryQueue(Email, recorder)
    waiting = await queue.enqueue(email("waiting"))
    delayed = await queue.enqueue(email("delayed"), delay=LONG)
    for job_id in (waiting, delayed):
        assert await queue.cancel(job_id) == "cancelled"
        assert await queue.cancel(job_id) == "not_found"
    await queue.drain()
    assert not recorder.started
    producer, sync = RecordingProducer(), RecordingSyncProducer()
    assert await producer.cancel(Email, await producer.enqueue(email())) == "cancelled"
    assert sync.cancel(Email, sync.enqueue(email())) == "cancelled"


async def test_a_handler_that_does_not_end_is_left_to_its_lease(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """One that swallows its cancellation is stuck after a lease; the next worker ends it."""
    seen, stop = Seen(), asyncio.Event()
    began: list[str] = []

    async def work(job: Email) -> None:
        began.append(job.to)
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue

    def ended() -> bool:
        return bool(seen.named("cancelled"))

    async with Queue(
        Email, work, url=redis_url, policy=policy(stream, lease=0.5), middleware=[seen]
    ) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: began)
        await queue.cancel(job_id)
        await wait_until(ended)
        stop.set()
    assert began == ["a"]
    assert len(seen.named("stuck")) == 1
    assert left(raw, stream) == [0, 0, 0, 0, 0]
