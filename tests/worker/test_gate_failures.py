"""What fails at the gate behind a promise that is kept already does not deny it.

A key of the gate holds what is not flowd's: some step of the scripts fails, in its middle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

import pytest

from flowd import (
    BulkError,
    Claimer,
    Concurrency,
    DeadLetters,
    Duplicate,
    Fair,
    Gate,
    OutcomeUnknown,
    Producer,
    Queue,
    Rate,
    Reject,
    Unique,
    WrongKeyType,
)
from flowd.broker.connection import connection_to
from flowd.broker.gate import GateScripts
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.gated import gated, leftovers
from tests.support.leases import expire, pending
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP: Final = "senders"
STATE, PARKED, SLOTS, HOLDS, LANES, WAITS = range(6)
TURNS, TIMED, WANT = 6, 8, 10

LIMIT = Gate(concurrency=Concurrency(per=("to",), limit=1))
RATE = Gate(rate=Rate(limit=1_000, every=1, burst=1))
FAIR = Gate(fair=Fair(per=("to",)))
SHARES = Gate(fair=FAIR.fair, concurrency=Concurrency(per=("subject",), limit=1))


def break_key(raw: Raw, stream: str, number: int) -> Callable[[], None]:
    """Let another client's key stand in the place of one of the gate's; returns what ends it."""
    key = Keys(stream, GROUP).gate[number]
    if raw("EXISTS", key):
        raw("RENAME", key, f"{key}:kept")
    raw("SET", key, "of another program")

    def repair() -> None:
        raw("DEL", key)
        if raw("EXISTS", f"{key}:kept"):
            raw("RENAME", f"{key}:kept", key)

    return repair


@asynccontextmanager
async def connected_stream(url: str, stream: str) -> AsyncGenerator[Stream]:
    """The stream as a worker has it."""
    async with aclosing(connection_to(Address.of(url))) as connection:
        yield Stream(connection, stream, GROUP)


def some(job: type[Email], count: int) -> list[Email]:
    """So many jobs of one key."""
    return [job(to="a", subject=str(number)) for number in range(count)]


@pytest.mark.parametrize("bulk", [False, True], ids=["one by one", "bulk"])
@pytest.mark.parametrize(
    ("gate", "broken"), [(RATE, TIMED), (LIMIT, LANES)], ids=["rate", "limit"]
)
async def test_a_producer_hears_that_its_job_is_stored(
    redis_url: str, raw: Raw, stream: str, gate: Gate, broken: int, *, bulk: bool
) -> None:
    """Though whom the gate lets in next cannot be found out; each job runs once."""
    job, handler = gated(gate), RecordingHandler()
    count = 1 if gate is LIMIT else 4  # a second one of the key needs its lane
    async with Queue(job, handler, url=redis_url, policy=policy(stream)) as queue:
        await queue.init()
        repair = break_key(raw, stream, broken)
        jobs = some(job, count)
        if bulk:
            ids = await queue.enqueue_bulk(jobs)
        else:
            ids = [await queue.enqueue(each) for each in jobs]
        assert len({*ids}) == count
        repair()
        queue.run()
        await queue.drain()
    assert sorted(handler.done) == ["a"] * count
    assert leftovers(raw, stream) == []


async def test_a_write_that_fails_is_unknown(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A producer hears the worst that may be true of each job; none is lost all the same."""
    job, handler = gated(LIMIT), RecordingHandler()
    rules, eager = policy(stream), Claimer(interval=0.05)
    async with Queue(job, handler, url=redis_url, policy=rules, claimer=eager) as queue:
        first, *others = some(job, 4)
        await queue.enqueue(first)
        await queue.enqueue(job(to="b", subject="first"))
        repair = break_key(raw, stream, LANES)
        with pytest.raises(BulkError) as failed:
            await queue.enqueue_bulk(others)
        assert (failed.value.ids, failed.value.unknown) == ((), 3)
        assert isinstance(failed.value.cause, OutcomeUnknown)
        with pytest.raises(OutcomeUnknown, match="what the gate keeps"):
            await queue.enqueue(job(to="b", subject="last"))
        repair()
        queue.run()
        await wait_until(lambda: len(handler.done) == 6)
        await queue.drain()
    assert leftovers(raw, stream) == []


@pytest.mark.parametrize(
    ("gate", "broken"),
    [(LIMIT, SLOTS), (SHARES, TURNS), (FAIR, WANT)],
    ids=["slots", "turns", "want"],
)
async def test_a_read_that_fails_is_a_refusal(
    redis_url: str, raw: Raw, stream: str, gate: Gate, broken: int
) -> None:
    """It is read before a job is stored: then nothing is, and the error says which fault it is."""
    job, names = gated(gate), Keys(stream, GROUP)
    async with Queue(
        job, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        break_key(raw, stream, broken)
        with pytest.raises(WrongKeyType):
            await queue.enqueue(some(job, 1)[0])
        with pytest.raises(BulkError) as failed:
            await queue.enqueue_bulk(some(job, 3))
        assert (failed.value.ids, failed.value.unknown) == ((), 0)
        assert raw("XLEN", stream) == raw("HLEN", names.bodies) == 0
        assert raw("ZCARD", names.gate[PARKED]) == 0


async def test_a_lost_lane_is_found(redis_url: str, raw: Raw, stream: str) -> None:
    """Parked jobs whose lane stands nowhere go on within a round of maintenance."""
    job, handler = gated(LIMIT), RecordingHandler()
    async with Queue(
        job,
        handler,
        url=redis_url,
        policy=policy(stream),
        claimer=Claimer(interval=0.05),
    ) as queue:
        await queue.enqueue_bulk(some(job, 5))
        keys = Keys(stream, GROUP).gate
        raw("DEL", keys[LANES], keys[WAITS])
        queue.run()
        await queue.drain()
    assert len(handler.done) == 5
    assert leftovers(raw, stream) == []


async def test_a_key_that_cannot_be_set_loses_no_parked_job(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that is parked, and whose idempotency key is refused, keeps its place."""
    job, handler = gated(LIMIT), RecordingHandler()
    job.SPEC = dataclasses.replace(job.SPEC, policy=policy(stream))
    raw("ACL", "SETUSER", "limited", "~*", "&*", "+@all", "-set", "nopass", "on")
    url = redis_url.replace("://", "://limited:x@")
    async with Queue(job, handler, url=redis_url) as queue:
        first, second = some(job, 2)
        await queue.enqueue(first)
        async with Producer(url) as limited:
            with pytest.raises(OutcomeUnknown, match="stored, and its key is not"):
                await limited.enqueue(second, key="k")
        raw("ACL", "DELUSER", "limited")
        queue.run()
        await queue.drain()
    assert len(handler.done) == 2
    assert leftovers(raw, stream) == []


@pytest.mark.parametrize(
    "key", [SLOTS, LANES, HOLDS, STATE], ids=["slots", "lanes", "holds", "state"]
)
async def test_a_worker_hears_that_its_job_is_settled(
    redis_url: str, raw: Raw, stream: str, key: int
) -> None:
    """Its answer says so though nothing of the gate can be freed, and again if it is lost."""
    job, gate = gated(LIMIT), LIMIT
    async with (
        Queue(job, RecordingHandler(), url=redis_url, policy=policy(stream)) as queue,
        connected_stream(redis_url, stream) as mine,
    ):
        await queue.enqueue_bulk(some(job, 2))
        (entry,) = await mine.read("w", 1)
        break_key(raw, stream, key)
        acks, parts = [Delivery(entry, 0.0)], [GateScripts(mine, gate).settle]
        assert await mine.settle("w", acks, [], batch=7, parts=parts) == [1]
        again = await mine.settle("w", acks, [], batch=7, repeated=True, parts=parts)
        assert again == [1]
        assert raw("XRANGE", stream, entry.id, entry.id) == []


@pytest.mark.parametrize("kept", ["receipts", "progress", "control"])
async def test_a_settle_needs_no_other_key(
    redis_url: str, raw: Raw, stream: str, kept: str
) -> None:
    """Receipts, progress and marks are written behind it: the answer is the same without."""
    names = Keys(stream, GROUP)
    key = {
        "receipts": names.receipts,
        "progress": names.progress,
        "control": names.control,
    }[kept]
    async with (
        Queue(Email, RecordingHandler(), url=redis_url, policy=policy(stream)) as queue,
        connected_stream(redis_url, stream) as mine,
    ):
        await queue.enqueue(Email(to="a", subject="b"))
        (entry,) = await mine.read("w", 1)
        raw("SET", key, "of another program")
        parts = [
            Part("settle_progress", (names.progress,)),
            Part("settle_control", (names.control,), (entry.id, "job", 1)),
        ]
        assert await mine.settle("w", [Delivery(entry, 0.0)], [], parts=parts) == [1]
        assert raw("XLEN", stream) == 0


@pytest.mark.parametrize("broken", ["gate", "cron"])
async def test_a_round_that_fails_takes_nothing_over(
    redis_url: str, raw: Raw, stream: str, broken: str
) -> None:
    """No delivery is counted of a job that reached no worker."""
    job, names = gated(LIMIT), Keys(stream, GROUP)
    async with (
        Queue(job, RecordingHandler(), url=redis_url, policy=policy(stream)) as queue,
        connected_stream(redis_url, stream) as mine,
    ):
        await queue.enqueue(some(job, 1)[0])
        await mine.read("dead", 1)
        expire(raw, stream, GROUP)
        part = GateScripts(mine, LIMIT).maintain
        if broken == "gate":
            break_key(raw, stream, LANES)
        else:
            raw("SET", names.cron, "of another program")
            part = Part("maintain_cron", (names.cron,), ("digest",))
        with pytest.raises(WrongKeyType):
            await mine.maintain(
                "w", lease=1.0, takeovers=1, cursor=b"0-0", parts=[part]
            )
        (held,) = pending(raw, stream, GROUP)
        assert (held.consumer, held.deliveries) == ("dead", 1)


async def test_a_redriven_letter_has_its_key(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It is taken though nothing else can be admitted, so that a second job is refused."""
    gate = Gate(unique=Unique(fields=("to",)), concurrency=LIMIT.concurrency)
    job, done = gated(gate), list[str]()

    async def work(each: Email) -> None:
        if each.subject == "0" and not done:
            done.append("dead")
            raise Reject("no")
        done.append(each.subject)

    async with Queue(job, work, url=redis_url, policy=policy(stream)) as queue:
        handle = queue.run()
        await queue.enqueue(some(job, 1)[0])
        await queue.drain()
        await handle.shutdown()
        repair = break_key(raw, stream, LANES)
        async with DeadLetters(job, redis_url, stream=stream) as letters:
            assert await letters.redrive_all() == 1
        assert isinstance(await queue.enqueue(some(job, 2)[1]), Duplicate)
        repair()
        queue.run()
        await queue.drain()
    assert done == ["dead", "0"]
    assert leftovers(raw, stream) == []
