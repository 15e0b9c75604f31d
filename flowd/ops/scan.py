"""Everything that a queue holds now, page by page: its jobs and its dead letters.

It is a snapshot of what moves. The order of reading follows the jobs' ways, so that one
that moves once meanwhile is met once at least: out of the stream into the delayed set,
from there to the gate of a queue with policies, back to the end of the stream, or to the
dead letters. One that moves more often may be missed, or be met again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, Literal, NamedTuple, TypeAlias

from flowd.model.delivery import by_name
from flowd.model.job import Job, payload_size
from flowd.model.letter import Letter, read_letter
from flowd.ops.queries import PAGE, Queries
from flowd.ops.rows import JobRow

__all__ = ["PLACES", "Page", "Place", "ScannedJob", "scan"]

Place: TypeAlias = Literal["stream", "delayed", "parked", "dead letters"]
"""Where a job is: waiting or running, delayed, at the gate of its queue, or dead."""

PLACES: Final[tuple[Place, ...]] = ("stream", "delayed", "parked", "dead letters")
"""In the order in which jobs go through them."""

_FIRST: Final = 8
_PAGE_BYTES: Final = 1 << 20


class ScannedJob(NamedTuple):
    """A job as it is in Redis."""

    id: bytes
    """Of its entry, of the delayed job, or of the dead letter."""

    fields: dict[bytes, bytes]
    size: int
    """How many fields it has; a name that comes twice counts twice."""

    reason: str = ""
    """Why it is dead, as `Letter.reason`."""


class Page(NamedTuple):
    """Jobs that are in the same place."""

    place: Place
    found: Sequence[ScannedJob]


async def scan(queries: Queries, *, limit: int = 0) -> AsyncGenerator[Page]:
    """All jobs and dead letters of a queue; each page is asked for ahead.

    So the server works while the page before is looked at, for which the caller has to
    let the event loop run now and then. There are never more than two pages, each of
    100 jobs at most, and of fewer where jobs are large.

    Args:
        queries: of the queue.
        limit: how many of each place, at most; 0: all.

    Raises:
        ServerError: as `Connection.call`.
    """
    async with aclosing(_pages(queries, limit)) as pages:
        following = asyncio.ensure_future(anext(pages, None))
        try:
            while page := await following:
                following = asyncio.ensure_future(anext(pages, None))
                yield page
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _pages(queries: Queries, limit: int) -> AsyncGenerator[Page]:
    stream, dead = queries.keys.stream, queries.keys.dead
    end = await queries.last_id(stream)
    async for found in _entries(queries, stream, "-", end, limit):
        yield Page("stream", found)
    async for found in _delayed(queries, limit):
        yield Page("delayed", found)
    async for found in _parked(queries, limit):
        yield Page("parked", found)
    if not limit:
        # What was delayed or parked, and may run since.
        newest = await queries.last_id(stream)
        async for found in _entries(queries, stream, f"({end}", newest, 0):
            yield Page("stream", found)
    newest = await queries.last_id(dead)
    async for found in _entries(queries, dead, "-", newest, limit):
        yield Page("dead letters", found)


async def _entries(
    queries: Queries, key: str, first: str, last: str, limit: int
) -> AsyncGenerator[Sequence[ScannedJob]]:
    read = _letter if key == queries.keys.dead else _entry
    pace = _Pace(limit)
    while pace.count and (page := await queries.entries(key, first, last, pace.count)):
        first = f"({page[-1][0].decode()}"
        pace.took(len(page), sum(sum(map(len, flat)) for _, flat in page))
        yield [read(entry_id, flat) for entry_id, flat in page]


async def _delayed(
    queries: Queries, limit: int
) -> AsyncGenerator[Sequence[ScannedJob]]:
    # Jobs leave at the front, where they become due, so this counts from the end: what
    # stays is never passed over, and met twice only if others are added behind it.
    pace, seen = _Pace(limit), 0
    while pace.count and (
        page := await queries.delayed(pace.count, -seen - pace.count)
    ):
        seen += pace.count
        yield _bodies(page, pace)


async def _parked(queries: Queries, limit: int) -> AsyncGenerator[Sequence[ScannedJob]]:
    pace, after, last = _Pace(limit), b"", await queries.last_place()
    while pace.count and after < last:
        page, after = await queries.lanes(pace.count, after, last)
        if not after:
            return
        yield _bodies(page, pace)


def _bodies(page: Sequence[JobRow], pace: _Pace) -> Sequence[ScannedJob]:
    pace.took(len(page), sum(payload_size(row.fields) for row in page))
    return [
        ScannedJob(row.id, row.fields, len(row.fields))
        for row in page
        if row.fields  # else another client deleted them
    ]


class _Pace:
    """How many jobs to ask for: fewer where those before were large."""

    def __init__(self, limit: int) -> None:
        self._left = limit or sys.maxsize
        self.count = min(_FIRST, self._left)

    def took(self, jobs: int, size: int) -> None:
        """So many came, of so many bytes together."""
        self._left -= jobs
        fitting = max(1, _PAGE_BYTES * jobs // max(1, size))
        self.count = min(2 * self.count, PAGE, fitting, self._left)


def _entry(entry_id: bytes, flat: Sequence[bytes]) -> ScannedJob:
    return ScannedJob(entry_id, by_name(flat), len(flat) // 2)


def _letter(letter_id: bytes, flat: Sequence[bytes]) -> ScannedJob:
    letter: Letter[Job] = read_letter(letter_id, flat, None)
    fields = dict(letter.fields)
    return ScannedJob(letter_id, fields, _size(fields), letter.reason)


def _size(fields: dict[bytes, bytes]) -> int:
    """How many fields the entry had; settle.lua packs what has too many."""
    packed = fields.get(b"_packed")
    if packed is None or len(fields) > 1:
        return len(fields)
    # A MessagePack array: one byte, its length in two or four, then names and values.
    width = 2 if packed[:1] == b"\xdc" else 4
    return int.from_bytes(packed[1 : 1 + width]) // 2
