"""Cancel, delete or run a selection of jobs, or all that match; clear a queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from flowd.errors import ServerError
from flowd.model.text import printable
from flowd.ops.control import JobFilter, due_now, end_jobs, for_each_job
from flowd.ops.jobs import JobView, find_job
from flowd.web.jobs import matching
from flowd.web.operation_pages import begin, must_have_room, new_operation
from flowd.web.operations import Operation, Verb
from flowd.web.picked import PickedJobs, picked_jobs
from flowd.web.selection import Selection, selected_ids, selected_verb
from flowd.web.visit import Refusal, Target, Visit

__all__ = ["ask", "ask_to_clear", "clear", "start"]

_COUNTED: Final = 2_000
_SCAN: Final = 2_000
_VERBS: Final[Sequence[Verb]] = ("cancel", "delete", "run")


async def ask(visit: Visit) -> Response:
    """The page that says how many jobs it is about, and asks."""
    visit.must_be_allowed()
    target = await visit.target()
    asked = _request(visit.request.query_params)
    total, exact = await _total(visit, target, asked)
    if not total and exact:
        raise Refusal(400, "There is nothing to do", "No job matches.")
    return visit.page(
        "confirm_jobs",
        target=target,
        verb=asked.verb,
        ids=asked.ids,
        picked=asked.matching,
        words=asked.words,
        total=total,
        exact=exact,
    )


async def start(visit: Visit) -> Response:
    """Begin it, or its dry run."""
    form = await visit.form()
    target = await visit.target(form)
    asked = _request(form)
    must_have_room(visit)
    total, _ = await _total(visit, target, asked)
    begun = new_operation(
        visit, target, form, verb=asked.verb, which=asked.words, total=total
    )
    work = _Work(target, begun, await visit.now(target))
    todo = work.named(asked.ids) if asked.ids else work.all(asked.matching.filter)
    return await begin(visit, begun, todo)


async def ask_to_clear(visit: Visit) -> Response:
    """The page that says what would be deleted, and has the stream's name typed."""
    visit.must_be_allowed()
    return await _clear_page(visit, await visit.target())


async def clear(visit: Visit) -> Response:
    """Delete all jobs of a queue that do not run."""
    form = await visit.form()
    target = await visit.target(form)
    typed = form.get("typed", "").strip()
    if not form.get("dry") and typed not in (target.stream, printable(target.stream)):
        return await _clear_page(visit, target, typed, refused=True)
    must_have_room(visit)
    sizes = await target.queries.sizes()
    begun = new_operation(
        *(visit, target, form),
        verb="clear",
        which="all that do not run",
        total=sizes.waiting + sizes.delayed + sizes.parked,
    )
    work = _Work(target, begun, await visit.now(target))
    return await begin(visit, begun, work.all(JobFilter()))


async def _clear_page(
    visit: Visit, target: Target, typed: str = "", *, refused: bool = False
) -> Response:
    return visit.page(
        "clear",
        422 if refused else 200,
        target=target,
        sizes=await target.queries.sizes(),
        typed=typed,
        refused=refused,
    )


class _Work:
    """What an operation does with each page of jobs."""

    def __init__(self, target: Target, begun: Operation, now: float) -> None:
        self._queries = target.queries
        self._begun = begun
        self._now = now

    async def all(self, job_filter: JobFilter) -> None:
        """All that match."""
        await for_each_job(self._queries, job_filter, self._now, self._step)

    async def named(self, ids: Sequence[str]) -> None:
        """Those that were selected, one by one."""
        for each in ids:
            job = await find_job(self._queries, each, self._now, scan=_SCAN)
            if job is None:
                self._begun.refuse(each, "It is not there any more.")
            else:
                await self._step([job])

    async def _step(self, jobs: Sequence[JobView]) -> int:
        """Take up to 100 jobs; returns how many left their place in the list."""
        begun = self._begun
        if begun.dry:
            begun.try_jobs(jobs)
            return 0
        if begun.verb == "run":
            return await self._run(jobs)
        running = begun.verb == "cancel"
        gone = 0
        for job, found in await end_jobs(self._queries, jobs, running=running):
            match found:
                case ServerError():
                    begun.refuse(job.id, f"{found}")
                case "running" if running:
                    begun.marked += 1
                case "running" | "":
                    begun.missed += 1
                case _:
                    begun.moved += 1
                    gone += 1
        return gone

    async def _run(self, jobs: Sequence[JobView]) -> int:
        """Let delayed jobs be due; they leave the end of the list for its front."""
        moved = 0
        for job in jobs:
            if await due_now(self._queries, job.id, self._now):
                moved += 1
            else:
                self._begun.missed += 1
        self._begun.moved += moved
        return moved


async def _total(
    visit: Visit, target: Target, asked: Selection[PickedJobs]
) -> tuple[int, bool]:
    """How many jobs it is about, and whether that is exact."""
    picked = asked.matching
    if asked.ids:
        return len(asked.ids), True
    if picked.is_all:
        sizes = await target.queries.sizes()
        return getattr(sizes, picked.state), True
    page = await matching(
        target, picked, await visit.now(target), limit=_COUNTED, scan=_COUNTED
    )
    return len(page.rows), not page.after


def _request(given: ImmutableMultiDict[str, str]) -> Selection[PickedJobs]:
    verb = selected_verb(given, _VERBS, "Cancel, delete or run them?")
    picked = picked_jobs(given)
    if (verb == "run" and picked.state != "delayed") or (
        verb == "delete" and picked.state == "running"
    ):
        what = "run before their time" if verb == "run" else "deleted: cancel them"
        text = f"Jobs that are {picked.state} cannot be {what}."
        raise Refusal(400, "There is nothing to do", text)
    return Selection(verb, selected_ids(given, "job"), picked)
