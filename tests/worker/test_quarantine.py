"""A job that workers seem to die of runs alone in its process."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import pytest

from flowd import Claimer, Policy, Queue
from flowd.worker import maintenance
from jobs.email import Email
from tests.support.leases import pending
from tests.support.proxy import proxy_to
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

LEASE = 60.0
"""Seconds; so long that no suspect starts because it is over."""

EAGER = Claimer(interval=0.05)


_ABANDON: Final = """
local id = redis.call('XADD', KEYS[1], '*', 'to', ARGV[1], 'subject', '')
redis.call('XREADGROUP', 'GROUP', 'senders', 'ghost', 'STREAMS', KEYS[1], '>')
local lost = {'IDLE', ARGV[2], 'RETRYCOUNT', ARGV[3]}
redis.call('XCLAIM', KEYS[1], 'senders', 'ghost', 0, id, unpack(lost))
"""


@pytest.fixture(autouse=True)
def _sweep_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sweep comes after a second, though leases are too long to run out."""
    monkeypatch.setattr(maintenance, "RENEWALS_PER_LEASE", 1_000)


class Stage:
    """A queue whose handlers begin at once and end when the test lets them."""

    def __init__(self, url: str, policy: Policy, concurrency: int) -> None:
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.queue = Queue(
            Email,
            self._play,
            url=url,
            policy=policy,
            concurrency=concurrency,
            claimer=EAGER,
        )

    async def _play(self, email: Email) -> None:
        self.begun.append(email.to)
        await self.gates.setdefault(email.to, asyncio.Event()).wait()

    def end(self, *names: str) -> None:
        """Let handlers end."""
        for name in names:
            self.gates.setdefault(name, asyncio.Event()).set()

    async def until(self, *names: str) -> None:
        """Wait until exactly these have begun."""
        await wait_until(lambda: sorted(self.begun) == sorted(names))


def suspect(raw: Raw, stream: str, *names: str) -> None:
    """Add jobs of a consumer that has died twice, which no queue that runs can read."""
    for name in names:
        raw("EVAL", _ABANDON, 1, stream, name, int(LEASE * 1000) + 1, 2)


@asynccontextmanager
async def staged(
    url: str, stream: str, lease: float = LEASE, concurrency: int = 10
) -> AsyncGenerator[Stage]:
    """A stage on a stream of the test's own."""
    policy = replace(Email.SPEC.policy, stream=stream, claim_after=lease)
    stage = Stage(url, policy, concurrency)
    async with stage.queue:
        yield stage


async def enqueue(stage: Stage, *names: str) -> None:
    """Enqueue one e-mail for each name."""
    await stage.queue.enqueue_bulk(Email(to=name, subject="") for name in names)


def abandon(raw: Raw, stream: str, deliveries: int) -> None:
    """Deliver what waits to a consumer that has died so many times."""
    idle = int(LEASE * 1000) + 1
    raw("XREADGROUP", "GROUP", "senders", "ghost", "STREAMS", stream, ">")
    for entry_id, _ in raw.entries(stream):
        lost = ("IDLE", idle, "RETRYCOUNT", deliveries)
        raw("XCLAIM", stream, "senders", "ghost", 0, entry_id, *lost)


async def test_a_suspect_waits_for_the_others(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It begins when nothing else is held, and nothing else begins until it ends."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "first")
        stage.queue.run()
        await stage.until("first")
        suspect(raw, stream, "suspect")
        await _taken_over(raw, stream)
        await enqueue(stage, "second")
        stage.end("first")
        await stage.until("first", "suspect")
        stage.end("second", "suspect")
        await stage.until("first", "suspect", "second")
        await stage.queue.drain()


async def test_two_suspects_do_not_run_together(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The second waits while the first runs; nothing is put back and read again."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "one", "two")
        abandon(raw, stream, 2)
        before = raw.calls("xadd")
        stage.queue.run()
        await stage.until("one")
        first, second = pending(raw, stream, "senders")
        assert (first.deliveries, second.deliveries) == (3, 2)
        stage.end("one", "two")
        await stage.until("one", "two")
        await stage.queue.drain()
        assert raw.calls("xadd") == before


async def test_many_suspects_are_delivered_once_each(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A worker that died twice with many jobs leaves work that is linear in them."""
    number = 60
    async with staged(redis_url, stream) as stage:
        names = [str(each) for each in range(number)]
        await enqueue(stage, *names)
        fields = [each for _, each in raw.entries(stream)]
        raw("XTRIM", stream, "MAXLEN", 0)
        for each in fields:
            crashed = {**each, b"_attempt": b"1", b"_deliveries": b"2"}
            raw(
                "XADD",
                stream,
                "*",
                *(word for pair in crashed.items() for word in pair),
            )
        before, claims = raw.calls("xadd"), raw.calls("xclaim")
        stage.end(*names)
        stage.queue.run()
        await stage.until(*names)
        await stage.queue.drain()
        assert raw.calls("xadd") == before
        assert raw.calls("xclaim") - claims <= 2 * number + 10


async def test_a_suspect_that_waits_is_not_hit_by_a_death(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Only the one that ran counts the death of its worker; those that wait do not."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "killer", "one", "two")
        abandon(raw, stream, 2)
        handle = stage.queue.run()
        await wait_until(lambda: stage.begun)
        # As it would look to another worker, had this one died here.
        held = pending(raw, stream, "senders")
        for each in held:
            raw("XCLAIM", stream, "senders", "next", 0, each.id)
        held = pending(raw, stream, "senders")
        assert [each.deliveries for each in held] == [4, 3, 3]
        stage.end("killer")
        await handle.shutdown()
        assert stage.begun == ["killer"]


async def test_all_queues_of_a_process_make_room(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Another queue of the process starts nothing while a suspect runs."""
    async with (
        staged(redis_url, stream) as stage,
        staged(redis_url, f"{stream}-b") as other,
    ):
        await enqueue(stage, "suspect")
        abandon(raw, stream, 2)
        other.queue.run()
        await enqueue(other, "a")
        await other.until("a")
        stage.queue.run()
        await _taken_over(raw, stream)
        await enqueue(other, "b")
        assert stage.begun == []
        other.end("a", "b")
        await stage.until("suspect")
        assert other.begun == ["a"]
        stage.end("suspect")
        await other.until("a", "b")
        await other.queue.drain()


async def test_a_suspect_starts_after_its_lease_at_the_latest(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """If the others run on for a lease, it runs together with them, and keeps new ones away."""
    async with staged(redis_url, stream, lease=0.2) as stage:
        await enqueue(stage, "long")
        stage.queue.run()
        await stage.until("long")
        suspect(raw, stream, "suspect")
        await stage.until("long", "suspect")
        assert raw("ZCARD", f"{{{stream}}}:delayed") == 0
        stage.end("long", "suspect")
        await stage.queue.drain()


async def test_suspects_start_ten_leases_apart_at_the_latest(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Jobs that never end, and suspects that never end, stop no suspect behind them."""
    async with staged(redis_url, stream, lease=0.1) as stage:
        names = ("one", "two", "three")
        await enqueue(stage, "long")
        stage.queue.run()
        await stage.until("long")
        suspect(raw, stream, *names)
        await stage.until("long", *names)
        stage.end("long", *names)
        await stage.queue.drain()
        assert stage.begun == ["long", *names]


async def test_a_suspect_longer_than_its_lease_runs_without_another(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """The next one begins when it has ended; would that kill, the first counted it."""
    lease, story = 0.2, list[str]()

    async def play(email: Email) -> None:
        story.append(f"{email.to} begins")
        if email.to == "long":
            await asyncio.sleep(4 * lease)  # a job that is longer than its lease
        story.append(f"{email.to} ends")

    policy = replace(Email.SPEC.policy, stream=stream, claim_after=lease)
    async with make_queue(play, rules=policy) as queue:
        for name in ("long", "next"):
            await queue.enqueue(Email(to=name, subject=""))
        abandon(raw, stream, 2)
        queue.run()
        await queue.drain()

    assert story == ["long begins", "long ends", "next begins", "next ends"]


async def test_suspects_with_more_crashes_start_first(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What was hit by a death before runs after the one that is more likely to kill."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "two", "three", "four")
        raw("XREADGROUP", "GROUP", "senders", "ghost", "STREAMS", stream, ">")
        for crashes, (entry_id, _) in enumerate(raw.entries(stream), 2):
            lost = ("IDLE", int(LEASE * 1000) + 1, "RETRYCOUNT", crashes)
            raw("XCLAIM", stream, "senders", "ghost", 0, entry_id, *lost)
        stage.end("two", "three", "four")
        stage.queue.run()
        await stage.queue.drain()
        assert stage.begun == ["four", "three", "two"]


@pytest.mark.parametrize(("crashes", "first"), [(2, "old"), (3, "new"), (4, "old")])
async def test_suspects_with_equal_crashes_change_places(
    redis_url: str, raw: Raw, stream: str, crashes: int, first: str
) -> None:
    """A job that ran together with one that kills runs after that one the next time."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "old", "new")
        abandon(raw, stream, crashes)
        stage.end("old", "new")
        stage.queue.run()
        await stage.queue.drain()
        assert stage.begun[0] == first


async def test_a_suspect_that_does_not_end_stops_no_worker(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """After ten leases other jobs begin again."""
    async with staged(redis_url, stream, lease=0.2) as stage:
        await enqueue(stage, "suspect")
        abandon(raw, stream, 2)
        stage.queue.run()
        await stage.until("suspect")
        await enqueue(stage, "other")
        await stage.until("suspect", "other")
        stage.end("suspect", "other")
        await stage.queue.drain()


@pytest.mark.parametrize("suspects", [1, 3])
async def test_suspects_start_under_a_steady_supply_of_long_jobs(
    redis_url: str, raw: Raw, stream: str, suspects: int
) -> None:
    """Two processes whose jobs outlast the lease, with more waiting: suspects run."""
    names = [f"s{number}" for number in range(suspects)]
    longs = [str(number) for number in range(50)]
    # Another address is another process, as far as a session can see.
    async with (
        staged(redis_url, stream, lease=0.2, concurrency=3) as one,
        proxy_to(redis_url) as proxy,
        staged(proxy.url, stream, lease=0.2, concurrency=3) as two,
    ):
        await enqueue(one, *names)
        abandon(raw, stream, 2)
        await enqueue(one, *longs)
        one.end(*names)
        two.end(*names)

        def begun() -> list[str]:
            # A process that stands still for a lease loses its jobs, which begin again.
            return sorted({n for n in one.begun + two.begun if n.startswith("s")})

        async def turn_over() -> None:
            """End jobs after three leases, so that slots are free from time to time."""
            while True:
                await asyncio.sleep(0.6)  # how long the jobs are, not a wait for flowd
                for stage in (one, two):
                    stage.end(*stage.begun)

        turning = asyncio.create_task(turn_over())
        one.queue.run()
        two.queue.run()
        await wait_until(lambda: begun() == names)
        turning.cancel()
        for stage in (one, two):
            stage.end(*longs)
        await one.queue.drain()


@pytest.mark.parametrize("ends", ["by its lease", "by a shutdown"])
async def test_a_suspect_that_is_no_job_is_buried_where_it_waits(
    redis_url: str, raw: Raw, stream: str, ends: str
) -> None:
    """It is not released, which its size may make impossible for the whole queue."""
    lease = 0.2 if ends == "by its lease" else LEASE
    async with staged(redis_url, stream, lease) as stage:
        fields = [word for number in range(5_000) for word in (f"f{number}", "v")]
        raw("XADD", stream, "*", *fields)
        abandon(raw, stream, 2)
        await enqueue(stage, "long")
        handle = stage.queue.run()
        await stage.until("long")
        if ends == "by a shutdown":
            await _taken_over(raw, stream)
            await handle.shutdown(grace=0)
        await wait_until(lambda: raw("XLEN", f"{{{stream}}}:senders:dlq") == 1)
        assert raw("ZCARD", f"{{{stream}}}:delayed") == 0
        stage.end("long")


async def test_a_shutdown_hands_a_waiting_suspect_back(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A suspect that has not begun is in the stream again after the shutdown.

    The log says of its release which delivery that was, though it was not counted yet.
    """
    caplog.set_level(logging.INFO, "flowd")
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "long")
        handle = stage.queue.run()
        await stage.until("long")
        suspect(raw, stream, "suspect")
        await _taken_over(raw, stream)
        await handle.shutdown(grace=0.0)
        assert stage.begun == ["long"]
        left = {fields[b"to"]: fields for _, fields in raw.entries(stream)}
        assert set(left) == {b"suspect", b"long"}
        assert left[b"suspect"][b"_deliveries"] == b"2"
        records = [vars(each) for each in caplog.records]
        released = [each for each in records if each.get("event") == "release"]
        assert sorted(each["deliveries"] for each in released) == [1, 3]


async def test_a_suspect_inherits_nothing_from_who_made_room(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """The end of another job starts it, and that job's context variables stay there."""
    var = contextvars.ContextVar("var", default="unset")
    seen: dict[str, str] = {}
    go = asyncio.Event()

    async def note(job: Email) -> None:
        seen[job.to] = var.get()
        var.set(job.to)
        if job.to == "first":
            await go.wait()

    policy = replace(Email.SPEC.policy, stream=stream, claim_after=LEASE)
    async with make_queue(note, rules=policy, claimer=EAGER) as queue:
        await queue.enqueue(Email(to="first", subject=""))
        queue.run()
        await wait_until(lambda: seen)
        suspect(raw, stream, "suspect")
        await _taken_over(raw, stream)
        go.set()
        await queue.drain()

    assert seen == {"first": "unset", "suspect": "unset"}


async def test_single_crash_causes_no_quarantine(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The job of a worker that died once runs together with the others."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "a", "b", "c")
        abandon(raw, stream, 1)
        stage.queue.run()
        await stage.until("a", "b", "c")
        stage.end("a", "b", "c")
        await stage.queue.drain()


async def test_a_job_without_crashes_left_needs_no_slot(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that has spent its crashes is dead-lettered while others run."""
    async with staged(redis_url, stream) as stage:
        await enqueue(stage, "killer")
        abandon(raw, stream, Claimer().max_crashes + 1)
        await enqueue(stage, "long")
        stage.queue.run()
        await stage.until("long")
        await wait_until(lambda: raw("XLEN", f"{{{stream}}}:senders:dlq") == 1)
        stage.end("long")
        await stage.queue.drain()
        assert stage.begun == ["long"]


async def _taken_over(raw: Raw, stream: str) -> None:
    await wait_until(
        lambda: not raw("XPENDING", stream, "senders", "-", "+", 9, "ghost")
    )
