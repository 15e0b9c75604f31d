"""Rates: how many jobs of a key start in a time, by the server's clock."""

from __future__ import annotations

import time

import pytest

from flowd import Concurrency, Context, Gate, Queue, Rate
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.gated import Overlap, gated, leftovers
from tests.support.raw import Raw
from tests.support.waiting import wait_until


class Starts:
    """A handler that records when each job was let through, by the server's clock."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    @property
    def count(self) -> int:
        """How many started."""
        return sum(map(len, self.times.values()))

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one job."""
        self.times.setdefault(job.to, []).append(ctx.queued_at.timestamp())

    def most(self, to: str, span: float) -> int:
        """How many started within any such span, at most."""
        times = self.times[to]
        return max(
            sum(first <= each < first + span for each in times) for first in times
        )


def jobs(job: type[Email], to: str, count: int) -> list[Email]:
    """So many jobs of a key, numbered."""
    return [job(to=to, subject=str(number)) for number in range(count)]


@pytest.mark.parametrize("burst", [1, 5])
async def test_no_span_sees_more_starts_than_the_rate(
    redis_url: str, raw: Raw, stream: str, burst: int
) -> None:
    """celery#4727: the rate was per worker; here two of them share it."""
    job, starts = gated(Gate(rate=Rate(limit=20, every=1, burst=burst))), Starts()
    async with (
        Queue(job, starts, url=redis_url, stream=stream) as one,
        Queue(job, starts, url=redis_url, stream=stream) as two,
    ):
        one.run()
        two.run()
        await one.enqueue_bulk(jobs(job, "a", 30))
        await wait_until(lambda: starts.count == 30)
        await one.drain()
    # Ids of entries are in whole milliseconds.
    assert starts.most("a", 0.449) <= 0.45 * 20 + burst
    took = max(starts.times["a"]) - min(starts.times["a"])
    assert took >= (30 - burst) / 20 - 0.002
    assert [key for key in leftovers(raw, stream) if "clocks" not in key] == []
    await wait_until(lambda: leftovers(raw, stream) == [])


async def test_keys_have_rates_of_their_own(redis_url: str, stream: str) -> None:
    """One key that has used up its rate holds up no other."""
    job = gated(Gate(rate=Rate(per=("to",), limit=1, every=3600)))
    starts = Starts()
    async with Queue(job, starts, url=redis_url, stream=stream) as queue:
        queue.run()
        await queue.enqueue_bulk(jobs(job, "full", 100))
        await queue.enqueue_bulk(job(to=f"free {n}", subject="") for n in range(100))
        await wait_until(lambda: starts.count == 101)
    assert len(starts.times["full"]) == 1


async def test_a_job_pays_what_it_costs(redis_url: str, raw: Raw, stream: str) -> None:
    """The field says for how many a job counts; one that costs nothing is free."""
    job = gated(Gate(rate=Rate(limit=1000, every=1000, burst=10, cost="subject")))
    handler = RecordingHandler()
    async with Queue(job, handler, url=redis_url, stream=stream) as queue:
        queue.run()
        for number, cost in enumerate(("0", "4", "5", "300", "1")):
            await queue.enqueue(job(to=str(number), subject=cost))
        await wait_until(lambda: len(handler.done) == 4)
        due, now = raw("ZSCORE", Keys(stream, "senders").gate[7], "*"), raw("TIME")
        assert isinstance(due, bytes)
        assert isinstance(now, list)
        assert isinstance(now[0], bytes)
        assert 290 < float(due) / 1e6 - int(now[0]) < 310
    assert handler.done == ["0", "1", "2", "3"]


async def test_the_clock_is_the_servers(
    redis_url: str, raw: Raw, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose clock is wrong starts no job sooner."""
    job = gated(Gate(rate=Rate(limit=1, every=3600)))
    handler = RecordingHandler()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    async with Queue(job, handler, url=redis_url, stream=stream) as queue:
        queue.run()
        await queue.enqueue_bulk(jobs(job, "a", 3))
        await wait_until(lambda: handler.done)
        await wait_until(lambda: raw("ZCARD", Keys(stream, "senders").gate[1]) == 2)
        assert len(handler.done) == 1


async def test_a_limit_and_a_rate_hold_together(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """celery#2186: a job waits for both of its keys, and neither is used by one that waits."""
    gate = Gate(
        concurrency=Concurrency(per=("to",), limit=1),
        rate=Rate(per=("subject",), limit=50, every=1, burst=2),
    )
    job, handler, starts = gated(gate), Overlap(0.001), Starts()

    async def work(each: Email, ctx: Context) -> None:
        await starts(each, ctx)
        await handler(each, ctx)

    rules = policy(stream)
    async with Queue(job, work, url=redis_url, policy=rules) as queue:
        queue.run()
        await queue.enqueue_bulk(
            job(to=f"{n % 7}", subject=f"{n % 3}") for n in range(90)
        )
        await queue.drain()
    assert len(handler.done) == 90
    assert handler.most == {f"{key}": 1 for key in range(7)}
    every = [each for times in starts.times.values() for each in times]
    # Each of three rates lets thirty jobs through, two of them at once.
    assert max(every) - min(every) >= (30 - 2) / 50 - 0.002
    await wait_until(lambda: leftovers(raw, stream) == [])
