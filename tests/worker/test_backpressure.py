"""A worker takes as many jobs as it has free slots; of those that take long, not one more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from itertools import groupby

import pytest

from flowd import OptionError, Queue
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import pending
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


class Turnstile:
    """A handler that counts how many are inside, and lets them out one by one."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.passed = 0
        self.exits = asyncio.Semaphore(0)

    def holds(self, number: int) -> bool:
        """Whether so many are inside."""
        return self.inside == number

    async def __call__(self, job: Email) -> None:
        """Go in, wait for an exit."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.exits.acquire()
        self.inside -= 1
        self.passed += 1


async def test_worker_prefetches_nothing(redis_url: str, raw: Raw, stream: str) -> None:
    """While all slots are busy the rest of the stream has no owner."""
    turnstile = Turnstile()
    async with Queue(
        Email, turnstile, url=redis_url, stream=stream, concurrency=3
    ) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(20))
        queue.run()
        await wait_until(lambda: turnstile.inside == 3)
        assert len(pending(raw, stream, GROUP)) == 3

        # One that ends makes room for one.
        turnstile.exits.release()
        await wait_until(lambda: turnstile.passed == 1 and turnstile.inside == 3)
        await wait_until(lambda: len(pending(raw, stream, GROUP)) == 3)
        assert raw("XLEN", stream) == 19
        for _ in range(19):
            turnstile.exits.release()
        await queue.drain()

    assert (turnstile.most, turnstile.passed) == (3, 20)


@pytest.mark.parametrize("concurrency", [1, 7, 50])
async def test_the_limit_holds_under_load(
    redis_url: str, stream: str, concurrency: int
) -> None:
    """However fast jobs come and go, no more than `concurrency` handlers run."""
    inside, most = 0, 0

    async def handle(job: Email) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1

    async with Queue(
        Email, handle, url=redis_url, stream=stream, concurrency=concurrency
    ) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(400))
        queue.run()
        await queue.drain()

    assert 1 <= most <= concurrency


async def test_the_limit_holds_for_threads(redis_url: str, stream: str) -> None:
    """A plain function uses a thread for each slot, and no more."""
    lock, inside, most = threading.Lock(), 0, 0

    def handle(job: Email) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1

    async with Queue(
        Email, handle, url=redis_url, stream=stream, concurrency=4
    ) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(100))
        queue.run()
        await queue.drain()

    assert 1 <= most <= 4


async def test_every_read_asks_for_the_free_slots(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """COUNT of each XREADGROUP is the number of slots that are free at that moment."""
    turnstile = Turnstile()
    with _slowlog(raw):
        async with Queue(
            Email, turnstile, url=redis_url, stream=stream, concurrency=5
        ) as queue:
            queue.run()
            for total in (2, 4, 5):
                await wait_until(lambda: raw.info("blocked_clients") == "1")
                new = total - turnstile.inside
                await queue.enqueue_bulk(email() for _ in range(new))
                await wait_until(partial(turnstile.holds, total))
            counts = _counts(raw)
            for _ in range(5):
                turnstile.exits.release()
            await queue.drain()

    assert [count for count, _ in groupby(counts)] == [5, 3, 1]


@contextmanager
def _slowlog(raw: Raw) -> Generator[None]:
    """Every command is slow enough to be noted, for as long as this lasts."""
    wanted = {"slowlog-log-slower-than": "0", "slowlog-max-len": "10000"}
    before = {name: raw.setting(name) for name in wanted}
    for name, value in wanted.items():
        raw("CONFIG", "SET", name, value)
    raw("SLOWLOG", "RESET")
    try:
        yield
    finally:
        for name, value in before.items():
            raw("CONFIG", "SET", name, value)


def _counts(raw: Raw) -> list[int]:
    """The COUNT of every XREADGROUP that was noted, oldest first."""
    counts: list[int] = []
    log = raw("SLOWLOG", "GET", 10_000)
    assert isinstance(log, list)
    for note in reversed(log):
        assert isinstance(note, list)
        words = note[3]
        assert isinstance(words, list)
        if words[0] == b"XREADGROUP":
            count = words[words.index(b"COUNT") + 1]
            assert isinstance(count, bytes)
            counts.append(int(count))
    return counts


async def test_a_slow_worker_hoards_nothing(redis_url: str, stream: str) -> None:
    """What one worker has no slot for goes to the other, to the last job."""
    slow, quick = Turnstile(), RecordingHandler()
    queues = [
        Queue(Email, slow, url=redis_url, stream=stream, concurrency=2),
        Queue(Email, quick, url=redis_url, stream=stream, concurrency=2),
    ]
    await queues[0].init()
    queues[0].run()
    await queues[0].enqueue_bulk(email(str(number)) for number in range(200))
    await wait_until(lambda: slow.inside == 2)
    queues[1].run()
    await wait_until(lambda: len(quick.done) == 198)
    for _ in range(2):
        slow.exits.release()
    for queue in queues:
        await queue.aclose()

    assert slow.passed == 2


async def test_twenty_workers_stay_balanced(redis_url: str, stream: str) -> None:
    """Of a thousand jobs each of twenty busy workers gets its share."""
    recorders = [RecordingHandler() for _ in range(20)]
    queues = [
        Queue(Email, recorder, url=redis_url, stream=stream, concurrency=2)
        for recorder in recorders
    ]
    await queues[0].init()
    await queues[0].enqueue_bulk(email(str(number)) for number in range(1000))
    for queue in queues:
        queue.run()
    await queues[0].drain()
    for queue in queues:
        await queue.aclose()

    assert sum(len(recorder.done) for recorder in recorders) == 1000
    assert max(len(recorder.done) for recorder in recorders) <= 250


async def test_an_idle_worker_hears_of_the_next_job(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Reads that ran out empty, again and again, are no fault."""
    names = [str(number) for number in range(5)]
    recorder = RecordingHandler()

    async def idle() -> None:
        before = raw.calls("xreadgroup")
        await wait_until(lambda: raw.calls("xreadgroup") >= before + 5)

    async with Queue(
        Email, recorder, url=redis_url, stream=stream, block=0.001
    ) as queue:
        queue.run()
        for name in names:
            await idle()
            await queue.enqueue(email(name))
            await wait_until(
                lambda: recorder.done[-1:] == [name]  # noqa: B023 - awaited here
            )

    assert recorder.done == names


@pytest.mark.parametrize(
    ("option", "value"),
    [("concurrency", 0), ("concurrency", -1), ("block", 0.0), ("block", 61.0)],
)
def test_limits_that_cannot_be_are_refused(option: str, value: float) -> None:
    """A queue that could run nothing, or wait for nothing, is not built."""
    options = {"concurrency": 1, "block": 1.0, option: value}
    with pytest.raises(OptionError, match=f"{option} is {value}"):
        Queue(
            Email,
            RecordingHandler(),
            url="redis://localhost:1",
            concurrency=int(options["concurrency"]),
            block=options["block"],
        )
