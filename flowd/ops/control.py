"""Jobs in bulk: select those that have not ended, and cancel or delete them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from flowd.broker import control
from flowd.broker.control import AT_ONCE, Found, JobPlace, cancel
from flowd.errors import ServerError
from flowd.model.delivery import order
from flowd.ops.jobs import JobView, job_view
from flowd.ops.queries import Queries
from flowd.ops.rows import JobRow, State

__all__ = ["JobFilter", "due_now", "end_jobs", "for_each_job"]

_BURST: Final = 0.2
"""Of how many seconds a rate is used up at once."""

_KEY_BYTES: Final = 1_024
"""As many as an idempotency key has, and more than an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are meant: those for which all of this is true."""

    states: Collection[State] = ("delayed", "parked", "waiting")
    """In the order in which jobs go through them, so that none slips past."""
    text: str = ""
    """Is in the error of its last failure."""

    fields: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    """The job has them, with these values."""

    since: datetime | None = None
    """It was enqueued then or later."""

    until: datetime | None = None
    """It was enqueued before."""

    @property
    def most(self) -> int:
        """How many bytes of a value tell whether it is one of these."""
        return max([_KEY_BYTES, *(len(each) + 1 for each in self.fields.values())])

    def takes(self, job: JobView) -> bool:
        """Whether all but the state is true of a job."""
        return (
            self.text in job.error
            and (self.since is None or job.enqueued_at >= self.since)
            and (self.until is None or job.enqueued_at < self.until)
            and all(job.fields.get(name) == text for name, text in self.fields.items())
        )


async def for_each_job(
    queries: Queries,
    job_filter: JobFilter,
    now: float,
    step: Callable[[Sequence[JobView]], Awaitable[int]],
    *,
    limit: int = 0,
    rate: float | None = None,
    after: str = "",
) -> None:
    """Take a step with the jobs that are meant, of those that are there now.

    What is added meanwhile is not among them.

    Args:
        queries: of the queue.
        job_filter: which.
        now: the server's time.
        step: is given up to 100 of them, and returns how many of them are gone.
        limit: how many, at most; 0: all.
        rate: how many in a second, at most; None: as fast as it goes.
        after: an entry id, behind which those that wait or run begin.

    Raises:
        ServerError: as `Connection.call`, or of the step.
    """
    left = limit
    size = AT_ONCE if rate is None else max(1, min(AT_ONCE, int(rate * _BURST)))
    for state in job_filter.states:
        pages = _pages(queries, state, size, after)
        await pages.begin()
        while page := await pages.next(job_filter.most):
            picked = [
                job for row in page if job_filter.takes(job := job_view(row, now))
            ]
            picked = picked[:left] if limit else picked
            pages.gone = await step(picked) if picked else 0
            left -= len(picked)
            if limit and not left:
                return
            if rate is not None and picked:
                await asyncio.sleep(len(picked) / rate)


async def end_jobs(
    queries: Queries, jobs: Sequence[JobView], *, running: bool
) -> list[tuple[JobView, Found | ServerError]]:
    """Let up to 100 jobs end; what each did, empty for one that has ended or moved.

    Args:
        queries: of the queue.
        jobs: as they were listed.
        running: whether running ones are cancelled, or left alone.

    Raises:
        ServerError: as `flowd.broker.control.cancel`.
    """
    places = [_place_of(job) for job in jobs]
    found = await cancel(queries.stream, places, running=running)
    return [*zip(jobs, found, strict=True)]


async def due_now(queries: Queries, job_id: str, now: float) -> bool:
    """As `flowd.broker.control.due_now`, of the queue that is asked about."""
    return await control.due_now(queries.stream, job_id, now)


def _pages(
    queries: Queries, state: State, size: int, after: str
) -> _Entries | _Delayed | _Parked:
    match state:
        case "delayed":
            return _Delayed(queries, size)
        case "parked":
            return _Parked(queries, size)
        case _:
            return _Entries(queries, state, size, after.encode())


class _Entries:
    """Pages of what waits or runs, up to the entry that is the last now."""

    def __init__(self, queries: Queries, state: State, size: int, after: bytes) -> None:
        self._queries = queries
        self._ask = queries.running if state == "running" else queries.waiting
        self._size = size
        self._after, self._last = after, (0, 0)
        self.gone = 0

    async def begin(self) -> None:
        stream = self._queries.keys.stream
        self._last = order((await self._queries.last_id(stream)).encode())

    async def next(self, most: int) -> Sequence[JobRow]:
        if self._after and order(self._after) >= self._last:
            return ()
        page = await self._ask(self._size, self._after, most=most)
        self._after = page[-1].id if page else b""
        return [row for row in page if order(row.id) <= self._last]


class _Delayed:
    """Pages of delayed jobs from the end: they leave at the front, where they are due."""

    def __init__(self, queries: Queries, size: int) -> None:
        self._queries = queries
        self._size = size
        self._left = self._kept = self._given = 0
        self.gone = 0

    async def begin(self) -> None:
        self._left = (await self._queries.sizes()).delayed

    async def next(self, most: int) -> Sequence[JobRow]:
        self._kept += self._given - self.gone
        count = min(self._size, self._left)
        if count <= 0:
            return ()
        page = await self._queries.delayed(count, -self._kept - count, most=most)
        self._given, self.gone = len(page), 0
        self._left -= len(page)
        return page


class _Parked:
    """Pages of parked jobs, lane by lane, up to the place that is the last now."""

    def __init__(self, queries: Queries, size: int) -> None:
        self._queries = queries
        self._size = size
        self._after = self._last = b""
        self.gone = 0

    async def begin(self) -> None:
        self._last = await self._queries.last_place()

    async def next(self, most: int) -> Sequence[JobRow]:
        if self._after >= self._last:
            return ()
        page, place = await self._queries.lanes(
            self._size, self._after, self._last, most=most
        )
        self._after = place or self._last
        return page


def _place_of(job: JobView) -> JobPlace:
    key = job.fields.get(b"_key")
    return JobPlace(
        job.entry_id or "",
        job.id,
        None if key is None else key.decode("utf-8", "backslashreplace"),
        b"_gate" in job.fields,
    )
