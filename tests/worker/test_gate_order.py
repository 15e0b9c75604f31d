"""Fairness and priority: whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from flowd import Concurrency, Fair, Gate, OptionError, Priority, Queue, Rate
from flowd.model.gate import Gate as _Gate
from flowd.model.item import Item
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import policy
from tests.support.gated import gated, leftovers
from tests.support.raw import Raw
from tests.support.waiting import wait_until

FAIR = Gate(fair=Fair(per=("to",)))
LEVELS = Gate(priority=Priority(field="to", order=("high", "normal", "low")))


@asynccontextmanager
async def busy_slot(
    job: type[Email], redis_url: str, stream: str, to: str
) -> AsyncGenerator[tuple[Queue[Email], list[Email], asyncio.Semaphore]]:
    """A queue whose only slot has a job; it starts another at each release.

    Yields the queue, the jobs in the order of their start, and what releases the slot.
    """
    started, turn = list[Email](), asyncio.Semaphore(0)

    async def work(each: Email) -> None:
        started.append(each)
        await turn.acquire()

    async with Queue(
        job, work, url=redis_url, policy=policy(stream), concurrency=1
    ) as queue:
        queue.run()
        await wait_for_reads(redis_url, stream, 1)
        await queue.enqueue(job(to=to, subject="blocks"))
        await wait_until(lambda: started)
        yield queue, started, turn


async def order_of(
    gate: _Gate, redis_url: str, stream: str, batches: Sequence[Sequence[Email]]
) -> list[tuple[str, str]]:
    """The order in which one slot runs what was enqueued before it was free."""
    job, to = gated(gate), batches[0][0].to
    async with busy_slot(job, redis_url, stream, to) as (queue, started, turn):
        for batch in batches:
            await queue.enqueue_bulk(job(to=e.to, subject=e.subject) for e in batch)
        for _ in range(1 + sum(map(len, batches))):
            turn.release()
        await queue.drain()
    return [(each.to, each.subject) for each in started[1:]]


async def wait_for_reads(redis_url: str, stream: str, workers: int) -> None:
    """Return once so many workers have asked for jobs, and wait for them."""
    want = Keys(stream, "senders").gate[10]
    with Raw(redis_url) as raw:
        await wait_until(lambda: raw("HLEN", want) == workers)


def some(to: str, count: int, first: int = 0) -> list[Email]:
    """So many jobs of one."""
    return [Email(to=to, subject=str(first + number)) for number in range(count)]


async def test_a_tenant_with_many_jobs_does_not_delay_the_others(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """graphile/worker#331: ten jobs behind a thousand of another take turns with them."""
    order = await order_of(
        FAIR, redis_url, stream, [some("many", 1000), some("few", 10)]
    )
    assert len(order) == 1010
    assert [to for to, _ in order[:21]].count("few") >= 9
    for to in ("many", "few"):
        mine = [int(number) for key, number in order if key == to]
        assert mine == sorted(mine)
    assert leftovers(raw, stream) == []


async def test_turns_go_by_the_tenant_and_not_by_its_lanes(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A tenant with many hosts gets no more turns than one with a single host."""
    gate = Gate(
        fair=Fair(per=("to",)), concurrency=Concurrency(per=("subject",), limit=1)
    )
    order = await order_of(gate, redis_url, stream, [some("many", 200), some("few", 5)])
    assert [to for to, _ in order[:14]].count("few") >= 4
    assert leftovers(raw, stream) == []


async def test_a_tenant_that_comes_again_waits_for_its_turn(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """One whose jobs all share a lane needs no turn that outlives it: none is written down."""
    job, turns = gated(FAIR), Keys(stream, "senders").gate[6]
    async with busy_slot(job, redis_url, stream, "z") as (queue, started, turn):
        for to in ("a", "b", "c"):
            await queue.enqueue_bulk(job(to=to, subject=str(n)) for n in range(2))
        turn.release()
        await wait_until(lambda: len(started) == 2)
        await queue.enqueue(job(to="z", subject="again"))
        assert not raw("EXISTS", turns)
        for _ in range(8):
            turn.release()
        await queue.drain()
    order = [each.to for each in started]
    assert order[:4] == list("zabc")
    assert sorted(order[4:]) == list("abcz")
    assert leftovers(raw, stream) == []


async def test_idle_capacity_stays_usable(redis_url: str, stream: str) -> None:
    """A tenant that is alone has all slots."""
    job, running, gate = gated(FAIR), 0, asyncio.Event()

    async def work(_: Email) -> None:
        nonlocal running
        running += 1
        await gate.wait()

    async with Queue(job, work, url=redis_url, stream=stream, concurrency=50) as queue:
        queue.run()
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(500))
        await wait_until(lambda: running == 50)
        gate.set()
        await queue.drain()


async def test_two_idle_workers_share_what_comes(redis_url: str, stream: str) -> None:
    """Each gets what it has asked for, and none waits while jobs are parked."""
    job, gate, counts = gated(FAIR), asyncio.Event(), {"one": 0, "two": 0}

    async def one(_: Email) -> None:
        counts["one"] += 1
        await gate.wait()

    async def two(_: Email) -> None:
        counts["two"] += 1
        await gate.wait()

    async with (
        Queue(job, one, url=redis_url, stream=stream) as first,
        Queue(job, two, url=redis_url, stream=stream) as second,
    ):
        first.run()
        second.run()
        await wait_for_reads(redis_url, stream, 2)
        await first.enqueue_bulk(job(to="a", subject=str(n)) for n in range(100))
        await wait_until(lambda: counts == {"one": 10, "two": 10})
        gate.set()
        await first.drain()


async def test_a_higher_level_goes_first(redis_url: str, raw: Raw, stream: str) -> None:
    """Nothing of a lower level that has not started goes ahead, but one in eight."""
    batches = [some("low", 20), some("normal", 20), some("high", 20)]
    order = await order_of(LEVELS, redis_url, stream, batches)
    assert [to for to, _ in order[:7]].count("high") >= 6
    highs = [at for at, (to, _) in enumerate(order) if to == "high"]
    assert highs[-1] <= 20 * 8 / 7 + 1
    for to in ("low", "normal", "high"):
        mine = [int(number) for key, number in order if key == to]
        assert mine == sorted(mine)
    assert leftovers(raw, stream) == []


async def test_one_start_in_eight_is_the_oldest_jobs(
    redis_url: str, stream: str
) -> None:
    """taskcluster#9131, asynq#314: under a steady supply of higher jobs low ones starved."""
    order = await order_of(
        LEVELS, redis_url, stream, [some("low", 5), some("high", 100)]
    )
    lows = [at for at, (to, _) in enumerate(order) if to == "low"]
    assert lows[0] <= 8
    assert lows[-1] <= 41


async def test_levels_hold_across_the_lanes_of_a_limit(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A high job of one customer goes ahead of the low ones of all others."""
    gate = Gate(
        concurrency=Concurrency(per=("subject",), limit=1),
        priority=Priority(field="to", order=("high", "low")),
    )
    order = await order_of(gate, redis_url, stream, [some("low", 50), some("high", 5)])
    assert [to for to, _ in order[:7]].count("high") >= 5
    assert leftovers(raw, stream) == []


async def test_a_level_is_given_at_the_call(redis_url: str, stream: str) -> None:
    """By name; one that the schema does not know is refused before anything is sent."""
    job = gated(Gate(priority=Priority()))
    async with busy_slot(job, redis_url, stream, "blocks") as (queue, started, turn):
        await queue.enqueue(job(to="low", subject=""), priority="low")
        await queue.enqueue(job(to="usual", subject=""))
        await queue.enqueue_bulk([Item(job(to="high", subject=""), priority="high")])
        with pytest.raises(OptionError, match="high, normal, low"):
            await queue.enqueue(job(to="x", subject=""), priority="urgent")
        for _ in range(4):
            turn.release()
        await queue.drain()
    assert [each.to for each in started] == ["blocks", "high", "usual", "low"]
    async with Queue(Email, lambda _: None, url=redis_url, stream=stream) as plain:
        with pytest.raises(OptionError, match="declares no priority"):
            await plain.enqueue(Email(to="x", subject=""), priority="high")


async def test_a_cancelled_job_leaves_the_lane_of_an_order_with_a_rate(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Who cancels does not know the rules by which the job found its lane."""
    ordered = Concurrency(per=("to",), limit=1, ordered=True)
    rate = Rate(per=("subject",), limit=10, every=60.0)
    job = gated(Gate(concurrency=ordered, rate=rate))
    parked = Keys(stream, "senders").gate[1]
    async with Queue(
        job, lambda _: None, url=redis_url, policy=policy(stream)
    ) as queue:
        ids = [await queue.enqueue(job(to="a", subject=str(n))) for n in range(3)]
        assert raw("ZCARD", parked) == 2
        assert await queue.cancel(ids[1]) == "cancelled"
        assert raw("ZCARD", parked) == 1
