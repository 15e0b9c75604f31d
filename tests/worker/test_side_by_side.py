"""What came in one read and is the head of its stream is deleted in one step, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from flowd import Queue
from flowd.broker import replies
from flowd.broker.commands import enqueue_command
from flowd.broker.connection import Connection
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery, Entry
from flowd.worker.side_by_side import SideBySide
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.monitor import Monitor
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
JOBS = 20


@asynccontextmanager
async def reading(
    redis_url: str, stream: str, starting_id: str = "0"
) -> AsyncGenerator[tuple[Stream, list[Entry]]]:
    """A queue of which one worker has read all jobs at once."""
    connection = Connection(Address.of(redis_url))
    place = Stream(connection, stream, GROUP)
    try:
        await place.init(starting_id)
        await place.enqueue([enqueue_command(email(str(n))) for n in range(JOBS)])
        yield place, await place.read("a", JOBS)
    finally:
        await connection.aclose()


def runs_of(entries: Sequence[Entry], *reads: Sequence[Entry]) -> bytes:
    """What is said of entries after these reads."""
    together = SideBySide()
    for each in reads:
        together.note(each)
    return together.runs([each.id for each in entries])


def held(entries: Sequence[Entry]) -> list[Delivery]:
    """The deliveries of entries."""
    return [Delivery(each, 0.0) for each in entries]


def entry(number: int, seq: int = 0) -> Entry:
    """An entry without fields."""
    return Entry(b"%d-%d" % (number, seq), 1, {}, 0)


async def left(place: Stream) -> list[bytes]:
    """The ids of what the stream holds."""
    found = place.connection.call(
        "XRANGE", place.keys.stream, "-", "+", read=replies.entries
    )
    return [entry_id for entry_id, _ in await found]


def test_run_has_no_gap() -> None:
    """Entries are a run in the order of their read, without any left out."""
    read = [entry(n) for n in range(10, 30)]
    assert runs_of(read, read) == b"10-0 29-1"
    assert runs_of(read[3:15], read) == b"13-0 24-1"
    assert runs_of(read[:7], read) == b""
    assert runs_of([*read[:9], *read[10:]], read) == b""
    assert runs_of(read[::-1], read) == b""
    assert runs_of(read) == b""


def test_entries_of_several_reads_are_several_runs() -> None:
    """Whether something lies between two reads, only the server knows."""
    first, second = [entry(n) for n in range(10, 20)], [entry(n) for n in range(20, 30)]
    both = [*first, *second]
    assert runs_of(both[5:15], first, second) == b"15-0 19-1 20-0 24-1"
    assert runs_of(both, first) == b""


def test_id_behind_the_last_sequence_number_is_of_the_next_moment() -> None:
    """The id behind the last of a millisecond is the first of the next."""
    read = [entry(1, 2**64 - 9 + n) for n in range(9)]
    assert runs_of(read, read) == b"1-18446744073709551607 2-0"


async def test_run_at_the_head_is_deleted_in_one_step(
    redis_url: str, stream: str
) -> None:
    """The first half is deleted by where it ends; the other half is left, and then deleted."""
    async with reading(redis_url, stream) as (place, entries):
        rest = entries
        for some in (entries[:10], entries[10:]):
            with Monitor(redis_url) as monitor:
                runs = runs_of(some, entries)
                assert await place.settle("a", held(some), [], runs=runs) == [1] * 10
                inside = [name for name, _ in monitor.words(inside=True)]
            assert inside.count("XTRIM") == 1
            assert "XDEL" not in inside
            rest = [each for each in rest if each not in some]
            assert await left(place) == [each.id for each in rest]


async def test_run_behind_the_head_is_deleted_one_by_one(
    redis_url: str, stream: str
) -> None:
    """While the first still runs, what is settled behind it is deleted, and it is not."""
    async with reading(redis_url, stream) as (place, entries):
        runs = runs_of(entries[1:], entries)
        assert await place.settle("a", held(entries[1:]), [], runs=runs) == [1] * 19
        assert await left(place) == [entries[0].id]


async def test_entry_that_is_held_is_never_trimmed(redis_url: str, stream: str) -> None:
    """An entry within a run that is still held stays, whatever is said of the run."""
    async with reading(redis_url, stream) as (place, entries):
        runs = runs_of(entries, entries)
        some = held([*entries[:5], *entries[6:]])
        assert await place.settle("a", some, [], runs=runs) == [1] * 19
        assert await left(place) == [entries[5].id]


async def test_entries_of_others_are_never_trimmed(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What was in the stream before its group stays there."""
    old = raw("XADD", stream, "1-1", "left", "behind")
    assert old == b"1-1"
    async with reading(redis_url, stream, "$") as (place, entries):
        runs = runs_of(entries, entries)
        assert await place.settle("a", held(entries), [], runs=runs) == [1] * JOBS
        assert await left(place) == [b"1-1"]


async def test_run_that_is_partly_lost_is_deleted_one_by_one(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What another worker took over within a run stays in the stream."""
    async with reading(redis_url, stream) as (place, entries):
        taken = entries[4].id.decode()
        raw("XCLAIM", stream, GROUP, "b", 0, taken)
        runs = runs_of(entries, entries)
        settled = await place.settle("a", held(entries), [], runs=runs)
        assert settled == [1] * 4 + [0] + [1] * 15
        assert await left(place) == [entries[4].id]


@pytest.mark.parametrize("concurrency", [20, 100])
async def test_busy_worker_deletes_by_runs(
    redis_url: str, raw: Raw, stream: str, concurrency: int
) -> None:
    """A worker whose jobs end in their order trims the stream, and deletes few singly."""
    recorder = RecordingHandler()
    queue = Queue(
        Email, recorder, url=redis_url, stream=stream, concurrency=concurrency
    )
    await queue.enqueue_bulk(email(str(number)) for number in range(1_000))
    raw("CONFIG", "RESETSTAT")
    async with queue:
        handle = queue.run()
        await wait_until(lambda: len(recorder.done) == 1_000)
        await handle.shutdown()
    assert raw("XLEN", stream) == 0
    assert raw.calls("xtrim") > raw.calls("xdel")
