"""Jobs that did not end: listed by what they do, or found by their id."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from flowd.errors import DecodeError
from flowd.model.delivery import (
    Delivery,
    Entry,
    can_be_id,
    is_entry_id,
    number,
    timestamp,
)
from flowd.model.heartbeat import MOST_RUNS, Heartbeat
from flowd.ops.delays import Why, newest_version, why_delayed
from flowd.ops.heartbeats import NO_HEARTBEATS, heartbeats
from flowd.ops.queries import GLANCE, PAGE, WHOLE, Queries
from flowd.ops.rows import JobRow, State

__all__ = ["JobView", "find_job", "job_view", "list_jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job that waits, runs or is delayed."""

    id: str
    """The job's id, as `enqueue` returned it."""

    state: State
    why: Why | None
    """Why it is delayed; None if it is not."""

    entry_id: str | None
    """The id of its entry in the stream; None while it is delayed."""

    enqueued_at: datetime
    """By the server's clock, in UTC."""

    attempt: int
    """1 for the first run, one more after each failure."""

    deliveries: int
    """How often it was delivered."""

    age: float | None
    """Seconds that it waits, since its entry was added, or that its handler runs. Of a
    worker that does not say when its handlers began, the latter is since its entry was
    added. None while it is delayed."""

    due_in: float | None
    """Seconds until a delayed job is due; below 0 if it is overdue."""

    expires_at: datetime | None
    """When it may not start any more, in UTC; None if it never expires."""

    consumer: str | None
    """Who runs it."""

    silent: float | None
    """Seconds without a sign of life from who runs it. Above the lease it is taken
    over."""

    progress: float | None
    """How far it is, from 0 to 1, as its handler said; None if it did not."""

    doing: str
    """The current step as its handler reported it; not escaped."""

    error: str
    """What its last failure said, 500 bytes at most; empty if it never failed."""

    fields: Mapping[bytes, bytes]
    """Of the entry, flowd's own among them; values may be cut."""


def job_view(
    row: JobRow, now: float, beats: Mapping[str, Heartbeat] = NO_HEARTBEATS
) -> JobView:
    """A row as an operator reads it, `now` by the server's clock in seconds.

    Args:
        row: the job.
        now: the server's time.
        beats: of the queue's workers, by their names.
    """
    delivery = Delivery(
        Entry(row.id, row.delivery_count, row.fields, len(row.fields)), 0.0
    )
    with contextlib.suppress(DecodeError):
        delivery.read_envelope()
    delayed, running = row.state == "delayed", row.state == "running"
    elsewhere = row.state in ("delayed", "parked")
    consumer = row.consumer.decode("utf-8", "backslashreplace")
    age = max(0.0, now - number(row.id.partition(b"-")[0]) / 1000)
    if running and consumer in beats:
        age = min(age, _ran(row, beats[consumer], now))
    why = why_delayed(row.fields, newest_version(beats, now)) if delayed else None
    return JobView(
        id=row.id.decode("utf-8", "backslashreplace") if elsewhere else delivery.job_id,
        state=row.state,
        why=why,
        entry_id=None if elsewhere else row.id.decode(),
        enqueued_at=timestamp(delivery.enqueued_ms),
        attempt=delivery.attempt,
        deliveries=delivery.deliveries,
        age=None if elsewhere else age,
        due_in=row.due - now if delayed else None,
        expires_at=(
            None
            if delivery.deadline_ms is None
            else timestamp(b"%d" % delivery.deadline_ms)
        ),
        consumer=consumer if running else None,
        silent=row.silent if running else None,
        progress=None if row.progress is None else row.progress.fraction,
        doing="" if row.progress is None else row.progress.text,
        error=delivery.last_error,
        fields=row.fields,
    )


async def _heartbeats(queries: Queries) -> Mapping[str, Heartbeat]:
    return await heartbeats(queries, await queries.consumers())


def _ran(row: JobRow, beat: Heartbeat, now: float) -> float:
    """How long its handler has run.

    What a worker does not name began a moment before it spoke, or later: the time since it
    was delivered, if it was not renewed since.
    """
    began = beat.runs.get(row.id.decode("ascii", "replace"))
    if began is not None:
        return began + beat.silent(now)
    if len(beat.runs) < MOST_RUNS:
        return min(beat.silent(now) + 1.0, row.silent)
    return min(beat.runs.values()) + beat.silent(now)


async def list_jobs(
    queries: Queries, state: State, now: float, *, limit: int = 0, most: int = WHOLE
) -> AsyncIterator[JobView]:
    """The jobs of one state, read page by page: the oldest, or the next due, first.

    Args:
        queries: of the queue.
        state: which.
        now: the server's time.
        limit: how many, at most; 0: all.
        most: how many bytes of each value are read.

    Raises:
        ServerError: as `Connection.call`.
    """
    after, given = b"", 0
    beats = NO_HEARTBEATS if state == "waiting" else await _heartbeats(queries)
    while not limit or given < limit:
        count = min(PAGE, limit - given) if limit else PAGE
        match state:
            case "waiting":
                page = await queries.waiting(count, after, most=most)
            case "running":
                page = await queries.running(count, after, most=most)
            case "delayed":
                page = await queries.delayed(count, given, most=most)
            case "parked":
                page = await queries.parked(count, given, most=most)
        for row in page:
            yield job_view(row, now, beats)
        if not page:
            return
        after, given = page[-1].id, given + len(page)


async def find_job(
    queries: Queries,
    job_id: str,
    now: float,
    *,
    scan: int,
    on_progress: Callable[[], object] = lambda: None,
) -> JobView | None:
    """The job with this id, or the one in the entry with this id.

    A job that failed before has an entry of another id, which nothing but a search
    finds: among those that run, then among those that wait.

    Args:
        queries: of the queue.
        job_id: of a job or of an entry.
        now: the server's time.
        scan: how many jobs are searched at most; 0: all.
        on_progress: called for each job that is searched.

    Raises:
        ServerError: as `Connection.call`.
    """
    if not can_be_id(job_id):
        return None
    beats = await _heartbeats(queries)
    rows = await queries.one(job_id if is_entry_id(job_id) else "", job_id)
    found = [job_view(row, now, beats) for row in rows]
    if found:
        return min(found, key=lambda job: job.id != job_id)
    searched = 0
    states: tuple[State, ...] = ("running", "waiting")
    for state in states:
        async for job in list_jobs(queries, state, now, most=GLANCE):
            if job.id == job_id and job.entry_id:
                (row,) = await queries.one(job.entry_id, "") or (None,)
                return None if row is None else job_view(row, now, beats)
            on_progress()
            searched += 1
            if searched == scan:
                return None
    return None
