"""Limits: how many jobs of a key run at once, and in which order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from flowd import (
    Claimer,
    Concurrency,
    Context,
    DeadLetters,
    Duplicate,
    Gate,
    Item,
    Queue,
    Reject,
    Retry,
    Unique,
)
from flowd.broker.connection import connection_to
from flowd.broker.gate import GateScripts
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.errors import GroupMissing
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.events import Seen
from tests.support.gated import Overlap, gated, leftovers
from tests.support.leases import die_with, pending, steal
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
EAGER = Claimer(interval=0.05)


def limited(limit: int = 2, *, ordered: bool = False) -> type[Email]:
    """So many at once for each recipient."""
    rule = Concurrency(per=("to",), limit=limit, ordered=ordered)
    return gated(Gate(concurrency=rule))


def jobs(job: type[Email], to: str, count: int) -> list[Email]:
    """So many jobs of a key, numbered."""
    return [job(to=to, subject=str(number)) for number in range(count)]


@pytest.mark.parametrize("bulk", [True, False])
async def test_a_key_never_runs_more_than_its_limit(
    redis_url: str, raw: Raw, stream: str, bulk: bool
) -> None:
    """The limit holds across workers; other keys are not held up; nothing is left."""
    job, handler = limited(), Overlap(0.01)
    async with (
        Queue(job, handler, url=redis_url, stream=stream, concurrency=20) as one,
        Queue(job, handler, url=redis_url, stream=stream, concurrency=20) as two,
    ):
        one.run()
        two.run()
        every = [each for to in "abcde" for each in jobs(job, to, 20)]
        if bulk:
            await one.enqueue_bulk(every)
        else:
            await asyncio.gather(*(one.enqueue(each) for each in every))
        await wait_until(lambda: len(handler.done) == 100)
        await one.drain()
    assert sorted(handler.done) == sorted((each.to, each.subject) for each in every)
    assert max(handler.most.values()) == 2
    assert leftovers(raw, stream) == []


async def test_a_full_key_holds_up_no_other_key(redis_url: str, stream: str) -> None:
    """pg-boss#756, procrastinate#1599: a full key at the head blocked all behind it."""
    job, handler = limited(1), Overlap(0.0)
    slow = asyncio.Event()

    async def work(each: Email, ctx: Context) -> None:
        if each.to == "full":
            await slow.wait()
        await handler(each, ctx)

    async with Queue(job, work, url=redis_url, stream=stream) as queue:
        queue.run()
        await queue.enqueue_bulk(jobs(job, "full", 300))
        await queue.enqueue_bulk(jobs(job, "free", 50))
        await wait_until(lambda: len(handler.done) == 50)
        slow.set()
        await queue.drain()
    assert len(handler.done) == 350
    assert handler.most == {"full": 1, "free": 1}


async def test_a_slot_of_a_dead_worker_goes_with_its_job(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """solid_queue#761, docket#223: a counter was released twice after a crash, or never."""
    job, handler = limited(2), Overlap(0.01)
    rules = policy(stream)
    async with Queue(job, handler, url=redis_url, policy=rules, claimer=EAGER) as queue:
        await queue.enqueue_bulk(jobs(job, "a", 20))
        die_with(raw, stream, GROUP, jobs=2)
        queue.run()
        await queue.drain()
    assert sorted(handler.done) == sorted(("a", str(n)) for n in range(20))
    assert handler.most == {"a": 2}
    assert leftovers(raw, stream) == []


async def test_a_due_job_is_kept_when_its_group_is_lost(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It is parked or due again, though the round that promotes it fails behind that."""
    job, handler = limited(1), RecordingHandler()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        await queue.enqueue(job(to="a", subject="first"))
        await queue.enqueue(job(to="a", subject="due"), delay=0.001)
        raw("XGROUP", "DESTROY", stream, GROUP)
        gate = job.SPEC.gate
        assert gate is not None
        connection = connection_to(Address.of(redis_url))
        mine = Stream(connection, stream, GROUP)
        async with aclosing(connection):
            with pytest.raises(GroupMissing):
                await mine.maintain(
                    "worker",
                    lease=60.0,
                    takeovers=1,
                    cursor=b"0-0",
                    parts=[GateScripts(mine, gate).maintain],
                )
        queue.run()
        await wait_until(lambda: len(handler.done) == 2)
        await queue.drain()
    assert leftovers(raw, stream) == []


async def test_a_zombie_frees_no_slot(redis_url: str, raw: Raw, stream: str) -> None:
    """What a worker settles that has lost its lease does not change the gate."""
    job, handler, seen = limited(1), RecordingHandler(closed=True), Seen()
    # No renewal finds out before the settle, and nothing is taken over from the thief.
    rules = policy(stream, lease=600.0)
    async with Queue(
        job, handler, url=redis_url, policy=rules, middleware=[seen]
    ) as queue:
        queue.run()
        await queue.enqueue_bulk(jobs(job, "a", 2))
        await wait_until(lambda: len(handler.started) == 1)
        assert len(pending(raw, stream, GROUP)) == 1
        steal(raw, stream, GROUP)
        slots = raw("ZRANGE", Keys(stream, GROUP).gate[2], 0, -1)
        handler.gate.set()
        await wait_until(lambda: seen.named("lost"))
        assert raw("ZRANGE", Keys(stream, GROUP).gate[2], 0, -1) == slots
        assert raw("XLEN", stream) == 1
        assert len(handler.started) == 1


async def test_a_retry_leaves_its_slot_and_comes_first(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """While it waits for its backoff others run; it takes no slot until it is due."""
    job, seen = limited(1), list[tuple[str, int]]()

    async def work(each: Email, ctx: Context) -> None:
        seen.append((each.subject, ctx.attempt))
        if each.subject == "0" and ctx.attempt == 1:
            raise Retry(after=0.05)
        await asyncio.sleep(0.04)

    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        await queue.enqueue_bulk(jobs(job, "a", 20))
        await queue.drain()
    assert seen[:2] == [("0", 1), ("1", 1)]
    assert seen.index(("0", 2)) < 6
    assert leftovers(raw, stream) == []


async def test_ordered_jobs_keep_their_order_over_retries(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that is retried keeps its key: the next one of it starts when it has ended."""
    job, seen = limited(1, ordered=True), list[tuple[str, int]]()

    async def work(each: Email, ctx: Context) -> None:
        if ctx.attempt < 3 and int(each.subject) % 3 == 0:
            raise Retry(after=0.02)
        if int(each.subject) % 4 == 1 and ctx.attempt == 1:
            raise ValueError("without backoff")
        seen.append((each.to, int(each.subject)))

    rules = policy(stream, lease=60.0)
    async with (
        Queue(job, work, url=redis_url, policy=rules, concurrency=4) as one,
        Queue(job, work, url=redis_url, policy=rules, concurrency=4) as two,
    ):
        one.run()
        two.run()
        await one.enqueue_bulk([each for n in "abc" for each in jobs(job, n, 12)])
        await one.drain()
    for to in "abc":
        assert [number for key, number in seen if key == to] == [*range(12)]
    assert leftovers(raw, stream) == []


async def test_ordered_retries_come_before_jobs_that_were_delayed(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A delayed job has its place from when it is due, behind one that has begun."""
    job, seen = limited(1, ordered=True), list[str]()

    async def work(each: Email, ctx: Context) -> None:
        seen.append(each.subject)
        if ctx.attempt == 1 and each.subject == "0":
            raise Retry(after=0.3)

    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        await queue.enqueue_bulk(
            Item(job(to="a", subject=f"{n}"), delay=0.05 + n / 100) for n in range(4)
        )
        queue.run()
        await queue.drain()
    assert seen == ["0", "0", "1", "2", "3"]
    assert leftovers(raw, stream) == []


async def test_a_release_keeps_its_slot(redis_url: str, raw: Raw, stream: str) -> None:
    """What a shutdown puts back is one of those that the limit counts."""
    job, handler = limited(2), RecordingHandler(closed=True)
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        handle = queue.run()
        await queue.enqueue_bulk(jobs(job, "a", 6))
        await wait_until(lambda: len(handler.started) == 2)
        await handle.shutdown(0.0)
        assert raw("ZCARD", Keys(stream, GROUP).gate[2]) == 2
        assert raw("XLEN", stream) == 2
    again = Overlap(0.01)
    async with Queue(job, again, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        await queue.drain()
    assert len(again.done) == 6
    assert again.most == {"a": 2}
    assert leftovers(raw, stream) == []


async def test_a_dead_letter_frees_its_slot_and_comes_back_to_the_gate(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A redriven job has a slot when it runs; none is left by the one that died."""
    job, handler = limited(1), Overlap(0.01)
    broken = True

    async def work(each: Email, ctx: Context) -> None:
        if broken:
            raise Reject("broken")
        await handler(each, ctx)

    rules = policy(stream)
    async with Queue(job, work, url=redis_url, policy=rules) as queue:
        queue.run()
        await queue.enqueue_bulk(jobs(job, "a", 10))
        await queue.drain()
        assert leftovers(raw, stream) == []
        broken = False
        async with DeadLetters(job, redis_url, stream=stream) as letters:
            assert await letters.redrive_all() == 10
        await queue.drain()
    assert len(handler.done) == 10
    assert handler.most == {"a": 1}
    assert leftovers(raw, stream) == []


async def test_a_foreign_entry_goes_through_the_gate_uncounted(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A plain XADD gets its ticket when it is read, and counts as no delivery."""
    job, handler = limited(2), Overlap(0.01)
    counts = set[tuple[int, int]]()

    async def work(each: Email, ctx: Context) -> None:
        counts.add((ctx.deliveries, ctx.attempt))
        await handler(each, ctx)

    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        for number in range(40):
            to = "ab"[number % 2]
            raw("XADD", stream, "*", "to", to, "subject", number, "more", 1)
        raw("XADD", stream, "*", "nothing", "of it")
        queue.run()
        await queue.drain()
        assert raw("XLEN", Keys(stream, GROUP).dead) == 1
    assert len(handler.done) == 40
    assert handler.most == {"a": 2, "b": 2}
    assert counts == {(1, 1)}
    assert leftovers(raw, stream) == []


async def test_a_queue_becomes_gated_with_jobs_in_every_state(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What waits, is held or delayed when a release with policies starts is limited too."""
    rules, handler = policy(stream), Overlap(0.01)
    async with Queue(Email, handler, url=redis_url, policy=rules) as before:
        await before.enqueue_bulk(jobs(Email, "a", 20))
        die_with(raw, stream, GROUP, jobs=3)
        for each in jobs(Email, "a", 5):
            await before.enqueue(each, delay=0.01)
    async with Queue(
        limited(2), handler, url=redis_url, policy=rules, claimer=EAGER
    ) as after:
        after.run()
        await after.drain()
    assert len(handler.done) == 25
    assert handler.most == {"a": 2}
    assert leftovers(raw, stream) == []


async def test_a_queue_stops_being_gated_with_jobs_in_every_state(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A release without policies runs what was parked, whichever worker held the slots."""
    rules, handler = policy(stream), Overlap()
    job = limited(2)
    async with Queue(job, handler, url=redis_url, policy=rules) as before:
        await before.enqueue_bulk(jobs(job, "a", 300))
        die_with(raw, stream, GROUP, jobs=2)
        for each in jobs(job, "a", 5):
            await before.enqueue(each, delay=0.01)
    raw("DEL", Keys(stream, GROUP).policies)
    async with Queue(
        Email, handler, url=redis_url, policy=rules, claimer=EAGER
    ) as after:
        after.run()
        await wait_until(lambda: len(handler.done) == 305)
        await after.drain()
        await wait_until(lambda: leftovers(raw, stream) == [])


async def test_workers_of_both_releases_lose_nothing(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """While one release has policies and the other none, every job runs once."""
    rules, handler = policy(stream, lease=5.0), Overlap(0.001)
    job = limited(2)
    async with (
        Queue(job, handler, url=redis_url, policy=rules) as gate,
        Queue(Email, handler, url=redis_url, policy=rules) as plain,
    ):
        gate.run()
        plain.run()
        for number in range(10):
            await gate.enqueue(job(to="a", subject=str(number)))
            await plain.enqueue(Email(to="a", subject=f"plain {number}"))
        await gate.drain()
        await wait_until(lambda: leftovers(raw, stream) == [])
    assert len(handler.done) == len({*handler.done}) == 20


async def test_holders_that_are_nowhere_are_freed(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """sidekiq-unique-jobs#560: what another client deleted blocks its key for seconds only."""
    job, handler = limited(1), Overlap()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        first, *_ = await queue.enqueue_bulk(jobs(job, "a", 5))
        raw("XDEL", stream, first)
        queue.run()
        await queue.drain()
    assert len(handler.done) == 4
    assert leftovers(raw, stream) == []


async def test_an_entry_that_another_client_acknowledged_holds_nothing(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A worker in another language acknowledges and does not delete: its slot is free."""
    gate = Gate(
        concurrency=Concurrency(per=("to",), limit=1),
        unique=Unique(fields=("to", "subject")),
    )
    job, handler = gated(gate), Overlap()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        first, *_ = await queue.enqueue_bulk(jobs(job, "a", 5))
        raw("XREADGROUP", "GROUP", GROUP, "other", "STREAMS", stream, ">")
        raw("XACK", stream, GROUP, first)
        queue.run()
        await queue.drain()
        assert not isinstance(await queue.enqueue(*jobs(job, "a", 1)), Duplicate)
        await queue.drain()
    assert len(handler.done) == 5
    assert leftovers(raw, stream) == []


async def test_entries_that_are_never_read_keep_no_job_from_going(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What another client acknowledged and did not delete fills no room in the stream."""
    job, handler = limited(2), Overlap()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        for number in range(40):
            raw("XADD", stream, f"1-{number + 1}", "to", "b", "subject", number)
        raw("XREADGROUP", "GROUP", GROUP, "other", "STREAMS", stream, ">")
        raw("XACK", stream, GROUP, *(f"1-{number + 1}" for number in range(40)))
        queue.run()
        await queue.enqueue_bulk(jobs(job, "a", 5))
        await wait_until(lambda: len(handler.done) == 5)
        await wait_until(lambda: raw("XLEN", stream) == 40)
        raw("DEL", stream)


async def test_a_delayed_job_takes_no_slot_until_it_is_due(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """pg-boss#849: a job that waits for its time holds up none that may go."""
    job, handler = limited(1), Overlap()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        await queue.enqueue(job(to="a", subject="late"), delay=60)
        await queue.enqueue(job(to="a", subject="now"))
        await wait_until(lambda: handler.done == [("a", "now")])
        await wait_until(lambda: leftovers(raw, stream) == [])


async def test_a_cancelled_job_frees_what_it_has(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """glide-mq#206: a deleted job held up all behind it. Waiting, parked or delayed."""
    gate = Gate(
        concurrency=Concurrency(per=("to",), limit=1),
        unique=Unique(fields=("subject",)),
    )
    job, handler = gated(gate), Overlap()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        ids = await queue.enqueue_bulk(jobs(job, "a", 5))
        late = await queue.enqueue(job(to="a", subject="late"), delay=60)
        for each in (ids[0], ids[2], late):
            assert await queue.cancel(each) == "cancelled"
        again = await queue.enqueue(job(to="b", subject="2"))
        assert not isinstance(again, Duplicate)
        queue.run()
        await queue.drain()
    done = sorted(handler.done)
    assert done == [("a", "1"), ("a", "3"), ("a", "4"), ("b", "2")]
    assert leftovers(raw, stream) == []


async def test_a_redrive_without_the_class_admits_nothing_beyond_the_limit(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Who does not know the limits puts letters back, and leaves the rest to workers."""
    job, handler, broken = limited(1), Overlap(0.005), True

    async def work(each: Email, ctx: Context) -> None:
        if broken and each.subject == "0":
            raise Reject("broken")
        await handler(each, ctx)

    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        await queue.enqueue_bulk(jobs(job, "a", 1))
        await queue.drain()
        broken = False
        await queue.enqueue_bulk(jobs(job, "a", 20))
        letters = DeadLetters[Email](None, redis_url, stream=stream, group=GROUP)
        async with letters:
            assert await letters.redrive_all() == 1
        await queue.drain()
    assert len(handler.done) == 21
    assert handler.most == {"a": 1}
    assert leftovers(raw, stream) == []
