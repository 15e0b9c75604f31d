"""Jobs with a deadline: one that has not started by then ends as expired, in plain sight."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from flowd import Context, Item, OptionError, Producer, Queue, Reject
from flowd.broker.commands import enqueue_command
from flowd.broker.connection import Connection
from flowd.broker.setup import set_up
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.deadletter import DeadLetters
from flowd.errors import Unreachable
from flowd.model.delivery import Delivery, Entry
from flowd.model.expiry import deadline_ms
from flowd.ops.cron import run_schedule, schedules
from flowd.ops.queries import Queries
from flowd.testing import MemoryQueue
from flowd.worker.expiry import Expiry
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.events import Seen
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.scheduled import every, scheduled
from tests.support.waiting import wait_until

PAST = datetime(2020, 1, 1, tzinfo=UTC)
NEXT_YEAR = datetime(2100, 1, 1, tzinfo=UTC)
HOUR = 3_600.0


def entry_fields(raw: Raw, key: str) -> dict[bytes, bytes]:
    """The fields of the only entry of a stream."""
    ((_, fields),) = raw.entries(key)
    return fields


async def test_a_job_that_comes_too_late_does_not_run(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It leaves the queue with an event of its own, and is neither done nor dead."""
    recorder, seen = RecordingHandler(), Seen()
    async with make_queue(recorder, middleware=[seen]) as queue:
        late = await queue.enqueue(email("late"), expires=PAST)
        await queue.enqueue(email("soon"), expires=HOUR)
        queue.run()
        await queue.drain()
    assert recorder.started == ["soon"]
    (event,) = seen.named("expired")
    assert event.job_id == late
    assert event.details["late"] == pytest.approx(
        datetime.now(UTC).timestamp() - PAST.timestamp(), abs=60
    )
    assert [each.job_id for each in seen.named("done")] != [late]
    assert raw("XLEN", stream) == raw("XLEN", f"{{{stream}}}:senders:dlq") == 0


@pytest.mark.parametrize(
    ("envelope", "why"),
    [
        (("_attempt", "2", "_deliveries", "1", "_error", "no"), "a retry"),
        (("_id", "1-0", "_at", "1"), "promoted from the delayed set"),
        (("_id", "cron:a:b"), "of a schedule"),
    ],
)
async def test_every_attempt_has_the_same_deadline(
    raw: Raw, stream: str, envelope: Sequence[str], why: str, make_queue: MakeQueue
) -> None:
    """Whichever way an entry came into the stream, it does not start behind its deadline."""
    recorder, seen = RecordingHandler(), Seen()
    async with make_queue(recorder, middleware=[seen]) as queue:
        fields = ("to", "a", "subject", "hi", "_expires", "+1", *envelope)
        raw("XADD", stream, "*", *fields)
        queue.run()
        await queue.drain()
    assert not recorder.started, why
    assert len(seen.named("expired")) == 1


async def test_a_retry_keeps_the_deadline(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """What a failed job carries into its next entry says the same moment as before."""

    async def fail(_: Email) -> None:
        raise ValueError("no")

    async with make_queue(fail, backoff=HOUR) as queue:
        job_id = await queue.enqueue(email(), expires=HOUR)
        queue.run()
        await wait_until(lambda: raw("HEXISTS", f"{{{stream}}}:delayed:jobs", job_id))
        connection = Connection(Address.of(redis_url))
        rows = await Queries(connection, stream, "senders").delayed(1)
        await connection.aclose()
    (row,) = rows
    retry = Delivery(Entry(b"9-9", 1, row.fields, len(row.fields)), 0.0)
    enqueued = int(job_id.partition("-")[0])
    assert retry.deadline_ms == enqueued + HOUR * 1000


async def test_a_redriven_job_has_no_deadline(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """An operator who redrives a job wants it to run, however late it is."""

    async def reject(_: Email) -> None:
        raise Reject("no")

    async with make_queue(reject) as queue:
        await queue.enqueue(email(), expires=HOUR)
        queue.run()
        await queue.drain()
    assert b"_expires" in entry_fields(raw, f"{{{stream}}}:senders:dlq")
    async with DeadLetters(Email, redis_url, stream=stream) as letters:
        async for letter in letters.list():
            await letters.redrive(letter)
    assert b"_expires" not in entry_fields(raw, stream)


async def test_the_rule_of_the_queue_is_stamped_on_its_jobs(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """`expires_after` holds where a call says nothing; infinity takes it off."""
    rules = dataclasses.replace(policy(stream), expires_after=60.0)
    async with make_queue(rules=rules) as queue:
        await queue.enqueue(email())
        assert entry_fields(raw, stream)[b"_expires"] == b"+60000"
        raw("XTRIM", stream, "MAXLEN", 0)
        await queue.enqueue_bulk([email()])
        assert entry_fields(raw, stream)[b"_expires"] == b"+60000"
        raw("XTRIM", stream, "MAXLEN", 0)
        await queue.enqueue(email(), expires=math.inf)
        assert b"_expires" not in entry_fields(raw, stream)


async def test_a_producer_goes_by_the_class(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A producer stamps the rule of the schema, which it has no other place to know from."""
    rules = dataclasses.replace(policy(stream), expires_after=1.5)
    short = scheduled(policy=rules)
    async with Producer(redis_url) as producer:
        await producer.enqueue(short(to="a", subject="b"))
    assert entry_fields(raw, stream)[b"_expires"] == b"+1500"


@pytest.mark.parametrize(
    ("options", "carried"),
    [
        ({}, None),
        ({"expires": 60}, b"+60000"),
        ({"expires": timedelta(minutes=1)}, b"+60000"),
        ({"expires": 0.0004 + 0.001}, b"+2"),
        ({"expires": math.inf}, None),
        ({"expires": 60, "delay": 30}, b"+90000"),
        ({"expires": NEXT_YEAR}, b"4102444800000"),
        ({"expires": NEXT_YEAR, "delay": 30}, b"4102444800000"),
        ({"expires": 60, "at": NEXT_YEAR}, b"4102444860000"),
    ],
)
def test_a_span_begins_when_the_job_may_start(
    options: dict[str, object], carried: bytes | None
) -> None:
    """Behind a delay, or at a moment, as the caller says; a moment is a moment."""
    item = Item(email(), **options)  # type: ignore[arg-type]
    assert enqueue_command(item).fields.get(b"_expires") == carried


def test_a_job_with_an_id_of_its_own_expires_by_a_moment() -> None:
    """Its id says nothing of time, so the producer's clock gives the moment."""
    now = datetime.now(UTC).timestamp() * 1000
    raw = enqueue_command(Item(email(), id="7-0", expires=60)).fields[b"_expires"]
    assert int(raw) - now == pytest.approx(60_000, abs=30_000)


@pytest.mark.parametrize(
    "options",
    [
        {"expires": 0},
        {"expires": -1},
        {"expires": math.nan},
        {"expires": "1h"},
        {"expires": NEXT_YEAR.replace(tzinfo=None)},
        {"expires": NEXT_YEAR, "at": NEXT_YEAR},
    ],
)
def test_a_deadline_that_is_none_is_refused(options: dict[str, object]) -> None:
    """The error names the option, before anything is sent."""
    with pytest.raises(OptionError, match="expires"):
        Item(email(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "enqueued", "deadline"),
    [
        (b"+10", b"5", 15),
        (b"10", b"5", 10),
        (b"", b"5", None),
        (b"tomorrow", b"5", None),
        (b"-10", b"5", None),
        (b"+10", b"", None),
        (b"9" * 30, b"5", None),
    ],
)
def test_a_field_of_another_meaning_is_no_deadline(
    raw: bytes, enqueued: bytes, deadline: int | None
) -> None:
    """A header that another program wrote under this name keeps no job from running."""
    assert deadline_ms(raw, enqueued) == deadline


async def test_deadlines_go_by_the_servers_clock() -> None:
    """One answer serves many jobs; without any the job may start."""
    answers: list[float | Exception] = [Unreachable("away"), 1_000.0]

    async def server_time() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def due(ms: int) -> Delivery:
        return Delivery(Entry(b"1-0", 1, {b"_expires": b"%d" % ms}, 1), 0.0)

    expiry = Expiry(server_time)
    assert await expiry.late(due(1)) is None
    assert await expiry.late(due(900_000)) == pytest.approx(100, abs=5)
    assert await expiry.late(due(9_000_000)) is None
    assert not answers


async def test_a_run_of_a_schedule_expires(redis_url: str, stream: str) -> None:
    """Jobs of schedules are under the rule of the queue, and `cron list` says what became."""
    recorder = RecordingHandler()
    rules = dataclasses.replace(policy(stream), expires_after=0.001)
    job_class = scheduled(every(HOUR))
    queries = Queries(Connection(Address.of(redis_url)), stream, "senders")
    await set_up(Stream(queries.connection, stream, "senders"), rules, job_class)
    await run_schedule(queries, "nightly")
    async with Queue(job_class, recorder, url=redis_url, policy=rules) as queue:
        queue.run()
        await queue.drain()
    (view,) = await schedules(queries)
    await queries.connection.aclose()
    assert not recorder.started
    assert view.outcome == "expired"


async def test_time_travel_expires_jobs() -> None:
    """A queue in memory keeps jobs that came too late in a list of their own."""
    rules = dataclasses.replace(policy("emails", backoff=20.0), expires_after=10.0)

    async def fail(job: Email, ctx: Context) -> None:
        assert ctx.attempt == 1
        if job.to == "fails":
            raise ValueError("no")

    queue = MemoryQueue(Email, fail, policy=rules)
    await queue.enqueue(email("fails"))
    await queue.enqueue(email("late"), delay=5, expires=1)
    await queue.enqueue(email("runs"), delay=5)
    await queue.run_due()
    queue.clock.advance(7)
    await queue.drain()
    assert [each.to for each in queue.done] == ["runs"]
    assert [each.to for each in queue.expired] == ["late", "fails"]
