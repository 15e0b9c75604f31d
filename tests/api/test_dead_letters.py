"""A job that is given up is kept: its own fields as they were, then what became of it."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from datetime import UTC, datetime, timedelta

import pytest

from flowd import (
    Context,
    DeadLetters,
    Job,
    Letter,
    LetterNotFound,
    OptionError,
    Queue,
    Reject,
)
from jobs.email import Email
from tests.support.dead_letters import GROUP, bury, letters, raw_letters, reject
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.jobs.odd import Blob, Login
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

OWN = [
    b"_dlq_id",
    b"_dlq_reason",
    b"_dlq_error",
    b"_dlq_traceback",
    b"_dlq_attempts",
    b"_dlq_deliveries",
    b"_dlq_enqueued",
    b"_dlq_consumer",
]


async def test_the_entry_is_kept_byte_for_byte(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Order, unknown fields, doubled names and bytes that are no text: all as it was."""
    given = [
        *(b"x", b"\x00\xff\r\n", b"data", b"\x80first", b"_traceparent", b"00-1-2"),
        *(b"data", b"\xffsecond", b"\xc3\x28", b"a name that is no text", b"", b""),
        *(b"_dlq_reason", b"mine"),
    ]

    async def refuse(job: Blob) -> None:
        raise Reject(repr(job.data))

    async with Queue(Blob, refuse, url=redis_url, stream=stream) as queue:
        raw("XADD", stream, "*", *given)
        queue.run()
        await queue.drain()

    (kept,) = raw_letters(raw, stream, "workers")
    assert kept[: len(given)] == given
    assert kept[len(given) :: 2] == OWN


async def test_a_letter_tells_what_became_of_its_job(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """Job, ids, reason, error, traceback, counts, times and the consumer."""

    async def fail(job: Email, ctx: Context) -> None:
        raise LookupError("no such mailbox")

    before = datetime.now(UTC) - timedelta(seconds=1)
    async with make_queue(fail, max_retries=1, consumer="sender") as queue:
        job_id = await queue.enqueue(email())
        handle = queue.run()
        await queue.drain()
    (letter,) = await letters(redis_url, stream)

    assert letter.job == email()
    assert letter.job_id == job_id != letter.id
    assert letter.fields[b"to"] == b"a"
    assert (letter.reason, letter.error) == ("failed", "LookupError: no such mailbox")
    assert (letter.attempts, letter.deliveries) == (2, 2)
    assert letter.consumer == handle.consumer
    assert letter.consumer.startswith("sender-")
    assert before < letter.enqueued_at <= letter.died_at
    first, *_, last = letter.traceback.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last == letter.error
    # The way through flowd to the handler says nothing about what went wrong in it.
    assert "flowd/worker/executor.py" not in letter.traceback


async def test_a_long_error_is_cut(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """An error keeps both ends, a traceback its end, where the cause is; the job is whole."""

    async def fail(job: Email) -> None:
        raise ValueError("x" * 100_000 + "the end")

    async with make_queue(fail, max_retries=0) as queue:
        await queue.enqueue(Email(to="a", subject="y" * 200_000))
        queue.run()
        await queue.drain()
    (letter,) = await letters(redis_url, stream)

    assert letter.error.startswith("ValueError: x")
    assert letter.error.endswith("the end")
    assert len(letter.error) == 2_001
    assert letter.traceback.endswith("the end\n")
    assert len(letter.traceback) == 8_001
    assert letter.fields[b"subject"] == b"y" * 200_000


async def test_an_error_that_is_no_text_is_kept(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """Lone surrogates, as from file names, are written out."""

    async def fail(job: Email) -> None:
        raise FileNotFoundError("\udcff.txt")

    async with make_queue(fail, max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    (letter,) = await letters(redis_url, stream)

    assert letter.error == r"FileNotFoundError: \udcff.txt"


@pytest.mark.parametrize("wire_name", ["password", "pass"])
async def test_secrets_are_in_no_error(
    redis_url: str,
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    wire_name: str,
) -> None:
    """A handler that puts a secret into its error does not publish it."""

    def log_in(job: Login) -> None:
        raise ConnectionError(f"login as {job.user} with {job.password}")

    async def leak(job: Login) -> None:
        try:
            log_in(job)
        except ConnectionError as error:
            raise ValueError(f"also {job.password!r}") from error

    rules = policy(stream, max_retries=1)
    async with Queue(Login, leak, url=redis_url, policy=rules, group=GROUP) as queue:
        raw("XADD", stream, "*", "user", "me", wire_name, "hunter2")
        queue.run()
        await queue.drain()

    (kept,) = raw_letters(raw, stream)
    assert kept[3] == b"hunter2"  # the job itself is whole
    assert b"hunter2" not in b"\n".join(kept[4:])
    assert b"login as me with <secret>" in kept[kept.index(b"_dlq_traceback") + 1]
    assert kept[kept.index(b"_dlq_error") + 1] == b"ValueError: also '<secret>'"
    assert events(caplog.records).count("retry") == 1
    assert "hunter2" not in repr([vars(record) for record in caplog.records])


async def test_the_callback_comes_after_the_letter(redis_url: str, stream: str) -> None:
    """`on_dead_letter` gets what is stored already, and it is the same letter."""
    received: list[tuple[Letter[Email], Letter[Email]]] = []

    async def notify(letter: Letter[Email]) -> None:
        async with DeadLetters(Email, redis_url, stream=stream) as dead:
            received.append((letter, await dead.get(letter.id)))

    async with Queue(
        Email, reject, url=redis_url, stream=stream, on_dead_letter=notify
    ) as queue:
        await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: received)

    ((letter, stored),) = received
    assert letter == stored


class Panic(BaseException):
    """As an extension in Rust raises it."""


@pytest.mark.parametrize(
    "error",
    [OSError("no pager"), Panic(), SystemExit(3), GeneratorExit(), CancelledError()],
    ids=repr,
)
@pytest.mark.parametrize("as_coroutine", [False, True])
async def test_a_callback_that_fails_loses_nothing(
    redis_url: str,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    *,
    as_coroutine: bool,
) -> None:
    """Its failure is one line in the log; the letter is kept and the worker goes on."""

    def fail(letter: Letter[Email]) -> None:
        raise error

    async def fail_later(letter: Letter[Email]) -> None:
        await asyncio.sleep(0)
        fail(letter)

    async with Queue(
        Email,
        reject,
        url=redis_url,
        stream=stream,
        on_dead_letter=fail_later if as_coroutine else fail,
    ) as queue:
        await queue.enqueue_bulk([email("one"), email("two")])
        handle = queue.run()
        await queue.drain()
        assert not handle.ended
    kept = await letters(redis_url, stream)

    assert sorted(letter.fields[b"to"] for letter in kept) == [b"one", b"two"]
    assert events(caplog.records).count("callback_failed") == 2


async def test_a_slow_callback_holds_up_no_job(redis_url: str, stream: str) -> None:
    """Callbacks run while the queue works, and the shutdown waits for them."""
    gate, recorder = asyncio.Event(), RecordingHandler()

    async def wait(letter: Letter[Email]) -> None:
        await gate.wait()
        recorder.done.append(letter.fields[b"to"].decode())

    async with Queue(
        Email,
        reject,
        url=redis_url,
        stream=stream,
        concurrency=1,
        on_dead_letter=wait,
    ) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(5))
        queue.run()
        await queue.drain()
        assert not recorder.done
        gate.set()

    assert sorted(recorder.done) == ["0", "1", "2", "3", "4"]


async def test_letters_are_listed_page_by_page(redis_url: str, stream: str) -> None:
    """All of them, oldest first, or those that a function picks."""
    await bury(redis_url, stream, *(email(str(number)) for number in range(250)))
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        ids = [letter.id async for letter in dead.list()]
        picked = [
            letter.fields[b"to"]
            async for letter in dead.list(lambda each: each.fields[b"to"] < b"11")
        ]

    assert len(ids) == 250
    assert ids == sorted(ids, key=lambda each: tuple(map(int, each.split("-"))))
    assert sorted(picked) == [b"0", b"1", b"10", *(b"10%d" % n for n in range(10))]


async def test_letters_are_listed_by_the_time_of_death(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """From a moment on, up to one, and between two; the limits are the server's ids."""
    await bury(redis_url, stream, email())
    (letter,) = raw_letters(raw, stream)
    key = f"{{{stream}}}:{GROUP}:dlq"
    raw("DEL", key)
    for entry_id in ("999-5", "1000-0", "1000-1", "2000-0", "2000-7", "3000-0"):
        raw("XADD", key, entry_id, *letter)

    async def found(
        since: datetime | None = None, until: datetime | None = None
    ) -> list[str]:
        async with DeadLetters(Email, redis_url, stream=stream) as dead:
            return [each.id async for each in dead.list(since=since, until=until)]

    one, two = (datetime.fromtimestamp(second, UTC) for second in (1, 2))
    long_ago, tomorrow = (datetime.fromtimestamp(at, UTC) for at in (-9, 4e9))
    assert await found(since=two) == ["2000-0", "2000-7", "3000-0"]
    assert await found(until=two) == ["999-5", "1000-0", "1000-1"]
    assert await found(since=one, until=two) == ["1000-0", "1000-1"]
    assert await found(since=two, until=one) == []
    assert await found(until=long_ago) == []
    assert len(await found(since=long_ago, until=tomorrow)) == 6


@pytest.mark.parametrize("letter_id", ["1-1", "-", "+", "", "1", "$", "1-1 ", "١-١"])
async def test_a_letter_that_is_not_there_is_said(
    redis_url: str, stream: str, letter_id: str
) -> None:
    """Neither is what Redis would take for the first, the last or any."""
    await bury(redis_url, stream, email())
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        for ask in (dead.get, dead.redrive, dead.purge):
            with pytest.raises(LetterNotFound, match=f"no dead letter .* of {stream}"):
                await ask(letter_id)

    assert len(await letters(redis_url, stream)) == 1


async def test_letters_can_be_read_without_a_class(redis_url: str, stream: str) -> None:
    """With stream and group alone, the fields are there and the job is not."""
    await bury(redis_url, stream, email())
    async with DeadLetters[Job](None, redis_url, stream=stream, group=GROUP) as dead:
        (letter,) = [each async for each in dead.list()]

    assert letter.job is None
    assert letter.fields[b"to"] == b"a"
    with pytest.raises(OptionError, match="give a job class, or both"):
        DeadLetters(None, redis_url, stream=stream)


async def test_a_class_that_has_changed_since_reads_no_job(
    redis_url: str, stream: str
) -> None:
    """A letter that its class cannot read any more is still a letter."""
    await bury(redis_url, stream, email())
    async with DeadLetters(Login, redis_url, stream=stream, group=GROUP) as dead:
        (letter,) = [each async for each in dead.list()]

    assert letter.job is None
    assert (letter.reason, letter.fields[b"to"]) == ("rejected", b"a")


async def test_foreign_entries_among_letters_are_listed(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """An entry that is no letter of flowd's is listed as that, and hides no other."""
    await bury(redis_url, stream, email())
    key = f"{{{stream}}}:{GROUP}:dlq"
    raw("XADD", key, "*", "some", "thing")
    forged = [word for name in OWN for word in (name, b"\xff?")]
    raw("XADD", key, "*", "to", "a", *forged)
    first, foreign, third = await letters(redis_url, stream)

    assert (first.reason, foreign.reason) == ("rejected", "unknown")
    assert (foreign.job, foreign.fields) == (None, {b"some": b"thing"})
    assert (third.reason, third.attempts, third.deliveries) == (r"\xff?", 0, 0)
