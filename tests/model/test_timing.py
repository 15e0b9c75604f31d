"""How long and when: what may be given, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from flowd import Durable, Item, OptionError, Producer, Queue, SyncProducer
from flowd.testing import FakeClock, Memory, MemoryQueue, RecordingProducer
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.raw import Raw

SPANS: list[Any] = [
    Decimal(600),
    Fraction(1, 2),
    "600",
    b"1",
    True,
    1j,
    [1.0],
    datetime.now(UTC),
    float("nan"),
    float("-inf"),
    -1,
    -(10**400),
    timedelta(seconds=-1),
]

MOMENTS: list[Any] = [
    datetime(2031, 5, 1),  # noqa: DTZ001 - it has no zone
    date(2031, 5, 1),
    "2031-05-01T00:00:00Z",
    1_900_000_000,
    True,
    timedelta(1),
]

WRONG: list[tuple[str, Any]] = [
    *(("delay", span) for span in SPANS),
    *(("key_ttl", span) for span in [*SPANS, None, 0, 0.0]),
    *(("at", moment) for moment in MOMENTS),
    *(("id", entry_id) for entry_id in (5, None, b"5-1", "5-1\n", f"{2**64}", "²")),
    *(("key", key) for key in (b"k", 7, "", "x" * 1025, "\udc00")),
    *(("durable", durable) for durable in (None, 1, "yes", Durable)),
]


@pytest.mark.parametrize(("option", "value"), WRONG)
async def test_an_option_that_cannot_be_is_refused_unsent(
    redis_url: str, raw: Raw, option: str, value: object
) -> None:
    """Every producer refuses it by its name, with and without a key, and stores nothing."""
    wrong: dict[str, Any] = {"key": "k", option: value}
    async with (
        Producer(redis_url) as producer,
        Queue(Email, RecordingHandler(), url=redis_url) as queue,
    ):
        for each in (producer, queue):
            with pytest.raises(OptionError, match=f"^{option} is "):
                await each.enqueue(email(), **wrong)
    with SyncProducer(redis_url) as sync, pytest.raises(OptionError):
        await asyncio.to_thread(sync.enqueue, email(), **wrong)
    if option != "durable":
        with pytest.raises(OptionError, match=f"^{option} is "):
            Item(email(), **wrong)
        with pytest.raises(OptionError, match=f"^{option} is "):
            await RecordingProducer().enqueue(email(), **wrong)
        with pytest.raises(OptionError, match=f"^{option} is "):
            await MemoryQueue(Email, RecordingHandler()).enqueue(email(), **wrong)
    assert raw("XLEN", "emails") == 0
    assert raw("EXISTS", "{emails}:delayed", "{emails}:delayed:jobs") == 0


@pytest.mark.parametrize(
    "headers",
    [["a"], "ab", {1: "x"}, {b"a": "x"}, {"a": 1}, {"a": b"x"}, {"a": None}, {"A": ""}],
)
def test_headers_that_cannot_be_are_refused(headers: Any) -> None:
    """They map names of small letters to texts."""
    with pytest.raises(OptionError, match=r"^headers is "):
        Item(email(), headers=headers)


@pytest.mark.parametrize("timeout", [float("nan"), -1, Decimal(1), "5", None, True])
def test_a_connect_timeout_that_cannot_be_is_refused(timeout: Any) -> None:
    """It is refused where the producer or the queue is made."""
    url = "redis://localhost:1"
    for make in (
        lambda: Producer(url, connect_timeout=timeout),
        lambda: SyncProducer(url, connect_timeout=timeout),
        lambda: Queue(Email, RecordingHandler(), url=url, connect_timeout=timeout),
    ):
        made: Callable[[], object] = make
        with pytest.raises(OptionError, match=r"^connect_timeout is "):
            made()


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 1.5},
        {"replicas": True},
        {"replicas": 10**30},
        {"timeout": Decimal(1)},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"fsync": 1},
        {"fsync": None, "replicas": 1},
    ],
)
def test_a_proof_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """Each option of `Durable` has a type and a range."""
    with pytest.raises(OptionError, match=f"^{next(iter(wrong))} is "):
        Durable(**wrong)


@pytest.mark.parametrize("delay", [60, 60.0, timedelta(minutes=1)])
async def test_a_delay_is_a_number_or_a_span(
    redis_url: str, raw: Raw, delay: float | timedelta
) -> None:
    """`int`, `float` and `timedelta` say the same, as a delay and as a key's time."""
    before = now(raw)
    async with Producer(redis_url) as producer:
        await producer.enqueue(email(), delay=delay, key="k", key_ttl=delay)
    (due,) = due_times(raw)
    left = raw("PTTL", "{emails}:key:k")
    after = now(raw)
    # Between the earliest and the latest moment that it may have come; in milliseconds.
    assert before + 60.0 - 0.002 <= due <= after + 60.0
    assert isinstance(left, int)
    assert 60.0 - (after - before) - 0.002 <= left / 1000 <= 60.0
    assert Item(email(), delay=delay).delay == 60.0
    assert isinstance(Item(email(), delay=delay).delay, float)


@pytest.mark.parametrize("span", [10**400, timedelta.max, float("inf"), 1e300])
async def test_a_span_may_have_no_end(redis_url: str, raw: Raw, span: Any) -> None:
    """What is longer than Redis counts never ends, as a delay and as a key's time."""
    async with Producer(redis_url) as producer:
        await producer.enqueue(email(), delay=span, key="k", key_ttl=span)
    (due,) = due_times(raw)
    assert due - now(raw) > 10**10
    left = raw("PTTL", "{emails}:key:k")
    assert isinstance(left, int)
    assert left > 10**13


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-11, minutes=-30))])
async def test_a_job_waits_for_its_moment(
    redis_url: str, raw: Raw, zone: timezone
) -> None:
    """`at` is a moment of the server's clock, to the millisecond."""
    at = datetime.fromtimestamp(now(raw) + 3_600, zone)
    async with Producer(redis_url) as producer:
        await producer.enqueue(email(), at=at)
        await producer.enqueue(email(), at=at, key="k")
        await producer.enqueue_bulk([Item(email(), at=at), email()])
    assert due_times(raw) == pytest.approx([at.timestamp()] * 3, abs=0.002)
    assert raw("XLEN", "emails") == 1


@pytest.mark.parametrize(
    "at",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime(1960, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    ],
)
async def test_a_past_moment_is_now(redis_url: str, raw: Raw, at: datetime) -> None:
    """A job whose moment is past waits in the stream at once, under the id returned."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url) as queue:
        job_id = await queue.enqueue(email(), at=at)
        assert raw("EXISTS", "{emails}:delayed") == 0
        assert raw("XLEN", "emails") == 1
        queue.run()
        await queue.drain()
    (ctx,) = recorder.contexts
    assert ctx.id == job_id


async def test_a_job_runs_at_its_moment(redis_url: str, raw: Raw) -> None:
    """A worker of the same process looks when the moment has come."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url) as queue:
        queue.run()
        at = datetime.fromtimestamp(now(raw) + 0.1, UTC)
        await queue.enqueue(email(), at=at)
        await queue.drain()
        assert now(raw) >= at.timestamp()
    assert recorder.done == ["a"]


async def test_a_moment_excludes_a_delay_and_an_id() -> None:
    """`at` stands instead of `delay`, and a job that waits gets its entry id later."""
    at = datetime(2040, 1, 1, tzinfo=UTC)
    with pytest.raises(OptionError, match="give delay or at, not both"):
        Item(email(), at=at, delay=1)
    with pytest.raises(OptionError, match="gets its entry id later"):
        Item(email(), at=at, id="5-1")


async def test_a_memory_follows_moments() -> None:
    """The doubles of tests wait for `at` by their clock, as a server would."""
    clock = FakeClock()
    memory = Memory(clock)
    recorder = RecordingHandler()
    queue = MemoryQueue(Email, recorder, memory=memory)
    at = datetime.fromtimestamp(clock.now + 3_600, UTC)
    await RecordingProducer(memory).enqueue(email("later"), at=at)
    await queue.enqueue(email("past"), at=datetime(2000, 1, 1, tzinfo=UTC))
    await queue.run_due()
    assert recorder.done == ["past"]
    await queue.advance_time(3_599)
    assert recorder.done == ["past"]
    await queue.advance_time(2)
    assert recorder.done == ["past", "later"]
    assert queue.assert_enqueued(Email, to="later").at == at


def due_times(raw: Raw) -> list[float]:
    """When the delayed jobs are due, in seconds since 1970."""
    found = raw("ZRANGE", "{emails}:delayed", 0, -1, "WITHSCORES")
    assert isinstance(found, list)
    return [float(each) / 1000 for each in found[1::2] if isinstance(each, bytes)]


def now(raw: Raw) -> float:
    """The server's time, in seconds since 1970."""
    reply = raw("TIME")
    assert isinstance(reply, list)
    seconds, micros = reply
    assert isinstance(seconds, bytes)
    assert isinstance(micros, bytes)
    return int(seconds) + int(micros) / 1e6
