"""The pages of jobs that did not end: lists of one state, and one job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from flowd.errors import DecodeError
from flowd.model.job import decode
from flowd.ops.delays import Why
from flowd.ops.heartbeats import NO_HEARTBEATS, heartbeats
from flowd.ops.jobs import JobView, find_job, job_view
from flowd.ops.letters import by_job_id
from flowd.ops.limits import KeyLimit, limits_of
from flowd.ops.newest import letter_page
from flowd.ops.queries import Queries
from flowd.ops.reports import queue_report
from flowd.ops.rows import JobRow, State
from flowd.web.picked import PickedJobs, picked_jobs
from flowd.web.render import line_of, shown_fields
from flowd.web.visit import Target, Visit

__all__ = ["JobLine", "JobPage", "job_rows", "matching", "show", "show_list"]

_PAGE: Final = 50
_STEP: Final = 500
_CUT: Final = 200
_SCAN: Final = 2_000
_DELAYED: Final[Mapping[Why, str]] = {
    "scheduled": "It waits for its time.",
    "released": "Its handler released it, to run again later.",
    "retrying": "Its last attempt failed. It waits for the next one.",
    "newer version": "It is of a newer version than any worker here reads.",
}
_BY_NUMBER: Final = ("delayed", "parked")
"""States whose pages go on by how many were shown, and not by an id."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job in a list."""

    job: JobView
    link: str
    """To its page."""

    fields: str
    """Its fields on a line, secrets hidden."""

    name: str
    """The id by which it is found: of its entry, or of a delayed job its own."""

    row_id: bytes
    """Where the next page goes on."""


async def job_rows(
    target: Target,
    state: State,
    now: float,
    *,
    limit: int,
    after: str = "",
    most: int = _CUT,
) -> list[JobLine]:
    """Jobs of one state: the oldest, or the next due, first.

    Raises:
        ServerError: the server cannot be asked.
    """
    queries = target.queries
    match state:
        case "waiting":
            rows = await queries.waiting(limit, after.encode(), most=most)
        case "running":
            rows = await queries.running(limit, after.encode(), most=most)
        case "delayed":
            rows = await queries.delayed(limit, _skip(after), most=most)
        case "parked":
            rows = await queries.parked(limit, _skip(after), most=most)
    beats = (
        NO_HEARTBEATS
        if state == "waiting"
        else await heartbeats(queries, await queries.consumers())
    )
    return [_line(target, row, job_view(row, now, beats)) for row in rows]


def _line(target: Target, row: JobRow, job: JobView) -> JobLine:
    name = job.entry_id or job.id
    fields = line_of(job.fields, target.job_class)
    return JobLine(job, target.link("/job", id=name), fields, name, row.id)


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs that match, and where to look on."""

    rows: Sequence[JobLine]
    looked: int
    after: str
    """Where the next page begins; empty if all was looked at."""


async def matching(
    target: Target,
    picked: PickedJobs,
    now: float,
    *,
    limit: int,
    scan: int,
    after: str = "",
) -> JobPage:
    """Jobs of one state that match, as `job_rows`.

    Args:
        target: the queue.
        picked: which.
        now: the server's time.
        limit: how many, at most.
        scan: how many are looked at, at most.
        after: as `JobPage.after`.

    Raises:
        ServerError: the server cannot be asked.
    """
    state, wanted = picked.state, picked.filter
    found: list[JobLine] = []
    looked, step = 0, min(limit, _STEP)
    while looked < scan:
        rows = await job_rows(
            target, state, now, limit=step, after=after, most=max(_CUT, wanted.most)
        )
        for row in rows:
            looked += 1
            last = row.row_id.decode()
            after = f"{_skip(after) + 1}" if state in _BY_NUMBER else last
            if wanted.takes(row.job):
                found.append(row)
            if len(found) == limit:
                break
        if len(found) == limit:
            break
        if len(rows) < step:
            return JobPage(found, looked, "")
    there = await job_rows(target, state, now, limit=1, after=after)
    return JobPage(found, looked, after if there else "")


async def show_list(visit: Visit) -> Response:
    """A page of jobs of one state."""
    target = await visit.target()
    picked = picked_jobs(visit.request.query_params)
    after = visit.asked("after")
    if picked.state not in _BY_NUMBER and not _is_id(after):
        after = ""
    now = await visit.now(target)
    page = await matching(target, picked, now, limit=_PAGE, scan=_SCAN, after=after)
    return visit.page(
        "jobs",
        target=target,
        picked=picked,
        state=picked.state,
        rows=page.rows,
        page=page,
        more=(
            target.link("/jobs", **picked.parameters, after=page.after)
            if page.after
            else ""
        ),
        after=after,
        now=now,
    )


async def show(visit: Visit) -> Response:
    """One job, by its id or that of its entry; a dead one is shown as a letter."""
    target = await visit.target()
    queries, job_id = target.queries, visit.asked("id")
    now = await visit.now(target)
    job = await find_job(queries, job_id, now, scan=_SCAN)
    if job is None:
        return await _missing(visit, target, job_id)
    report = (
        await queue_report(queries, now, lease=target.lease, runs=1)
        if job.state == "waiting"
        else None
    )
    view = None if report is None else report.view
    return visit.page(
        "job",
        target=target,
        job=job,
        job_id=job.id,
        fields=shown_fields(job.fields, target.job_class),
        decodes=_decodes(target, job),
        why=_why(job, target, None if view is None else view.consumers),
        letter=None,
        limits=await _lacks(queries, job),
        findings=() if report is None else report.findings,
        now=now,
        scan=_SCAN,
        said=visit.asked("said"),
    )


async def _lacks(queries: Queries, job: JobView) -> list[KeyLimit]:
    """The keys that a parked job waits for."""
    if job.state != "parked":
        return []
    limits = await limits_of(queries, job.fields.get(b"_gate", b""))
    return [each for each in limits if each.holds_up(job.id)]


async def _missing(visit: Visit, target: Target, job_id: str) -> Response:
    """It may be dead: then its letter is shown, else where it may be."""
    page = await letter_page(
        target.queries, by_job_id(job_id), limit=1, scan=_SCAN, most=1
    )
    letter = page.letters[0] if page.letters else None
    return visit.page(
        "job",
        200 if letter else 404,
        target=target,
        job=None,
        job_id=job_id,
        letter=letter,
        now=await visit.now(target),
        scan=_SCAN,
        said=visit.asked("said"),
    )


def _decodes(target: Target, job: JobView) -> str:
    """Why the class cannot read it; empty if it can, or is not known."""
    if target.job_class is None:
        return ""
    try:
        decode(target.job_class, job.fields)
    except DecodeError as error:
        return f"{error}"
    return ""


def _why(job: JobView, target: Target, consumers: object) -> str:
    """Why a job does not run at this moment; empty if it does."""
    match job.state:
        case "running":
            if (job.silent or 0.0) > target.lease:
                return (
                    "Its lease has expired: the worker died, or its process is frozen."
                    " Another worker takes the job over."
                )
            return ""
        case "delayed":
            if (job.due_in or 0.0) < 0:
                return "It is due. The next worker that maintains the queue takes it."
            return _DELAYED[job.why or "scheduled"]
        case "parked":
            return "It waits at the gate of its queue for what its policies limit."
        case "waiting":
            if not consumers:
                return "No worker reads this queue."
            return "It waits for a free slot of a worker. Jobs that were added earlier run first."


def _skip(after: str) -> int:
    """How many jobs of a list are behind us."""
    return int(after) if after.isdecimal() and len(after) < 10 else 0


def _is_id(text: str) -> bool:
    ms, dash, number = text.partition("-")
    return bool(dash) and (ms + number).isdecimal() and (ms + number).isascii()
