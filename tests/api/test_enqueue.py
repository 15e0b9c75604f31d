"""Enqueue one job: its id, its delay, its key, and what is refused before it is sent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flowd import (
    EncodeError,
    IdNotIncreasing,
    OptionError,
    PayloadTooLarge,
    Producer,
    Queue,
    WrongKeyType,
)
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.jobs.odd import Blank, Blob
from tests.support.raw import Raw, Reply
from tests.support.waiting import wait_until

LIMIT = 256 * 1024


def sender(url: str, stream: str) -> Queue[Email]:
    """A queue that only enqueues."""
    return Queue(Email, RecordingHandler(), url=url, stream=stream)


async def ignore(job: Blob) -> None:
    """Take every job."""


async def test_the_id_is_the_entrys(redis_url: str, raw: Raw, stream: str) -> None:
    """What `enqueue` returns is the id under which the job is in the stream."""
    queue = sender(redis_url, stream)
    ids = [await queue.enqueue(email()) for _ in range(3)]
    await queue.aclose()

    assert [entry_id for entry_id, _ in raw.entries(stream)] == ids


async def test_an_entry_holds_the_jobs_fields_and_no_other(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job without delay and key goes over the wire as the crate flowd writes it."""
    queue = sender(redis_url, stream)
    await queue.enqueue(Email(to="ä\0\r\n", subject="", body=None))
    await queue.aclose()

    ((_, fields),) = raw.entries(stream)
    assert fields == {b"to": "ä\0\r\n".encode(), b"subject": b""}


async def test_a_producer_knows_the_stream_of_a_class(redis_url: str, raw: Raw) -> None:
    """A `Producer` sends jobs of any class to the stream of their schema."""
    async with Producer(redis_url) as producer:
        await producer.enqueue(email())
        await producer.enqueue(Blob(data=b"\xff\x00"))

    assert raw.entries("emails")[0][1][b"to"] == b"a"
    assert raw.entries("blob")[0][1] == {b"data": b"\xff\x00"}


async def test_a_closed_producer_opens_again(redis_url: str, raw: Raw) -> None:
    """`aclose` ends the connection, not the producer."""
    producer = Producer(redis_url)
    await producer.enqueue(email())
    await producer.aclose()
    await producer.enqueue(email())
    await producer.aclose()

    assert raw("XLEN", "emails") == 2


async def test_enqueue_works_before_the_group_exists(
    redis_url: str, stream: str
) -> None:
    """Jobs that are sent before any worker has set up the group are run."""
    recorder = RecordingHandler()
    queue = Queue(Email, recorder, url=redis_url, stream=stream)
    await queue.enqueue(email("early"))
    async with queue:
        queue.run()
        await queue.drain()

    assert recorder.done == ["early"]


@pytest.mark.parametrize("later", ["5-1", "5-2", "4-9", "0-0"])
async def test_an_id_must_be_above_the_last(
    redis_url: str, raw: Raw, stream: str, later: str
) -> None:
    """An id that is not above the stream's last is refused and nothing is stored."""
    queue = sender(redis_url, stream)
    assert await queue.enqueue(email(), id="5-2") == "5-2"
    with pytest.raises(IdNotIncreasing):
        await queue.enqueue(email(), id=later)
    with pytest.raises(IdNotIncreasing):
        await queue.enqueue(email(), id=later, key="k")
    assert await queue.enqueue(email(), id="5-3", key="k") == "5-3"
    await queue.aclose()

    assert raw("XLEN", stream) == 2


@pytest.mark.parametrize("entry_id", ["", "-", "+", "$", "MAXLEN", "5-", "a-1", "-1"])
async def test_an_id_that_is_none_is_refused(
    redis_url: str, raw: Raw, stream: str, entry_id: str
) -> None:
    """What Redis would take for something else never gets there."""
    queue = sender(redis_url, stream)
    with pytest.raises(OptionError, match="id is"):
        await queue.enqueue(email(), id=entry_id)
    await queue.aclose()

    assert raw("EXISTS", stream) == 0


@pytest.mark.parametrize("delay", [-0.001, float("-inf"), float("nan")])
async def test_a_delay_that_is_none_is_refused(stream: str, delay: float) -> None:
    """A delay is a number of seconds, not negative."""
    queue = sender("redis://localhost:1", stream)
    with pytest.raises(OptionError, match="delay is"):
        await queue.enqueue(email(), delay=delay)
    await queue.aclose()


async def test_a_delayed_job_has_no_id_of_its_own(stream: str) -> None:
    """`id` and `delay` exclude each other, because the entry comes later."""
    queue = sender("redis://localhost:1", stream)
    with pytest.raises(OptionError, match="a delayed job gets its entry id later"):
        await queue.enqueue(email(), id="1-1", delay=1.0)
    await queue.aclose()


async def test_a_delayed_job_waits(redis_url: str, raw: Raw, stream: str) -> None:
    """Until it is due it is in the delayed set only, by the server's clock."""
    queue = sender(redis_url, stream)
    now = _now(raw)
    job_id = await queue.enqueue(email(), delay=3600.0)
    await queue.aclose()

    assert raw("XLEN", stream) == 0
    due = raw("ZSCORE", f"{{{stream}}}:delayed", job_id)
    assert isinstance(due, bytes)
    # The server cuts its clock to a millisecond.
    assert 3599.999 <= float(due) / 1000 - now < 3700.0


async def test_a_delayed_job_runs_when_it_is_due(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It keeps the id that `enqueue` returned and the time when it was enqueued."""
    recorder = RecordingHandler()
    before = _now(raw)
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        job_id = await queue.enqueue(email(), delay=0.03)
        queue.run()
        await queue.drain()

    (ctx,) = recorder.contexts
    assert (ctx.id, ctx.attempt, ctx.deliveries) == (job_id, 1, 1)
    enqueued = ctx.enqueued_at.timestamp()
    assert before - 0.001 <= enqueued <= _now(raw) - 0.029
    assert raw("EXISTS", f"{{{stream}}}:delayed", f"{{{stream}}}:delayed:jobs") == 0


async def test_unbounded_delay_is_accepted(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A delay without an end is one that never comes due, not a number out of range."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        queue.run()
        await queue.enqueue(email("never"), delay=float("inf"))
        await queue.enqueue(email("late"), delay=1e300)
        await queue.enqueue(email("now"))
        await wait_until(lambda: recorder.done == ["now"])

    assert raw("ZCARD", f"{{{stream}}}:delayed") == 2


@pytest.mark.one_server
async def test_a_job_that_is_soon_due_is_not_overslept(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """One that is enqueued while the worker waits for another is promoted in time."""
    recorder = RecordingHandler()
    async with Queue(
        Email, recorder, url=redis_url, stream=stream, block=60.0
    ) as queue:
        queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        unblocked = raw.calls("client|unblock")
        await queue.enqueue(email(), delay=0.05)
        await wait_until(lambda: recorder.done)
        # The read did not wait for its next round of maintenance.
        assert raw.calls("client|unblock") > unblocked


@pytest.mark.parametrize("key", ["", "x" * 1025, "\ud800"])
async def test_a_key_has_to_be_one(stream: str, key: str) -> None:
    """It is text, not empty, and shorter than what it names."""
    queue = sender("redis://localhost:1", stream)
    with pytest.raises(OptionError, match=r"key is .*must have 1 to 1024 bytes"):
        await queue.enqueue(email(), key=key)
    await queue.aclose()


async def test_the_enqueue_time_is_the_servers(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """`ctx.enqueued_at` comes from the entry's id, in UTC."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email(), id="1700000000123-0")
        queue.run()
        await queue.drain()

    (ctx,) = recorder.contexts
    assert ctx.enqueued_at == datetime(2023, 11, 14, 22, 13, 20, 123000, UTC)


async def test_a_job_at_the_limit_is_taken(redis_url: str, stream: str) -> None:
    """256 KiB of names and values are allowed, and arrive whole."""
    sizes: list[int] = []

    async def note(job: Blob) -> None:
        sizes.append(len(job.data))

    async with Queue(Blob, note, url=redis_url, stream=stream) as queue:
        await queue.enqueue(Blob(data=bytes(LIMIT - len("data"))))
        queue.run()
        await queue.drain()

    assert sizes == [LIMIT - 4]


async def test_a_job_above_the_limit_is_refused(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """One byte more is refused by name, size and limit, and nothing is sent."""
    queue = Queue(Blob, ignore, url=redis_url, stream=stream)
    job = Blob(data=bytes(LIMIT - 3 - len("notehi")), note="hi")
    with pytest.raises(PayloadTooLarge, match=r"Blob\.data: .* more than 262144 bytes"):
        await queue.enqueue(job)
    with pytest.raises(PayloadTooLarge) as caught:
        await queue.enqueue(job, key="k", delay=1.0)
    await queue.aclose()

    error = caught.value
    assert (error.field, error.size, error.limit) == ("data", LIMIT + 1, LIMIT)
    assert raw("KEYS", f"*{stream}*") == []


async def test_a_value_without_a_form_is_refused(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The error names job, field, reason and value; nothing is sent."""
    queue = sender(redis_url, stream)
    with pytest.raises(EncodeError, match=r"Email\.to: not encodable as UTF-8"):
        await queue.enqueue(Email(to="\ud800", subject="hi"))
    await queue.aclose()

    assert raw("EXISTS", stream) == 0


async def test_a_job_without_fields_is_a_job(redis_url: str, stream: str) -> None:
    """An entry must have a field, so a job that has none gets flowd's own `_v`."""
    seen: list[Blank] = []
    async with Queue(Blank, seen.append, url=redis_url, stream=stream) as queue:
        await queue.enqueue(Blank(), id="5-5")
        await queue.enqueue(Blank(), delay=0.01)
        await queue.enqueue(Blank(), key="k")
        await queue.enqueue_bulk([Blank()])
        queue.run()
        await queue.drain()

    assert seen == [Blank()] * 4


async def test_a_stream_of_another_type_is_said(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Sending to a key that is no stream says so and leaves the key alone."""
    raw("SET", stream, "mine")
    queue = sender(redis_url, stream)
    with pytest.raises(WrongKeyType):
        await queue.enqueue(email())
    with pytest.raises(WrongKeyType):
        await queue.enqueue(email(), key="k")
    await queue.aclose()

    assert raw("GET", stream) == b"mine"
    assert raw("EXISTS", f"{{{stream}}}:key:k") == 0


def _now(raw: Raw) -> float:
    seconds, micros = _pair(raw("TIME"))
    return int(seconds) + int(micros) / 1_000_000


def _pair(reply: Reply) -> tuple[bytes, bytes]:
    assert isinstance(reply, list)
    first, second = reply
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    return first, second
