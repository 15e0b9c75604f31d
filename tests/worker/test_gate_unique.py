"""Uniqueness: at most one job of a key, from its enqueue to its end."""

from __future__ import annotations

import asyncio

import pytest

from flowd import (
    Claimer,
    CommandRefused,
    Concurrency,
    Context,
    DeadLetters,
    Debounce,
    Duplicate,
    Gate,
    Item,
    KeyTaken,
    OptionError,
    Queue,
    Reject,
    Retry,
    Unique,
)
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.dead_letters import bury, reject
from tests.support.email_job import RecordingHandler, policy
from tests.support.gated import Overlap, gated, leftovers
from tests.support.leases import die_with
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
EAGER = Claimer(interval=0.05)
DROP = Gate(unique=Unique(fields=("to",)))
LAST = Gate(unique=Unique(fields=("to",), again="last"))
SLOW = Gate(
    unique=Unique(fields=("to",)), concurrency=Concurrency(per=("to",), limit=1)
)


def parked(raw: Raw, stream: str) -> object:
    """How many jobs are parked."""
    return raw("ZCARD", Keys(stream, GROUP).gate[1])


@pytest.mark.parametrize("gate", [DROP, SLOW])
@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_a_duplicate_is_not_stored_and_gets_the_holders_id(
    redis_url: str, raw: Raw, stream: str, gate: Gate, delay: float
) -> None:
    """River#1178, oban#388: in bulk, with delays, and while the first one waits or runs."""
    job, handler = gated(gate), RecordingHandler(closed=True)
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        first = await queue.enqueue(job(to="a", subject="1"), delay=delay)
        assert not isinstance(first, Duplicate)
        again = await queue.enqueue(job(to="a", subject="2"))
        assert again == first
        assert isinstance(again, Duplicate)
        assert not again.replaced
        assert repr([again]) == f"[Duplicate('{first}', replaced=False)]"
        ids = await queue.enqueue_bulk(
            [job(to="b", subject="1"), Item(job(to="b", subject="2"), delay=5.0)]
        )
        assert ids[0] == ids[1]
        assert [isinstance(each, Duplicate) for each in ids] == [False, True]
        queue.run()
        await wait_until(lambda: sorted(handler.started) == ["a", "b"])
        assert await queue.enqueue(job(to="a", subject="3")) == first
        handler.gate.set()
        await queue.drain()
        assert leftovers(raw, stream) == []
        fresh = await queue.enqueue(job(to="a", subject="4"))
        assert not isinstance(fresh, Duplicate)
        await queue.drain()
    assert sorted(handler.done) == ["a", "a", "b"]
    assert leftovers(raw, stream) == []


async def test_a_retry_is_not_dropped_by_its_own_lock(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """wurk#218: the lock names its holder, so a job passes itself; it keeps others out."""
    job, attempts = gated(DROP), list[int]()

    async def work(each: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt < 4:
            raise Retry(after=0.0 if ctx.attempt == 2 else 0.05)

    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        first = await queue.enqueue(job(to="a", subject="1"))
        seen = set[str]()
        while len(attempts) < 4:
            seen.add(await queue.enqueue(job(to="a", subject="2")))
            await asyncio.sleep(0)
        await queue.drain()
    assert attempts == [1, 2, 3, 4]
    assert first in seen
    assert len(seen) <= 2
    assert leftovers(raw, stream) == []


async def test_a_lock_outlives_no_crash_of_its_holder(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """sidekiq-unique-jobs#339: a holder that died keeps its key, and frees it at its end."""
    job, handler = gated(DROP), RecordingHandler()
    rules = policy(stream)
    async with Queue(job, handler, url=redis_url, policy=rules, claimer=EAGER) as queue:
        first = await queue.enqueue(job(to="a", subject="1"))
        die_with(raw, stream, GROUP, jobs=1)
        assert await queue.enqueue(job(to="a", subject="2")) == first
        queue.run()
        await queue.drain()
        assert leftovers(raw, stream) == []
        await queue.enqueue(job(to="a", subject="3"))
        await queue.drain()
    assert len(handler.done) == 2


async def test_a_lock_of_a_job_that_is_nowhere_is_no_lock(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """sidekiq-unique-jobs#955: a conflict checks that the holder lives."""
    job = gated(DROP)
    async with Queue(job, RecordingHandler(), url=redis_url, stream=stream) as queue:
        first = await queue.enqueue(job(to="a", subject="1"))
        raw("XDEL", stream, first)
        second = await queue.enqueue(job(to="a", subject="2"))
        assert not isinstance(second, Duplicate)
        late = await queue.enqueue(job(to="b", subject="1"), delay=60)
        raw("HDEL", Keys(stream, GROUP).bodies, late)
        third = await queue.enqueue(job(to="b", subject="2"))
        assert not isinstance(third, Duplicate)


async def test_the_last_duplicate_runs_afterwards(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """bullmq#3427: what comes during a run is not lost, and runs once, with the newest data."""
    job, started = gated(LAST), list[str]()
    gate = asyncio.Event()

    async def work(each: Email) -> None:
        started.append(each.subject)
        await gate.wait()

    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        await queue.enqueue(job(to="a", subject="1"))
        await wait_until(lambda: started == ["1"])
        second = await queue.enqueue(job(to="a", subject="2"))
        assert not isinstance(second, Duplicate)
        ids = await queue.enqueue_bulk(job(to="a", subject=f"{n}") for n in (3, 4))
        assert ids == [second, second]
        assert all(isinstance(each, Duplicate) and each.replaced for each in ids)
        assert parked(raw, stream) == 1
        await asyncio.sleep(0.05)
        assert started == ["1"]
        gate.set()
        await queue.drain()
    assert started == ["1", "4"]
    assert leftovers(raw, stream) == []


async def test_a_newer_job_replaces_the_follower_while_its_key_is_free(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A follower that a pause keeps from going has the newest data when it goes."""
    job, handler = gated(LAST), Overlap()
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        first = await queue.enqueue(job(to="a", subject="1"))
        follower = await queue.enqueue(job(to="a", subject="2"))
        await queue.pause()
        assert await queue.cancel(first) == "cancelled"
        newer = await queue.enqueue(job(to="a", subject="3"))
        assert (newer, isinstance(newer, Duplicate)) == (follower, True)
        await queue.resume()
        queue.run()
        await queue.drain()
    assert handler.done == [("a", "3")]
    assert leftovers(raw, stream) == []


@pytest.mark.parametrize("end", ["cancelled", "purged"])
async def test_a_job_that_replaced_another_frees_its_idempotency_key(
    redis_url: str, stream: str, end: str
) -> None:
    """It is forgotten under the key that it came with, and not under that of the other."""
    job = gated(LAST)

    async def work(_: Email) -> None:
        raise Reject("no")

    rules = policy(stream)
    async with Queue(job, work, url=redis_url, policy=rules) as queue:
        await queue.enqueue(job(to="a", subject="1"))
        follower = await queue.enqueue(job(to="a", subject="2"))
        newer = await queue.enqueue(job(to="a", subject="3"), key="k")
        assert newer == follower
        if end == "cancelled":
            assert await queue.cancel(newer) == "cancelled"
        else:
            queue.run()
            await queue.drain()
            async with DeadLetters(job, redis_url, stream=stream) as letters:
                assert await letters.purge_all() == 2
        assert await queue.enqueue(job(to="a", subject="3"), key="k") != newer


async def test_a_dead_letter_whose_key_is_taken_is_not_put_back(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Dead-lettering frees the key; a redrive takes it again, is refused, or waits."""
    job, done = gated(DROP), list[str]()
    gate = asyncio.Event()

    async def work(each: Email) -> None:
        if each.subject == "bad" and not gate.is_set():
            raise Reject("bad")
        await gate.wait()
        done.append(each.subject)

    rules = policy(stream)
    async with Queue(job, work, url=redis_url, policy=rules) as queue:
        queue.run()
        dead = await queue.enqueue(job(to="a", subject="bad"))
        await queue.drain()
        assert leftovers(raw, stream) == []
        holder = await queue.enqueue(job(to="a", subject="good"))
        other = await queue.enqueue(job(to="b", subject="bad"))
        await wait_until(lambda: raw("XLEN", Keys(stream, GROUP).dead) == 2)
        assert other != holder
        async with DeadLetters(job, redis_url, stream=stream) as letters:
            letter, _ = [each async for each in letters.list()]
            with pytest.raises(KeyTaken, match=holder):
                await letters.redrive(letter)
            with pytest.raises(KeyTaken) as caught:
                await letters.redrive_all()
            assert caught.value.moved == 1
            assert caught.value.letters == (letter.id,)
            assert (caught.value.job_id, caught.value.key) == (holder, "to=a")
            assert f"letter {letter.id}: the job {holder} has to=a" in str(caught.value)
            assert raw("XLEN", Keys(stream, GROUP).dead) != 0
            assert await letters.redrive(letter.id, when_free=True) == dead
        assert await queue.enqueue(job(to="a", subject="no")) == holder
        gate.set()
        await queue.drain()
    assert done[:2] == ["good", "bad"] or done.index("good") < done.index("bad")
    assert leftovers(raw, stream) == []


async def test_an_edited_letter_takes_the_key_of_its_new_fields(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It is refused if that is taken; one of a time before the policies as well."""
    job = gated(DROP)
    rules = policy(stream)
    await bury(redis_url, stream, Email(to="old", subject=""))
    async with Queue(job, reject, url=redis_url, policy=rules) as queue:
        handle = queue.run()
        await queue.enqueue(job(to="a", subject=""))
        await queue.drain()
        await handle.shutdown()
        holder = await queue.enqueue(job(to="b", subject=""), delay=600)
        async with DeadLetters(job, redis_url, stream=stream) as letters:
            old, new = [each async for each in letters.list()]
            for letter in (old, new):
                with pytest.raises(KeyTaken, match=holder):
                    await letters.redrive(letter, job=job(to="b", subject=""))
            assert raw("XLEN", Keys(stream, GROUP).dead) == 2
            await letters.redrive(new, job=job(to="c", subject=""))
            with pytest.raises(KeyTaken, match=new.job_id):
                await letters.redrive(old, job=job(to="c", subject=""))
            await letters.redrive(old, job=job(to="d", subject=""))
        assert await queue.enqueue(job(to="c", subject="")) == new.job_id
        assert await queue.enqueue(job(to="d", subject="")) == old.job_id


async def test_letters_whose_keys_are_taken_hold_up_no_others(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Nor does one that Redis refuses: all others are moved, those that stay are named."""
    job = gated(DROP)

    async def work(_: Email) -> None:
        raise Reject("bad")

    dead = Keys(stream, GROUP).dead
    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        handle = queue.run()
        await queue.enqueue_bulk(job(to=f"{n}", subject="") for n in range(130))
        await queue.drain()
        await handle.shutdown()
        letters = {fields[b"to"]: letter for letter, fields in raw.entries(dead)}
        taken = [letters[b"%d" % n] for n in (3, 40, 41, 42, 43, 44, 110)]
        for n in (3, 40, 41, 42, 43, 44, 110):
            await queue.enqueue(job(to=f"{n}", subject=""), delay=600)
        async with DeadLetters(job, redis_url, stream=stream) as dlq:
            with pytest.raises(
                KeyTaken, match=r"123 are back, 7 not.*; and 2 more"
            ) as it:
                await dlq.redrive_all()
            assert (it.value.moved, sorted(it.value.letters)) == (123, sorted(taken))
            foreign = raw("XADD", dead, "*", "not", "flowd's")
            assert isinstance(foreign, bytes)
            with pytest.raises(CommandRefused, match="not written by flowd") as refused:
                await dlq.redrive_all()
            assert "0 are back, 7 not" in "".join(refused.value.__notes__)
            raw("XDEL", dead, foreign)
            assert await dlq.redrive_all(when_free=True) == 7
    assert raw("XLEN", dead) == 0


async def test_a_redriven_job_has_its_key_again(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """While it waits to be read, another one is a duplicate of it."""
    job, handler = gated(DROP), RecordingHandler()

    async def work(each: Email, ctx: Context) -> None:
        if ctx.id == first and not handler.started:
            handler.started.append("died")
            raise Reject("once")
        await handler(each, ctx)

    rules = policy(stream)
    async with Queue(job, work, url=redis_url, policy=rules) as queue:
        handle = queue.run()
        first = await queue.enqueue(job(to="a", subject="1"))
        await queue.drain()
        await handle.shutdown()
        async with DeadLetters(job, redis_url, stream=stream) as letters:
            assert await letters.redrive_all() == 1
        again = await queue.enqueue(job(to="a", subject="2"))
        assert again == first
        assert isinstance(again, Duplicate)
        queue.run()
        await queue.drain()
    assert handler.done == ["a"]
    assert leftovers(raw, stream) == []


async def test_accepted_duplicates_run_one_after_the_other(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain XADD cannot be dropped: it was accepted. It waits until the key is free.

    The log says that it was no attempt.
    """
    caplog.set_level("INFO", "flowd")
    job, handler = gated(DROP), Overlap(0.005)
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        for number in range(10):
            raw("XADD", stream, "*", "to", "a", "subject", number)
        queue.run()
        await queue.drain()
    assert len(handler.done) == 10
    assert handler.most == {"a": 1}
    assert leftovers(raw, stream) == []
    released = [each for each in caplog.messages if "released" in each]
    assert len(released) == 10
    assert all("no attempt began" in each for each in released)


async def test_a_key_and_an_idempotency_key_hold_together(
    redis_url: str, stream: str
) -> None:
    """The idempotency key is remembered behind the end of the job, the lock is not."""
    job = gated(DROP)
    async with Queue(job, RecordingHandler(), url=redis_url, stream=stream) as queue:
        first = await queue.enqueue(job(to="a", subject="1"), key="k")
        assert await queue.enqueue(job(to="b", subject="1"), key="k") == first
        assert await queue.enqueue(job(to="a", subject="1"), key="l") == first
        queue.run()
        await queue.drain()
        assert await queue.enqueue(job(to="a", subject="1"), key="k") == first
        assert await queue.enqueue(job(to="a", subject="1")) != first
        await queue.drain()


async def test_a_debounced_job_runs_once_with_the_last_data(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """bullmq#3250: each one that comes puts the run off, up to the longest time."""
    gate = Gate(debounce=Debounce(fields=("to",), wait=600.0, longest=600.05))
    job, done = gated(gate), list[str]()

    async def work(each: Email) -> None:
        done.append(each.subject)

    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        first = await queue.enqueue(job(to="a", subject="0"))
        began = due_at(raw, stream, first) - 600_000
        latest = began + 600_050
        await wait_until(lambda: server_ms(raw) > began)
        again = [await queue.enqueue(job(to="a", subject="1"))]
        assert began + 600_000 < due_at(raw, stream, first) <= latest
        await wait_until(lambda: server_ms(raw) > began + 50)
        again += [await queue.enqueue(job(to="a", subject=each)) for each in "23"]
        assert due_at(raw, stream, first) == latest
        assert again == [first] * 3
        assert all(isinstance(each, Duplicate) and each.replaced for each in again)
        assert done == []
        assert await queue.run_now(first)
        await queue.drain()
        with pytest.raises(OptionError, match="debounce"):
            await queue.enqueue(job(to="a", subject="x"), delay=1)
    assert done == ["3"]
    assert leftovers(raw, stream) == []


def due_at(raw: Raw, stream: str, job_id: str) -> int:
    """When a delayed job is due, in ms by the server's clock."""
    score = raw("ZSCORE", Keys(stream, GROUP).delayed, job_id)
    assert isinstance(score, bytes)
    return int(score)


def server_ms(raw: Raw) -> int:
    """The server's time in ms."""
    now = raw("TIME")
    assert isinstance(now, list)
    seconds, micros = (int(str(each, "ascii")) for each in now)  # type: ignore[arg-type]
    return seconds * 1000 + micros // 1000


async def test_an_explicit_entry_id_is_refused(redis_url: str, stream: str) -> None:
    """A job that may have to wait gets its entry id when it may go."""
    job = gated(DROP)
    async with Queue(job, RecordingHandler(), url=redis_url, stream=stream) as queue:
        with pytest.raises(OptionError, match="entry id"):
            await queue.enqueue(job(to="a", subject="1"), id="5-0")
