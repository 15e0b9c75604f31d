"""Jobs that did not end are listed by what they do, and found by their id."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from flowd import Context, DeadLetters, Item, Queue, Snooze, WrongKeyType
from flowd.broker.connection import Connection
from flowd.broker.url import Address
from flowd.ops import JobView, Queries, find_job, list_jobs
from flowd.ops.queries import PAGE
from flowd.ops.rows import State
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, expire
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


@asynccontextmanager
async def queries_of(url: str, stream: str) -> AsyncGenerator[Queries]:
    """What an operator asks a queue with."""
    connection = Connection(Address.of(url))
    try:
        yield Queries(connection, stream, GROUP)
    finally:
        await connection.aclose()


async def listed(
    url: str, stream: str, state: State, *, most: int = 1 << 40
) -> list[JobView]:
    """The jobs of one state."""
    async with queries_of(url, stream) as queries:
        return [job async for job in list_jobs(queries, state, time.time(), most=most)]


async def set_up(url: str, stream: str, *jobs: Email | Item[Email]) -> list[str]:
    """A queue without workers, with these jobs; returns their ids."""
    async with Queue(
        Email, RecordingHandler(), url=url, policy=policy(stream)
    ) as queue:
        return await queue.enqueue_bulk(jobs)


def to(jobs: list[JobView]) -> list[str]:
    """What the jobs are recognised by."""
    return [job.fields[b"to"].decode() for job in jobs]


async def test_each_state_is_listed(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """What runs, what waits and what is delayed, with all there is to say about it."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=30.0, concurrency=1) as queue:
        handle = queue.run()
        first = await queue.enqueue(email("first"))
        await wait_until(lambda: recorder.started)
        second = await queue.enqueue(email("second"))
        third = await queue.enqueue(email("third"), delay=60.0)
        (running,) = await listed(redis_url, stream, "running")
        (waiting,) = await listed(redis_url, stream, "waiting")
        (delayed,) = await listed(redis_url, stream, "delayed")
        await handle.shutdown(grace=0.0)

    assert [running.id, waiting.id, delayed.id] == [first, second, third]
    assert to([running, waiting, delayed]) == ["first", "second", "third"]
    assert (running.entry_id, waiting.entry_id) == (first, second)
    assert (running.consumer, running.deliveries) == (handle.consumer, 1)
    assert (waiting.consumer, waiting.deliveries) == (None, 0)
    assert (delayed.entry_id, delayed.age, delayed.silent) == (None, None, None)
    assert delayed.due_in is not None
    assert 0 < delayed.due_in <= 60
    assert running.age is not None
    assert waiting.due_in is None
    assert {job.attempt for job in (running, waiting, delayed)} == {1}


async def test_lists_have_no_end_but_the_last(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Each list continues from page to page, in order, and has every job once."""
    many = 2 * PAGE + 1
    numbers = [str(number) for number in range(many)]
    await set_up(redis_url, stream, *map(email, numbers))
    later = (Item(email(each), delay=60 + i) for i, each in enumerate(numbers))
    await set_up(redis_url, stream, *later)

    assert to(await listed(redis_url, stream, "waiting")) == numbers
    assert to(await listed(redis_url, stream, "delayed")) == numbers
    die_with(raw, stream, GROUP, jobs=many)
    assert to(await listed(redis_url, stream, "running")) == numbers
    assert await listed(redis_url, stream, "waiting") == []
    async with queries_of(redis_url, stream) as queries:
        for limit in (1, PAGE, PAGE + 1):
            found = [
                job async for job in list_jobs(queries, "running", 0.0, limit=limit)
            ]
            assert to(found) == numbers[:limit]


async def test_a_retried_job_keeps_its_id(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """An entry of a later attempt is shown under the job's id, with its attempt."""
    await set_up(redis_url, stream)
    envelope = ("_id", "1000-0", "_at", "2000", "_attempt", "3", "_deliveries", "2")
    raw("XADD", stream, "*", "to", "a", "subject", "x", *envelope)
    (job,) = await listed(redis_url, stream, "waiting")

    assert (job.id, job.attempt, job.deliveries) == ("1000-0", 3, 2)
    assert job.enqueued_at.timestamp() == 2.0
    assert job.entry_id != job.id


async def test_an_envelope_that_is_none_hides_no_job(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Foreign entries are listed as well."""
    await set_up(redis_url, stream)
    raw("XADD", stream, "*", "_id", b"\xff", "_attempt", "many", "_at", "never")
    (job,) = await listed(redis_url, stream, "waiting")

    assert (job.id, job.attempt) == (r"\xff", 1)


async def test_large_values_stay_at_the_server(redis_url: str, stream: str) -> None:
    """A list asks for the beginning of each value only."""
    large = email("x" * 100_000)
    await set_up(redis_url, stream, large, Item(large, delay=60.0))
    for state in ("waiting", "delayed"):
        assert to(await listed(redis_url, stream, state, most=9)) == ["x" * 9]
        assert to(await listed(redis_url, stream, state)) == ["x" * 100_000]


async def test_a_job_that_was_deleted_is_shown(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """An entry that is gone and still pending has no fields, and hides no other."""
    await set_up(redis_url, stream, email("a"), email("b"))
    first, _ = die_with(raw, stream, GROUP, jobs=2)
    raw("XDEL", stream, first)
    ghost, other = await listed(redis_url, stream, "running")

    assert (ghost.entry_id, ghost.fields) == (first, {})
    assert to([other]) == ["b"]


async def test_jobs_wait_without_a_group(redis_url: str, raw: Raw, stream: str) -> None:
    """A queue that was not set up has no jobs, or only some that wait."""
    for state in ("waiting", "running", "delayed"):
        assert await listed(redis_url, stream, state) == []
    raw("XADD", stream, "*", "to", "a")
    assert to(await listed(redis_url, stream, "waiting")) == ["a"]
    assert await listed(redis_url, stream, "running") == []


async def test_a_key_that_is_no_stream_is_an_error(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It is not taken for an empty queue."""
    raw("SET", stream, "something else")
    with pytest.raises(WrongKeyType):
        await listed(redis_url, stream, "waiting")


async def find(
    url: str, stream: str, job_id: str, *, scan: int = 0
) -> tuple[JobView | None, int]:
    """The job, and how many were searched."""
    searched = count()
    async with queries_of(url, stream) as queries:
        found = await find_job(
            queries, job_id, time.time(), scan=scan, on_progress=lambda: next(searched)
        )
    return found, next(searched)


async def test_a_job_is_found_where_it_is(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Running, waiting or delayed, in one step, whole."""
    delayed = Item(email("c"), delay=60.0)
    ids = await set_up(redis_url, stream, email("a"), email("b"), delayed)
    die_with(raw, stream, GROUP, jobs=1)
    for job_id, state in zip(ids, ("running", "waiting", "delayed"), strict=True):
        job, searched = await find(redis_url, stream, job_id)
        assert job is not None
        assert (job.id, job.state, searched) == (job_id, state, 0)
        assert job.fields[b"subject"] == b"hi"


@pytest.mark.parametrize("job_id", ["1-1", "-", "+", "", "nothing", "1", "$", "٣-٣"])
async def test_a_job_that_is_not_there_is_none(
    redis_url: str, stream: str, job_id: str
) -> None:
    """Neither is what Redis would take for the first, the last or any."""
    await set_up(redis_url, stream, email(), Item(email(), delay=60.0))
    found, searched = await find(redis_url, stream, job_id)

    assert (found, searched) == (None, 1)


async def test_a_job_of_a_later_attempt_is_searched_for(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """By its id or its entry's, among those that run and those that wait, up to a limit."""
    await set_up(redis_url, stream, *map(email, "abc"))
    fields = ("to", "x" * 1_000, "subject", "x", "_id", "1000-0", "_attempt", "2")
    entry = raw("XADD", stream, "*", *fields)
    assert isinstance(entry, bytes)

    waiting, searched = await find(redis_url, stream, "1000-0")
    assert waiting is not None
    assert (waiting.state, len(waiting.fields[b"to"]), searched) == (
        "waiting",
        1_000,
        3,
    )
    assert await find(redis_url, stream, "1000-0", scan=3) == (None, 3)
    by_entry, searched = await find(redis_url, stream, entry.decode())
    assert by_entry is not None
    assert (by_entry.id, searched) == ("1000-0", 0)

    die_with(raw, stream, GROUP, jobs=4)
    expire(raw, stream, GROUP)
    running, _ = await find(redis_url, stream, "1000-0")
    assert running is not None
    assert running.silent is not None
    assert (running.state, running.consumer) == ("running", "dead")
    assert running.silent > 3_000


async def test_a_job_says_its_last_error(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """The newest failure's text travels with the job, cut, until it is redriven."""

    async def handle(job: Email, ctx: Context) -> None:
        match ctx.attempt:
            case 1:
                raise ValueError("first")
            case 2:
                raise ConnectionError("\u00f6" * 10_000)
            case _:
                seen.append(await found())
                raise Snooze(60 if len(seen) > 1 else 0)

    async def found() -> JobView:
        async with queries_of(redis_url, stream) as queries:
            (job,) = [
                each
                for state in states
                async for each in list_jobs(queries, state, time.time())
            ]
            return job

    seen: list[JobView] = []
    states: tuple[State, ...] = ("running", "waiting", "delayed")
    async with make_queue(handle) as queue:
        await queue.enqueue(email())
        running = queue.run()
        await wait_until(lambda: len(seen) > 1)
        await running.shutdown()
    seen.append(await found())

    text = "ConnectionError: " + "\u00f6" * 241
    assert [each.error for each in seen] == [text] * 3
    assert [each.state for each in seen] == ["running", "running", "delayed"]


async def test_a_redriven_job_has_no_last_error(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """It begins anew: its letter keeps what was before."""

    async def fail(job: Email) -> None:
        raise ValueError("no")

    async with make_queue(fail, max_retries=1) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    async with DeadLetters(Email, redis_url, stream=stream, group=GROUP) as dead:
        (letter,) = [each async for each in dead.list()]
        await dead.redrive(letter.id)
    (waiting,) = await listed(redis_url, stream, "waiting")

    assert letter.fields[b"_error"] == b"ValueError: no"
    assert waiting.error == ""
    assert b"_error" not in waiting.fields
