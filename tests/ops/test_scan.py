"""Everything in a queue is read once, page by page, however it moves meanwhile."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from contextlib import aclosing

import pytest

from flowd.ops.decode_check import DecodeCheck
from flowd.ops.queries import PAGE
from flowd.ops.scan import Page, Place, scan
from jobs.email import Email
from tests.ops.many import STREAM, fill
from tests.ops.test_jobs import queries_of
from tests.support.raw import Raw

DELAYED, BODIES = "{emails}:delayed", "{emails}:delayed:jobs"
PARKED = "{emails}:gate:parked"
DEAD = "{emails}:senders:dlq"

Met = Counter[tuple[Place, bytes]]

# A job of one field, as flowd packs a delayed one.
_BODY = b"\x92\xa2to\xa1x"


async def pages(url: str, limit: int = 0) -> list[Page]:
    """All pages of the queue."""
    async with queries_of(url, STREAM) as queries:
        return [page async for page in scan(queries, limit=limit)]


def met(found: list[Page]) -> Met:
    """How often each job was met, by its place and id."""
    return Counter((page.place, each.id) for page in found for each in page.found)


def delay(raw: Raw, due: int) -> bytes:
    """Delay a job until a millisecond; returns its id."""
    job = b"job%d" % due
    raw("ZADD", DELAYED, due, job)
    raw("HSET", BODIES, job, _BODY)
    return job


def park(raw: Raw, number: int) -> bytes:
    """Park a job in a lane of its own; returns its id."""
    job = b"parked%d" % number
    raw("ZADD", PARKED, 0, b"to=%d\x00n%016d%b" % (number, number, job))
    raw("HSET", BODIES, job, _BODY)
    return job


def promote(raw: Raw, job: bytes) -> bytes:
    """Move a delayed job to the stream; returns its entry's id."""
    raw("ZREM", DELAYED, job)
    raw("HDEL", BODIES, job)
    added = raw("XADD", STREAM, "*", "to", "x")
    assert isinstance(added, bytes)
    return added


def enqueue(raw: Raw, number: int) -> list[bytes]:
    """Add so many entries; returns their ids."""
    added = [raw("XADD", STREAM, "*", "to", "x") for _ in range(number)]
    return [each for each in added if isinstance(each, bytes)]


async def test_every_job_is_met_once(redis_url: str, raw: Raw) -> None:
    """Waiting, running, delayed and dead ones, over many pages that are never larger."""
    fill(raw, 3 * PAGE + 7, running=100)
    found = await pages(redis_url)
    assert max(len(page.found) for page in found) == PAGE
    seen = met(found)
    assert set(seen.values()) == {1}
    assert Counter(place for place, _ in seen) == {
        "stream": 3 * PAGE + 7,
        "delayed": 3 * PAGE + 7,
        "dead letters": 3 * PAGE + 7,
    }
    assert {each.reason for page in found for each in page.found} == {"", "failed"}
    fields = [each.fields for page in found for each in page.found]
    assert {tuple(each) for each in fields} == {(b"to", b"subject")}


async def test_an_empty_queue_has_no_page(redis_url: str) -> None:
    """Neither has one that was never set up."""
    assert await pages(redis_url) == []


@pytest.mark.parametrize("limit", [1, 8, 9, 350])
async def test_a_limit_is_one_of_each_place(
    redis_url: str, raw: Raw, limit: int
) -> None:
    """So many of the stream, of the delayed and of the dead, and not one more."""
    fill(raw, 400, running=100)
    counts = Counter(place for place, _ in met(await pages(redis_url, limit)))
    assert counts == {"stream": limit, "delayed": limit, "dead letters": limit}


async def test_a_job_that_becomes_due_meanwhile_is_met(
    redis_url: str, raw: Raw
) -> None:
    """It leaves the delayed set before that is read, for the end of the stream."""
    before = enqueue(raw, 20)
    job = delay(raw, 1)
    async with (
        queries_of(redis_url, STREAM) as queries,
        aclosing(scan(queries)) as reading,
    ):
        found = [await anext(reading)]
        entry = promote(raw, job)
        found += [page async for page in reading]
    assert met(found) == {("stream", each): 1 for each in (*before, entry)}


async def test_a_job_that_fails_meanwhile_is_met(redis_url: str, raw: Raw) -> None:
    """It leaves the stream before it is reached, and is delayed or dead then."""
    *others, failed, died = enqueue(raw, 200)
    async with (
        queries_of(redis_url, STREAM) as queries,
        aclosing(scan(queries)) as reading,
    ):
        found = [await anext(reading)]
        raw("XDEL", STREAM, failed, died)
        job = delay(raw, 1)
        letter = raw("XADD", DEAD, "*", "to", "x")
        found += [page async for page in reading]
    assert isinstance(letter, bytes)
    assert met(found) == {
        **{("stream", each): 1 for each in others},
        ("delayed", job): 1,
        ("dead letters", letter): 1,
    }


async def test_parked_jobs_are_met(redis_url: str, raw: Raw) -> None:
    """Each that stays is met once, although others leave the gate for the stream."""
    fill(raw, 3, running=1)
    gone, *stay = [park(raw, number) for number in range(PAGE + 20)]
    seen: Met = Counter()
    async with (
        queries_of(redis_url, STREAM) as queries,
        aclosing(scan(queries)) as found,
    ):
        async for page in found:
            if page.place == "parked" and not seen["parked", gone]:
                raw("ZREM", PARKED, b"to=0\x00n%016d%b" % (0, gone))
                raw("HDEL", BODIES, gone)
                raw("XADD", STREAM, "*", "to", "x")
            seen += met([page])
    assert {seen["parked", job] for job in stay} == {1}
    assert sum(seen[key] for key in seen if key[0] == "stream") == 4


async def test_delayed_jobs_that_stay_are_not_passed_over(
    redis_url: str, raw: Raw
) -> None:
    """Others become due while the set is read, which moves its front."""
    jobs = [delay(raw, due) for due in range(1, 301)]
    async with (
        queries_of(redis_url, STREAM) as queries,
        aclosing(scan(queries)) as reading,
    ):
        found = [await anext(reading)]
        for job in jobs[:100]:
            promote(raw, job)
        found += [page async for page in reading]
    seen = met(found)
    assert {("delayed", job): 1 for job in jobs[100:]}.items() <= seen.items()


async def test_a_delayed_job_without_fields_is_no_job(redis_url: str, raw: Raw) -> None:
    """Its body was deleted; the jobs behind it are read all the same."""
    jobs = [delay(raw, due) for due in range(1, 31)]
    raw("HDEL", BODIES, *jobs[15:])
    assert met(await pages(redis_url)) == {("delayed", job): 1 for job in jobs[:15]}


async def test_pages_of_large_jobs_are_small(redis_url: str, raw: Raw) -> None:
    """After the first page, so many are asked for as make about one megabyte."""
    for _ in range(40):
        raw("XADD", STREAM, "*", "body", b"x" * 250_000)
    first, *others = await pages(redis_url)
    assert len(first.found) == 8
    assert max(len(page.found) for page in others) == 4
    assert sum(len(page.found) for page in others) == 32


async def test_an_entry_that_was_packed_says_its_size(redis_url: str, raw: Raw) -> None:
    """One of more fields than Lua can pass on is one packed field in the dead letters."""
    names = b"".join(b"\xa1x\xa1y" for _ in range(1_100))
    packed = b"\xdc" + (2_200).to_bytes(2) + names
    own = ("id", "reason", "error", "traceback", "attempts", "deliveries", "enqueued")
    letter = [word for name in (*own, "consumer") for word in (f"_dlq_{name}", "1")]
    raw("XADD", DEAD, "*", "_packed", packed, *letter)
    ((_, (found,)),) = await pages(redis_url)
    assert found.size == 1_100


@pytest.mark.limit(240.0)
async def test_memory_does_not_grow_with_the_queue(redis_url: str, raw: Raw) -> None:
    """Ten times as many jobs take as much."""
    fill(raw, 1_500, running=10)
    few = await most_memory(redis_url)
    raw("FLUSHALL")
    fill(raw, 15_000, running=10)
    many = await most_memory(redis_url)
    assert many - few < 400_000


async def most_memory(url: str) -> int:
    """How many bytes a check takes at its height."""
    gc.collect()
    check = DecodeCheck(Email)
    async with queries_of(url, STREAM) as queries:
        tracemalloc.start(1)
        try:
            await check.run(queries)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


async def test_reasons_are_bounded_in_number(redis_url: str, raw: Raw) -> None:
    """However many there are, each job is counted with its field."""
    for number in range(2, 202):
        raw("XADD", STREAM, "*", "to", "x", "_v", number)
    raw("XADD", STREAM, "*", "to", "x", "_attempt", "many")
    check = DecodeCheck(Email, samples=3)
    async with queries_of(redis_url, STREAM) as queries:
        await check.run(queries)
    assert check.counts == {("stream", "newer"): 200, ("stream", "unreadable"): 1}
    assert len(check.failures) == 52
    others = check.failures["newer", "Email", "_v", "other reasons"]
    assert others.places == {"stream": 150}
    assert len(others.samples) == 3
    (one,) = check.failures["unreadable", "entry", "_attempt", "other reasons"].samples
    assert one.detail == "got b'many'"
