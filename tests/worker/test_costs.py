"""What a job costs, counted and not timed: commands, tasks, and what is left of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowd import Concurrency, Gate, Item, Queue, Reject
from flowd.broker.commands import enqueue_command
from flowd.broker.connection import Connection
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.gated import gated
from tests.support.monitor import Monitor
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
JOBS = 1_000
SETUP = 30
"""Commands of the connections: handshakes, scripts sent whole, maintenance, shutdown."""


async def enqueue(queue: Queue[Email], producers: int) -> None:
    """Enqueue so many jobs one by one, in so many coroutines at once."""

    async def produce() -> None:
        for number in range(JOBS // producers):
            await queue.enqueue(email(str(number)))

    await asyncio.gather(*(produce() for _ in range(producers)))


async def work(queue: Queue[Email], recorder: RecordingHandler) -> None:
    """Handle and settle all that was enqueued, and leave."""
    handle = queue.run()
    await wait_until(lambda: len(recorder.done) == JOBS)
    await handle.shutdown()


@pytest.mark.parametrize("producers", [1, 50])
async def test_a_job_is_enqueued_with_one_command(
    redis_url: str, stream: str, producers: int
) -> None:
    """Enqueuing takes one command for each job at most, however many do it at once."""
    async with Queue(Email, RecordingHandler(), url=redis_url, stream=stream) as queue:
        with Monitor(redis_url) as monitor:
            await enqueue(queue, producers)
            sent = monitor.sent()

    assert sent.total() <= JOBS + SETUP, sent


# A batch is half of many slots, and all of few: it takes 20 and 100 to run them all.
@pytest.mark.parametrize(("concurrency", "batches"), [(100, 40), (10, 200)])
async def test_jobs_are_read_and_settled_in_batches(
    redis_url: str, raw: Raw, stream: str, concurrency: int, batches: int
) -> None:
    """A batch takes one read and one settling, and its acks are one command inside it."""
    recorder = RecordingHandler()
    queue = Queue(
        Email, recorder, url=redis_url, stream=stream, concurrency=concurrency
    )
    await queue.enqueue_bulk(email(str(number)) for number in range(JOBS))
    raw("CONFIG", "RESETSTAT")
    with Monitor(redis_url) as monitor:
        await work(queue, recorder)
        sent = monitor.sent()
    await queue.aclose()

    assert sent["XREADGROUP"] <= batches, sent
    assert sent.total() - sent["XREADGROUP"] <= batches + SETUP, sent
    assert 0 < raw.calls("xack") <= batches + SETUP
    # Acks of one read are a run; those of two may be in one settle, and are two.
    assert raw.calls("xtrim") + raw.calls("xdel") <= 2 * batches + SETUP
    assert raw.calls("xrange") <= 2 * batches + SETUP
    assert raw.calls("xpending") <= 2 * batches + SETUP
    assert raw.calls("xadd") == 0


@pytest.mark.parametrize("jobs", [1, 50, 500])
async def test_a_batch_of_acks_takes_five_commands(
    redis_url: str, raw: Raw, stream: str, jobs: int
) -> None:
    """It is one call with one argument a job, looks at each once, and answers a number."""
    connection = Connection(Address.of(redis_url))
    place = Stream(connection, stream, GROUP)

    async def settle(count: int, *, keep_receipts: bool) -> None:
        await place.enqueue([enqueue_command(email(str(n))) for n in range(count)])
        held = [Delivery(entry, 0.0) for entry in await place.read("a", count)]
        settled = await place.settle("a", held, [], keep_receipts=keep_receipts)
        assert settled == [1] * count

    try:
        await place.init("0")
        await settle(1, keep_receipts=True)
        with Monitor(redis_url) as asked, Monitor(redis_url) as done:
            await settle(jobs, keep_receipts=False)
            inside = done.words(inside=True)
            (call,) = (words for name, words in asked.words() if name == "EVALSHA")
    finally:
        await connection.aclose()

    assert [name for name, _ in inside] == ["XINFO", "XPENDING", "XACK", "XDEL", "HSET"]
    assert call == jobs + 18
    # The receipt is what was answered.
    receipt = raw("HGET", place.keys.receipts, "a")
    assert isinstance(receipt, bytes)
    assert len(receipt) < 8


async def test_a_batch_of_acks_looks_at_little_else(
    redis_url: str, stream: str
) -> None:
    """Of thousands that run, a settle of one looks at one, and of ten at twenty."""
    connection = Connection(Address.of(redis_url))
    place = Stream(connection, stream, GROUP)
    try:
        await place.init("0")
        for _ in range(4):
            await place.enqueue([enqueue_command(email()) for _ in range(500)])
        held = [Delivery(entry, 0.0) for entry in await place.read("a", 2_000)]
        with Monitor(redis_url) as monitor:
            for batch, rows in ((held[700:701], 2), (held[800:810], 20)):
                await place.settle("a", batch, [])
                assert monitor.rows() <= rows
    finally:
        await connection.aclose()


async def test_delayed_jobs_of_a_batch_are_stored_together(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A batch of them is one call of a script, which writes two keys once."""
    async with Queue(Email, RecordingHandler(), url=redis_url, stream=stream) as queue:
        await queue.enqueue(email(), delay=60.0)  # the server knows the script
        raw("CONFIG", "RESETSTAT")
        with Monitor(redis_url) as monitor:
            jobs = (Item(email(str(n)), delay=60.0) for n in range(500))
            await queue.enqueue_bulk(jobs)
            (words,) = (each for name, each in monitor.words() if name == "EVALSHA")
    assert raw.calls("evalsha") == raw.calls("zadd") == raw.calls("hset") == 1
    assert words == 4 * 500 + 6


async def test_jobs_of_a_batch_that_are_parked_are_stored_together(
    redis_url: str, stream: str
) -> None:
    """200 jobs of one key are one call of a script, which runs few commands."""
    job = gated(Gate(concurrency=Concurrency(per=("to",), limit=1)))
    rules, handler = policy(stream), RecordingHandler()
    async with Queue(job, handler, url=redis_url, policy=rules) as queue:
        await queue.enqueue(job(to="a", subject="hi"))
        with Monitor(redis_url) as asked, Monitor(redis_url) as done:
            await queue.enqueue_bulk(job(to="a", subject="hi") for _ in range(200))
            inside = done.words(inside=True)
            (words,) = (each for name, each in asked.words() if name == "EVALSHA")
    assert words < 5 * 200 + 25
    assert len(inside) < 25, inside


async def test_delayed_job_takes_a_bounded_room(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A delayed job of a dozen bytes takes 400 with all that is kept of it."""
    async with Queue(Email, RecordingHandler(), url=redis_url, stream=stream) as queue:
        jobs = (Item(email(str(number)), delay=60.0) for number in range(JOBS))
        await queue.enqueue_bulk(jobs)
    keys = Keys(stream, GROUP)
    assert memory(raw, keys.delayed) + memory(raw, keys.bodies) < 400 * JOBS


async def test_large_jobs_that_fail_are_settled_in_several_steps(
    redis_url: str, raw: Raw, make_queue: MakeQueue
) -> None:
    """A step moves a megabyte of jobs and the one that reaches it, however many failed."""
    started, ready = 0, asyncio.Event()

    async def fail(_: Email) -> None:
        nonlocal started
        started += 1
        if started == 12:
            ready.set()  # the others go on in one turn, however slow each is
        await ready.wait()
        raise Reject("no")

    async with make_queue(fail, concurrency=12) as queue:
        large = Email(to="a", subject="hi", body="x" * 200_000)
        await queue.enqueue_bulk(large for _ in range(12))
        with Monitor(redis_url) as monitor:
            queue.run()
            await queue.drain()
            steps = [batch for batch in monitor.moved() if batch]
    assert sum(steps) == 12
    assert max(steps) == 5


async def test_settled_job_leaves_nothing_behind(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Done jobs leave an empty stream with its group, less than a bit each."""
    recorder = RecordingHandler()
    queue = Queue(Email, recorder, url=redis_url, stream=stream, concurrency=100)
    await queue.init()
    keys, empty = raw("KEYS", "*"), memory(raw, stream)
    await queue.enqueue_bulk(email(str(number)) for number in range(JOBS))
    await work(queue, recorder)
    await queue.aclose()

    assert isinstance(keys, list)
    assert sorted(map(str, keys)) == sorted([str(stream.encode()), "b'flowd:queues'"])
    assert raw("DBSIZE") == len(keys)
    assert memory(raw, stream) - empty < JOBS / 8


async def test_a_job_takes_one_task(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading, running and settling a job makes its handler's task, and no other."""
    recorder = RecordingHandler()
    queue = Queue(Email, recorder, url=redis_url, stream=stream, concurrency=100)
    await queue.enqueue_bulk(email(str(number)) for number in range(JOBS))
    Counted.made = 0
    monkeypatch.setattr(asyncio, "Task", Counted)
    asyncio.get_running_loop().set_task_factory(Counted.make)
    await work(queue, recorder)
    await queue.aclose()

    assert JOBS <= Counted.made <= JOBS + JOBS / 10


class Counted(asyncio.Task[Any]):
    """A task that is counted, whether the loop makes it or flowd does."""

    made = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        Counted.made += 1

    @classmethod
    def make(
        cls, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """Make one, as a loop's task factory."""
        return cls(coroutine, loop=loop, **options)


def memory(raw: Raw, key: str) -> int:
    """Bytes that a key takes, all of it looked at."""
    size = raw("MEMORY", "USAGE", key, "SAMPLES", 0)
    assert isinstance(size, int)
    return size


async def test_due_jobs_prevent_blocking_reads(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """While delayed jobs are due, a worker does not wait for new ones in between."""
    recorder = RecordingHandler()
    queue = Queue(Email, recorder, url=redis_url, stream=stream, concurrency=100)
    await queue.init()
    await queue.enqueue_bulk(Item(email(str(n)), delay=0.001) for n in range(1_000))
    with Monitor(redis_url) as monitor:
        handle = queue.run()
        await wait_until(lambda: len(recorder.done) == 1_000)
        sent = monitor.sent()
        await handle.shutdown()
    await queue.aclose()

    # Ten promotions of a hundred, and a read of fifty or two after each.
    assert sent["XREADGROUP"] <= 30
