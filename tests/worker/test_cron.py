"""Schedules on real servers: each tick has its turn once, whichever workers run."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from flowd import Concurrency, Context, Gate, Queue, Schedule
from flowd.broker.cron import register_schedules, tick
from flowd.broker.session import connected
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.schedule import LATE, MOST_MISSED, Tick, digest_of
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.gated import gated
from tests.support.raw import Raw
from tests.support.scheduled import ARGUMENTS, every, scheduled
from tests.support.waiting import wait_until

HOUR = 3_600.0


def cron_key(stream: str) -> str:
    """Where the schedules of a queue are."""
    return f"{{{stream}}}:senders:cron"


def text(reply: object) -> str:
    """An answer as text."""
    assert isinstance(reply, bytes)
    return reply.decode()


def ids(recorder: RecordingHandler) -> list[str]:
    """The ids of the jobs that began, in that order."""
    return [ctx.id for ctx in recorder.contexts]


def rewind(raw: Raw, stream: str, seconds: float, name: str = "nightly") -> None:
    """Make as if the last tick had its turn so long ago."""
    at = int((time.time() - seconds) * 1000)
    raw("HSET", cron_key(stream), f"{name}:tick", str(at))


async def test_a_tick_enqueues_its_job_under_its_id(
    redis_url: str, stream: str
) -> None:
    """The handler gets the declared arguments, and an id that names schedule and time."""
    recorder = RecordingHandler()
    job_class = scheduled(every(1))
    began = time.time()
    async with Queue(
        job_class, recorder, url=redis_url, policy=policy(stream)
    ) as queue:
        queue.run()
        await wait_until(lambda: len(recorder.done) >= 2)
    assert set(recorder.started) == {"nightly"}
    assert all(each.startswith("cron:nightly:20") for each in ids(recorder))
    assert len(set(ids(recorder))) == len(ids(recorder))
    assert time.time() >= began + 1.0


async def test_many_workers_tick_once(redis_url: str, stream: str) -> None:
    """Five workers with three schedules enqueue each tick once."""
    recorder = RecordingHandler()
    # Of several that are due at once each has its turn, however late the workers are.
    names = {"one": 1, "two": 1, "three": 2}
    job_class = scheduled(*(every(names[n], n, missed="all") for n in names))
    # None of them takes over a job of another that stands still for a moment.
    rules = policy(stream, lease=60.0)
    queues = [Queue(job_class, recorder, url=redis_url, policy=rules) for _ in range(5)]
    for queue in queues:
        await queue.init()
        queue.run()
    await wait_until(lambda: len(recorder.done) >= 6)
    for queue in queues:
        await queue.aclose()
    # A release without schedules runs what is left of theirs.
    async with Queue(Email, recorder, url=redis_url, policy=rules) as rest:
        rest.run()
        await rest.drain()
    assert max(Counter(ids(recorder)).values()) == 1
    one, two, three = (
        {_second(each) for each in ids(recorder) if f":{name}:" in each}
        for name in names
    )
    # The workers end while ticks of one second have had their turn and others have not.
    end = min(max(each, default=0) for each in (one, two, three))
    ticked_by_all = [{each for each in ticks if each <= end} for ticks in (one, two)]
    assert ticked_by_all[0] == ticked_by_all[1]
    assert {each for each in three if each <= end} == {
        each for each in ticked_by_all[0] if each % 2 == 0
    }


async def test_a_retry_keeps_the_ticks_id(redis_url: str, stream: str) -> None:
    """A run that fails is tried again under the same id."""
    seen: list[tuple[str, int]] = []

    async def fail_once(_: Email, ctx: Context) -> None:
        seen.append((ctx.id, ctx.attempt))
        if ctx.attempt == 1:
            raise ValueError("once")

    job_class = scheduled(every(1))
    async with Queue(
        job_class, fail_once, url=redis_url, policy=policy(stream)
    ) as queue:
        queue.run()
        await wait_until(lambda: [attempt for _, attempt in seen].count(2) >= 1)
    retried = next(job for job, attempt in seen if attempt == 2)
    assert (retried, 1) in seen


async def test_the_first_registration_runs_nothing_of_the_past(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A schedule that is new begins now, and one that is changed as well."""
    rules = policy(stream)
    for age in (50 * HOUR, 60 * HOUR):
        recorder = RecordingHandler()
        # A turn of the second one shows that the first one had its own.
        schedules = ticked(age), every(1, name="each-second")
        queue = Queue(scheduled(*schedules), recorder, url=redis_url, policy=rules)
        async with queue:
            queue.run()
            await wait_until(lambda: recorder.done)  # noqa: B023 - awaited here
        assert {each.split(":")[1] for each in ids(recorder)} == {"each-second"}
        rewind(raw, stream, 100 * HOUR)


@pytest.mark.parametrize(("missed", "runs"), [("skip", 0), ("once", 1), ("all", 24)])
async def test_missed_ticks_follow_their_rule(
    redis_url: str, raw: Raw, stream: str, missed: str, runs: int
) -> None:
    """After a day without workers: none of the ticks runs, the last, or all of them."""
    schedule = late(missed)
    recorder = RecordingHandler()
    queue = Queue(scheduled(schedule), recorder, url=redis_url, policy=policy(stream))
    await queue.init()
    rewind(raw, stream, 24 * HOUR)
    before = raw("HGET", cron_key(stream), "nightly:tick")
    async with queue:
        queue.run()
        await wait_until(
            lambda: raw("HGET", cron_key(stream), "nightly:tick") != before
        )
        await wait_until(lambda: len(recorder.done) >= runs)
        await queue.drain()
    assert len(recorder.done) == runs
    assert ids(recorder) == sorted(ids(recorder))


def late(missed: str) -> Schedule:
    """Hourly, and two minutes past its last tick at any time of the test."""
    minute = (int(time.time() // 60) - 2) % 60
    return Schedule(
        name="nightly",
        at=f"{minute} * * * *",
        fields=ARGUMENTS,
        missed=missed,  # type: ignore[arg-type]
    )


async def test_missed_ticks_are_no_flood(redis_url: str, raw: Raw, stream: str) -> None:
    """Of a week of ticks a minute, `all` runs the last ones up to its bound."""
    recorder = RecordingHandler()
    schedule = every(60, missed="all")
    queue = Queue(scheduled(schedule), recorder, url=redis_url, policy=policy(stream))
    await queue.init()
    rewind(raw, stream, 7 * 24 * HOUR)
    async with queue:
        queue.run()
        await wait_until(lambda: len(recorder.done) >= MOST_MISSED)
        await queue.drain()
    assert MOST_MISSED <= len(recorder.done) <= MOST_MISSED + 1


async def test_a_run_that_is_alive_is_not_overlapped(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """With `overlap = "skip"` a tick passes while the run before it waits for a retry."""
    runs: list[str] = []

    async def work(_: Email, ctx: Context) -> None:
        runs.append(ctx.id)
        if ctx.attempt < 3:
            raise ValueError("again")

    job_class = scheduled(every(1, overlap="skip"))
    rules = policy(stream, backoff=0.6)  # two of them are longer than a second
    async with Queue(job_class, work, url=redis_url, policy=rules) as queue:
        queue.run()
        await wait_until(lambda: len(runs) >= 4)
    assert len(set(runs[:3])) == 1
    assert runs[3] != runs[0]
    assert raw("HGET", cron_key(stream), "nightly:run") is not None


async def test_a_retried_run_of_a_gated_queue_is_alive(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A retry that comes to the gate is promoted as any other: its schedule knows it."""
    entries: list[str] = []
    released = asyncio.Event()

    async def work(_: Email, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError("again")
        entries.append(text(raw("HGET", cron_key(stream), "nightly:entry")))
        await released.wait()

    gate = Gate(concurrency=Concurrency(limit=5))
    job_class = gated(gate, scheduled(every(1, overlap="skip")))
    rules = policy(stream, backoff=0.01)
    async with Queue(job_class, work, url=redis_url, policy=rules) as queue:
        queue.run()
        await wait_until(lambda: entries)
        assert raw("XRANGE", stream, entries[0], entries[0])
        released.set()


async def test_a_run_that_was_deleted_does_not_hold_its_schedule(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that an operator deleted is not alive, so the next tick runs."""
    recorder = RecordingHandler(closed=True)
    job_class = scheduled(every(1, overlap="skip"))
    async with Queue(
        job_class, recorder, url=redis_url, policy=policy(stream)
    ) as queue:
        queue.run()
        await wait_until(lambda: recorder.started)
        raw("XDEL", stream, text(raw("HGET", cron_key(stream), "nightly:entry")))
        await wait_until(lambda: len(recorder.started) == 2)
        recorder.gate.set()


async def with_stream(
    redis_url: str, stream: str, act: Callable[[Stream], object]
) -> None:
    """Do something with the stream, over a connection that is closed afterwards."""
    async with connected(Address.of(redis_url)) as connection:
        await act(Stream(connection, stream, "senders"))  # type: ignore[misc]


async def test_a_wrong_clock_fires_nothing_early(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A tick ahead of the server's clock is refused, and runs when its time comes."""
    schedule = ticked(5.0)

    async def act(queue: Stream) -> None:
        await register_schedules(queue, [schedule])
        ahead = datetime.fromtimestamp(time.time() + HOUR, UTC)
        early = Tick(ahead, schedule.job_id(ahead))
        done = await tick(queue, digest_of([schedule]), schedule, [early])
        assert done.registered
        assert done.stored == done.passed == 0
        assert done.recorded < early.ms / 1000

    await with_stream(redis_url, stream, act)
    assert raw("XLEN", stream) == 0


async def test_a_workers_own_clock_is_not_asked(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose clock is a day ahead ticks by the server's."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    recorder = RecordingHandler()
    async with Queue(
        scheduled(every(1)), recorder, url=redis_url, policy=policy(stream)
    ) as queue:
        queue.run()
        await wait_until(lambda: recorder.done)
    assert abs(_second(ids(recorder)[0]) - real()) < HOUR


async def test_two_releases_never_both_fire(redis_url: str, stream: str) -> None:
    """While two versions of a schedule run, only the ticks of the newer one do."""
    old, new = RecordingHandler(), RecordingHandler()
    rules = policy(stream, lease=60.0)
    before = Queue(scheduled(every(1)), old, url=redis_url, policy=rules)
    after = Queue(
        scheduled(every(1, "hourly"), every(2)), new, url=redis_url, policy=rules
    )
    async with before:
        before.run()
        await wait_until(lambda: old.done)
        async with after:
            after.run()
            count = len(old.contexts) + len(new.contexts)
            await wait_until(lambda: len(old.contexts) + len(new.contexts) >= count + 6)
    found = [*ids(old), *ids(new)]
    assert max(Counter(found).values()) == 1
    odd = [each for each in found if ":nightly:" in each and _second(each) % 2]
    hourly = [each for each in found if ":hourly:" in each]
    # A tick of the old release that ran before the new one came is the only odd one.
    assert all(_second(each) <= _second(hourly[0]) for each in odd)


def _second(job_id: str) -> int:
    """The second of a tick, as the server's clock counts."""
    return int(datetime.fromisoformat(job_id.split(":", 2)[2]).timestamp())


async def test_a_schedule_that_is_removed_is_gone(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Workers of the former release tick no more once the next one was set up."""
    schedule = every(1)

    async def act(queue: Stream) -> None:
        await register_schedules(queue, [schedule])
        async with Queue(Email, RecordingHandler(), url=redis_url, stream=stream):
            pass
        rewind(raw, stream, 10.0)
        now = datetime.fromtimestamp(time.time() - 1.0, UTC)
        due = Tick(now, schedule.job_id(now))
        done = await tick(queue, digest_of([schedule]), schedule, [due])
        assert not done.registered
        assert done.stored == done.passed == 0

    await with_stream(redis_url, stream, act)
    assert raw("XLEN", stream) == 0


async def test_a_release_that_died_is_replaced(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Schedules of which no worker was seen for a minute make way for those that run."""
    recorder = RecordingHandler()
    async with Queue(
        scheduled(every(1)), recorder, url=redis_url, policy=policy(stream)
    ) as queue:
        await register(redis_url, stream, every(2))
        long_ago = str(int((time.time() - 61) * 1000))
        raw("HSET", cron_key(stream), "@seen", long_ago)
        queue.run()
        await wait_until(lambda: recorder.done)


async def register(redis_url: str, stream: str, *schedules: Schedule) -> None:
    """Register schedules as the init of a release does."""

    async def act(queue: Stream) -> None:
        await register_schedules(queue, schedules)

    await with_stream(redis_url, stream, act)


async def test_schedules_survive_a_server_that_lost_everything(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Where nothing is registered any more, running workers register theirs again."""
    recorder = RecordingHandler()
    async with Queue(
        scheduled(every(1)), recorder, url=redis_url, policy=policy(stream)
    ) as queue:
        queue.run()
        await wait_until(lambda: recorder.done)
        raw("DEL", cron_key(stream))
        count = len(recorder.done)
        await wait_until(lambda: len(recorder.done) >= count + 2)
    assert max(Counter(ids(recorder)).values()) == 1


async def test_a_paused_schedule_passes_its_ticks(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """While it is paused, ticks are recorded, and none of them runs afterwards."""
    recorder = RecordingHandler()
    async with Queue(
        scheduled(every(1, missed="all")),
        recorder,
        url=redis_url,
        policy=policy(stream),
    ) as queue:
        raw("HSET", cron_key(stream), "nightly:paused", "1")
        queue.run()
        before = raw("HGET", cron_key(stream), "nightly:tick")
        key = cron_key(stream), "nightly:tick"
        await wait_until(lambda: raw("HGET", *key) != before)
        assert recorder.started == []
        passed = int(text(raw("HGET", *key)))
        raw("HDEL", cron_key(stream), "nightly:paused")
        await wait_until(lambda: recorder.done)
    assert min(map(_second, ids(recorder))) * 1000 > passed


def ticked(age: float, name: str = "nightly") -> Schedule:
    """A schedule whose last tick was so many seconds ago, and the next is in years."""
    return every((int(time.time()) - age) / 4, name)


async def test_a_tick_that_a_failover_lost_runs_again(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A tick whose record is lost has its turn again once the link is replaced."""
    recorder = RecordingHandler()
    job_class = scheduled(ticked(5.0), ticked(6.0, "kept"))
    async with Queue(
        job_class, recorder, url=redis_url, policy=policy(stream)
    ) as queue:
        for name in ("nightly", "kept"):
            rewind(raw, stream, 30.0, name)
        queue.run()
        await wait_until(lambda: len(recorder.done) == 2)
        rewind(raw, stream, 30.0)
        raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await wait_until(lambda: len(recorder.done) == 3)
    first, *_, last = sorted(Counter(ids(recorder)).items())
    assert first[0].startswith("cron:kept:")
    assert (first[1], last[1]) == (1, 2)


async def test_a_tick_that_a_backup_lost_does_not_run_again(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A tick that is missed by now is not repeated by a worker that has seen it."""
    recorder = RecordingHandler()
    # A turn of the second one shows that the first one had its own.
    job_class = scheduled(ticked(LATE + 20.0), every(1, "each-second"))
    async with Queue(
        job_class, recorder, url=redis_url, policy=policy(stream)
    ) as queue:
        rewind(raw, stream, 2 * LATE)
        queue.run()
        await wait_until(lambda: len(nightly(recorder)) == 1)
        rewind(raw, stream, 2 * LATE)
        raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        count = len(recorder.done)
        await wait_until(lambda: len(recorder.done) >= count + 2)
    assert len(nightly(recorder)) == 1


def nightly(recorder: RecordingHandler) -> list[str]:
    """The ids of what that schedule has enqueued."""
    return [each for each in ids(recorder) if each.startswith("cron:nightly:")]
