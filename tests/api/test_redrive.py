"""Dead letters go back to work, or away for good."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from flowd import (
    Context,
    DeadLetters,
    EncodeError,
    Letter,
    LetterNotFound,
    OutcomeUnknown,
    PayloadTooLarge,
    Queue,
    ServerError,
)
from flowd.broker.connection import Connection
from flowd.broker.dead_letters import redrive
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from jobs.email import Email
from tests.support.dead_letters import GROUP, bury, letters, raw_letters
from tests.support.email_job import RecordingHandler, email
from tests.support.proxy import proxy_to
from tests.support.queues import MakeQueue
from tests.support.raw import Raw


async def test_a_redriven_job_starts_afresh(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """It has its id, its enqueue time and all its attempts."""
    seen: list[tuple[str, int, int]] = []

    async def fail(job: Email, ctx: Context) -> None:
        seen.append((ctx.id, ctx.attempt, ctx.deliveries))
        raise ValueError

    async with make_queue(fail, max_retries=1) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await queue.drain()
        (first,) = await letters(redis_url, stream)
        async with DeadLetters(Email, redis_url, stream=stream) as dead:
            assert await dead.redrive(first.id) == job_id
        await queue.drain()
    (second,) = await letters(redis_url, stream)

    assert seen == [(job_id, 1, 1), (job_id, 2, 2)] * 2
    assert first.id != second.id
    assert (second.attempts, second.deliveries) == (2, 2)
    assert second.enqueued_at == first.enqueued_at


async def test_a_job_of_one_attempt_keeps_its_time(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Its entry did not have to say when it was enqueued; the new one does."""
    await bury(redis_url, stream, email())
    (letter,) = await letters(redis_url, stream)
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        await dead.redrive(letter.id)
    ((_, fields),) = raw.entries(stream)

    assert int(fields[b"_at"]) / 1000 == letter.enqueued_at.timestamp()


async def test_the_jobs_fields_go_back_as_they_were(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The letter's own fields are cut by number: a job may use the same names."""
    given = [b"to", b"a", b"\xff", b"\x00\xff", b"subject", b"", b"to", b"b"]
    given += [b"_dlq_error", b"mine", b"_traceparent", b"00-1"]
    await bury(redis_url, stream)  # sets the group up
    async with Queue(Email, RecordingHandler(), url=redis_url, stream=stream):
        raw("XADD", stream, "*", *given)
    await bury(redis_url, stream)
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]
        await dead.redrive(letter.id)

    entry = raw("XRANGE", stream, "-", "+")
    assert isinstance(entry, list)
    assert isinstance(entry[0], list)
    fields = entry[0][1]
    assert isinstance(fields, list)
    assert fields[: len(given)] == given
    at, job_id = letter.job_id.partition("-")[0].encode(), letter.job_id.encode()
    assert fields[len(given) :] == [b"_at", at, b"_id", job_id]


async def test_a_job_is_redriven_once(redis_url: str, raw: Raw, stream: str) -> None:
    """Of many who redrive the same letter one succeeds, and the job is there once."""
    await bury(redis_url, stream, email())
    (letter,) = await letters(redis_url, stream)
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        results = await asyncio.gather(
            *(dead.redrive(letter.id) for _ in range(20)), return_exceptions=True
        )

    assert results.count(letter.job_id) == 1
    assert sum(isinstance(each, LetterNotFound) for each in results) == 19
    assert raw("XLEN", stream) == 1
    assert not raw_letters(raw, stream)


async def test_a_job_can_be_corrected_on_its_way_back(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Another job takes its place, and what its class does not know stays."""
    given = (
        "to",
        "a",
        "subject",
        "hi",
        "body",
        "b",
        "_traceparent",
        "00-1",
        "_key",
        "k",
    )
    await bury(redis_url, stream)
    raw("XADD", stream, "*", *given)
    await bury(redis_url, stream)
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]
        assert await dead.redrive(letter, job=email("b")) == letter.job_id
        with pytest.raises(LetterNotFound):
            await dead.redrive(letter, job=email("c"))
    ((_, fields),) = raw.entries(stream)

    assert fields == {
        b"to": b"b",
        b"subject": b"hi",
        b"_traceparent": b"00-1",
        b"_key": b"k",
        b"_at": letter.job_id.partition("-")[0].encode(),
        b"_id": letter.job_id.encode(),
    }
    assert not raw_letters(raw, stream)


async def test_changed_letter_leaves_others_unchanged(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """In one step with others, what is given for one letter is no other's."""
    await bury(redis_url, stream, *map(email, "abc"))
    first, second, third = await letters(redis_url, stream)
    pairs = [(each.id, each.job_id) for each in (first, second, third)]
    async with aclosing(Connection(Address.of(redis_url))) as connection:
        moved = await redrive(Stream(connection, stream, GROUP), pairs, {second.id: {}})

    assert moved == [True, True, True]
    sent = [fields.get(b"to") for _, fields in raw.entries(stream)]
    assert sent == [first.fields[b"to"], None, third.fields[b"to"]]


async def test_redriven_letters_are_bounded_in_bytes(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """One script moves a megabyte and the letter that reaches it; `redrive_all` moves all."""
    large = [Email(to=str(each), subject="x" * 220_000) for each in range(12)]
    await bury(redis_url, stream, *large)
    pairs = [(each.id, each.job_id) for each in await letters(redis_url, stream)]
    async with aclosing(Connection(Address.of(redis_url))) as connection:
        moved = await redrive(Stream(connection, stream, GROUP), pairs)
    assert moved == [True] * 5
    assert raw("XLEN", stream) == 5

    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        assert await dead.redrive_all() == 7
    sent = [fields[b"to"] for _, fields in raw.entries(stream)]
    assert sent == [str(each).encode() for each in range(12)]
    assert not raw_letters(raw, stream)


async def test_unserializable_job_is_not_redriven(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job with a value that has no form on the wire leaves the letter where it is."""
    await bury(redis_url, stream, email())
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]
        with pytest.raises(EncodeError, match="not encodable"):
            await dead.redrive(letter, job=email("\udcff"))
        with pytest.raises(PayloadTooLarge):
            await dead.redrive(letter, job=email("x" * 300_000))

    assert len(raw_letters(raw, stream)) == 1
    assert raw("XLEN", stream) == 0


async def test_all_letters_are_redriven(redis_url: str, stream: str) -> None:
    """Page by page, each job once."""
    recorder = RecordingHandler()
    await bury(redis_url, stream, *(email(str(number)) for number in range(250)))
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        assert await dead.redrive_all() == 250
        assert await dead.redrive_all() == 0
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        queue.run()
        await queue.drain()

    assert sorted(map(int, recorder.done)) == list(range(250))
    assert not await letters(redis_url, stream)


async def test_a_script_moves_a_page_of_letters_at_most(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """However many there are: a script keeps all clients waiting."""
    await bury(redis_url, stream, *(email(str(number)) for number in range(250)))
    named: list[int] = []
    with Raw(redis_url) as watcher:
        watcher("MONITOR")
        async with DeadLetters(Email, redis_url, stream=stream) as dead:
            assert await dead.redrive_all() == 250
        raw("ECHO", "that was it")
        while b"that was it" not in (line := watcher.line()):
            if b'"EVAL' in line and b"lua]" not in line:
                named.append(line.count(b'"-1"'))
    # The first is asked for by a hash that the server may not know yet.
    assert sorted(set(named)) == [50, 100]


async def test_some_letters_are_redriven(redis_url: str, raw: Raw, stream: str) -> None:
    """Those that a function picks; the others stay."""
    await bury(redis_url, stream, *(email(str(number)) for number in range(150)))
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        picked = await dead.redrive_all(lambda each: each.job == email("149"))

    assert picked == 1
    assert len(await letters(redis_url, stream)) == 149
    ((_, fields),) = raw.entries(stream)
    assert fields[b"to"] == b"149"


async def test_letters_of_meanwhile_are_left_alone(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Jobs that die while all are redriven or purged are left for the next run."""
    await bury(redis_url, stream, *(email(str(number)) for number in range(120)))
    one = raw_letters(raw, stream)[0]
    seen: list[str] = []

    def matches(letter: Letter[Email]) -> bool:
        seen.append(letter.id)
        assert len(seen) <= 360
        raw("XADD", f"{{{stream}}}:{GROUP}:dlq", "*", *one)
        return True

    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        assert await dead.redrive_all(matches) == 120
        assert await dead.purge_all(matches) == 120

    assert len(seen) == 240
    assert len(raw_letters(raw, stream)) == 120


async def test_a_letter_that_is_none_of_flowds_stays(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A foreign letter cannot be distinguished from its job, so it is refused."""
    await bury(redis_url, stream, email())
    key = f"{{{stream}}}:{GROUP}:dlq"
    raw("XADD", key, "*", "to", "a", "subject", "hi")
    foreign = (await letters(redis_url, stream))[1]
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        with pytest.raises(ServerError, match="was not written by flowd"):
            await dead.redrive(foreign.id)
        with pytest.raises(ServerError, match="was not written by flowd"):
            await dead.redrive_all()

    assert raw("XLEN", stream) == 1  # the one before it
    assert [each.id for each in await letters(redis_url, stream)] == [foreign.id]


async def test_a_redriven_job_keeps_its_key(redis_url: str, stream: str) -> None:
    """While the job is back at work its idempotency key still stands for it."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        job_id = await queue.enqueue(email(), key="k")
        await bury(redis_url, stream)
        (letter,) = await letters(redis_url, stream)
        async with DeadLetters(Email, redis_url, stream=stream) as dead:
            await dead.redrive(letter.id)
        assert await queue.enqueue(email(), key="k") == job_id
        queue.run()
        await queue.drain()

    assert recorder.done == ["a"]


async def test_a_purge_deletes_for_good(redis_url: str, raw: Raw, stream: str) -> None:
    """One letter, those that a function picks, or all."""
    await bury(redis_url, stream, *(email(str(number)) for number in range(130)))
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        first, *_ = [each async for each in dead.list()]
        await dead.purge(first.id)
        with pytest.raises(LetterNotFound):
            await dead.purge(first.id)
        assert await dead.purge_all(lambda each: each.fields[b"to"] > b"5") == 54
        assert await dead.purge_all() == 75

    assert not raw_letters(raw, stream)
    assert raw("XLEN", stream) == 0


async def test_a_purge_frees_the_key(redis_url: str, raw: Raw, stream: str) -> None:
    """The same work may be enqueued again."""
    queue = Queue(Email, RecordingHandler(), url=redis_url, stream=stream)
    first = await queue.enqueue(email(), key="k")
    await bury(redis_url, stream)
    assert await queue.enqueue(email(), key="k") == first
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        assert await dead.purge_all() == 1
    second = await queue.enqueue(email(), key="k")
    await queue.aclose()

    assert second != first
    assert raw("XLEN", stream) == 1


async def test_a_purge_leaves_the_key_of_another_job(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A key that ran out and was taken anew belongs to the job that took it."""
    queue = Queue(Email, RecordingHandler(), url=redis_url, stream=stream)
    await queue.enqueue(email(), key="k")
    await bury(redis_url, stream)
    raw("SET", f"{{{stream}}}:key:k", "of-another-job")
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        await dead.purge_all()
    await queue.aclose()

    assert raw("GET", f"{{{stream}}}:key:k") == b"of-another-job"


async def test_a_key_that_is_no_text_holds_up_no_purge(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A `_key` that flowd did not write frees nothing, and the letter goes."""
    await bury(redis_url, stream)
    raw("XADD", stream, "*", "to", "a", "subject", "hi", "_key", b"\xff")
    await bury(redis_url, stream)
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        assert await dead.purge_all() == 1

    assert not raw_letters(raw, stream)


async def test_a_redrive_that_loses_an_answer_says_at_least(
    redis_url: str, stream: str
) -> None:
    """What is certainly back is counted, and so is what may be."""
    await bury(redis_url, stream, *(email(str(number)) for number in range(150)))
    async with proxy_to(redis_url) as proxy:
        asked: list[str] = []

        def later(letter: Letter[Email]) -> bool:
            asked.append(letter.id)
            if len(asked) == 101:
                proxy.lose(b"EVAL")
            return True

        async with DeadLetters(Email, proxy.url, stream=stream) as dead:
            with pytest.raises(OutcomeUnknown) as raised:
                await dead.redrive_all(later)
    assert str(raised.value).startswith(
        "at least 100 are back, and up to 50 more may be: "
    )


async def test_a_purge_that_loses_an_answer_says_at_least(
    redis_url: str, stream: str
) -> None:
    """What is certainly deleted is counted, and so is what may be."""
    await bury(redis_url, stream, *(email(str(number)) for number in range(150)))
    async with proxy_to(redis_url) as proxy:
        asked: list[str] = []

        def later(letter: Letter[Email]) -> bool:
            asked.append(letter.id)
            if len(asked) == 101:
                proxy.lose(b"EVAL")
            return True

        async with DeadLetters(Email, proxy.url, stream=stream) as dead:
            with pytest.raises(OutcomeUnknown) as raised:
                await dead.purge_all(later)
    assert str(raised.value).startswith(
        "at least 100 are deleted, and up to 50 more may"
    )
