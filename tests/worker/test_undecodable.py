"""What is no job, or was written by another program, is dead-lettered at once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flowd import Context, DeadLetters, Letter, Queue, Reject, ServerError
from flowd.model.delivery import ENVELOPE
from flowd.model.job import MAX_JOB_BYTES
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.dead_letters import letters, raw_letters
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.jobs.odd import Blob, Login
from tests.support.leases import pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw


async def ignore(job: Crawl | Blob | Login) -> None:
    """Take every job."""


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {b"url": b"u", b"tags": b"a"},
            "Crawl.priority: required field is missing (fields present: 'url', 'tags')",
        ),
        (
            {b"url": b"u", b"priority": b"-1", b"tags": b"a"},
            "Crawl.priority: expected u32, got b'-1'",
        ),
        (
            {b"url": b"\xff", b"priority": b"1", b"tags": b"a"},
            "Crawl.url: expected UTF-8 text, got b'\\xff'",
        ),
    ],
)
async def test_an_entry_that_is_no_job_says_why(
    redis_url: str, raw: Raw, stream: str, fields: dict[bytes, bytes], error: str
) -> None:
    """It is a dead letter after one delivery, with the field and the reason."""
    notified: list[Letter[Crawl]] = []
    async with Queue(
        Crawl, ignore, url=redis_url, stream=stream, on_dead_letter=notified.append
    ) as queue:
        entry_id = raw("XADD", stream, "*", *(w for kv in fields.items() for w in kv))
        queue.run()
        await queue.drain()
        assert not pending(raw, stream, "crawlers")
    async with DeadLetters(Crawl, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert letter.job is None
    assert (letter.reason, letter.error) == ("undecodable", error)
    assert (letter.attempts, letter.deliveries) == (0, 1)
    assert letter.job_id.encode() == entry_id
    assert letter.fields == fields
    assert notified == [letter]


async def test_foreign_entry_hurts_no_job(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The jobs around it run, and the log has one line for it."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email("before"))
        raw("XADD", stream, "*", "colour", "blue\x1b[2J", "\xff", b"\xff")
        await queue.enqueue(email("after"))
        queue.run()
        await queue.drain()

    assert sorted(recorder.done) == ["after", "before"]
    assert events(caplog.records).count("dead_letter") == 1
    assert "\x1b" not in caplog.text


async def test_a_secret_that_cannot_be_read_is_not_shown(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error says that it cannot be read, and not what it is."""
    async with Queue(Login, ignore, url=redis_url, stream=stream) as queue:
        raw("XADD", stream, "*", "user", "me", "password", b"hunter2\xff")
        queue.run()
        await queue.drain()
    async with DeadLetters(Login, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert letter.error == "Login.password: expected UTF-8 text, got <secret>"
    assert "hunter2" not in letter.traceback + caplog.text


async def test_an_entry_that_is_too_large_is_not_decoded(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What no producer of flowd's would send goes aside; at the limit it is a job."""
    sizes: list[int] = []

    async def note(job: Blob) -> None:
        sizes.append(len(job.data))

    async with Queue(Blob, note, url=redis_url, stream=stream) as queue:
        raw("XADD", stream, "*", "data", bytes(MAX_JOB_BYTES - 4))
        raw("XADD", stream, "*", "data", bytes(MAX_JOB_BYTES + 5_000))
        queue.run()
        await queue.drain()
    async with DeadLetters(Blob, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert sizes == [MAX_JOB_BYTES - 4]
    assert (
        letter.error
        == "Blob: the entry has more than 262144 bytes, which no job may have"
    )
    assert letter.fields == {b"data": bytes(MAX_JOB_BYTES + 5_000)}


async def test_a_name_that_comes_twice_reads_as_its_last(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """As in the crate flowd, where the fields of an entry are a map."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        raw("XADD", stream, "*", "to", "first", "subject", "", "to", "last")
        queue.run()
        await queue.drain()

    assert recorder.done == ["last"]


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("number", [1_001 + ENVELOPE, 6_000])
async def test_an_entry_of_too_many_fields_goes_aside_packed(
    redis_url: str, raw: Raw, stream: str, number: int, *, distinct: bool
) -> None:
    """More than Lua can carry are packed into one field, whatever their names are."""
    async with Queue(Blob, ignore, url=redis_url, stream=stream) as queue:
        words = ["data", "x"]
        for each in range(number - 1):
            words += (f"f{each if distinct else 0}", "y")
        raw("XADD", stream, "*", *words)
        queue.run()
        await queue.drain()
    (kept,) = raw_letters(raw, stream, "workers")
    async with DeadLetters(Blob, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]
        with pytest.raises(ServerError, match="more than 1,000 fields"):
            await dead.redrive(letter.id)
        assert len([each async for each in dead.list()]) == 1

    assert kept[0] == b"_packed"
    assert kept[1].count(b"y") == number - 1
    assert f"the entry has {number} fields; a job has 1000 at most" in letter.error


async def test_a_thousand_fields_are_allowed(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """They run, fail, come back and are kept as they were."""

    async def fail(job: Blob) -> None:
        raise ValueError

    rules = policy(stream, max_retries=1)
    words = [b"data", b"x"]
    for each in range(999):
        words += (b"f%d" % each, b"y")
    async with Queue(Blob, fail, url=redis_url, policy=rules) as queue:
        raw("XADD", stream, "*", *words)
        queue.run()
        await queue.drain()

    (kept,) = raw_letters(raw, stream)
    assert kept[:2000] == words
    assert kept[kept.index(b"_dlq_attempts") + 1] == b"2"


@pytest.mark.parametrize("name", ["_attempt", "_deliveries"])
@pytest.mark.parametrize("value", [b"one", b"-1", b"", b"\xd9\xa1", b"1" * 5000])
async def test_a_counter_that_is_none_goes_aside(
    redis_url: str, raw: Raw, stream: str, name: str, value: bytes
) -> None:
    """The own fields may be forged; then the entry is no job of flowd's."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        raw("XADD", stream, "*", "to", "a", "subject", "hi", name, value)
        queue.run()
        await queue.drain()
    (letter,) = await letters(redis_url, stream)

    assert not recorder.started
    assert letter.reason == "undecodable"
    assert f"{name}: expected a number" in letter.error


@pytest.mark.parametrize(
    ("entry_id", "at", "enqueued"),
    [
        ("5000-0", b"7000", datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)),
        ("5000-0", b"yesterday", datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)),
        ("5000-0", b"", datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)),
        ("5000-0", b"\xc2\xb2", datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)),
        ("5000-0", b"9" * 5000, datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)),
        ("18446744073709551615-1", b"", datetime.max.replace(tzinfo=UTC)),
    ],
)
async def test_invented_time_is_tolerated(
    redis_url: str,
    raw: Raw,
    stream: str,
    entry_id: str,
    at: bytes,
    enqueued: datetime,
) -> None:
    """A job with an impossible `_at` or id runs and dies like any other."""
    seen: list[datetime] = []
    notified: list[Letter[Email]] = []

    async def fail(job: Email, ctx: Context) -> None:
        seen.append(ctx.enqueued_at)
        raise Reject("no")

    async with Queue(
        Email, fail, url=redis_url, stream=stream, on_dead_letter=notified.append
    ) as queue:
        raw("XADD", stream, entry_id, "to", "a", "subject", "hi", "_at", at)
        queue.run()
        await queue.drain()

    assert [each.replace(microsecond=0) for each in seen] == [
        enqueued.replace(microsecond=0)
    ]
    assert notified == await letters(redis_url, stream)
    assert notified[0].enqueued_at == seen[0]


async def test_invented_id_is_tolerated(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """`_id` may be anything: it travels on, and the terminal obeys nothing in it."""
    recorder = RecordingHandler()

    async def fail_once(job: Email, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError
        await recorder(job, ctx)

    async with make_queue(fail_once) as queue:
        raw("XADD", stream, "*", "to", "a", "subject", "", "_id", b"\x1b[2J\xff\r\n")
        queue.run()
        await queue.drain()

    (ctx,) = recorder.contexts
    assert ctx.id == "\x1b[2J\\xff\r\n"
    assert "\x1b" not in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)
