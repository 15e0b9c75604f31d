"""Cancel, delete or run one job; pause and resume a queue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from flowd.broker.control import CancelResult, cancel_by_id, pause, resume
from flowd.errors import ServerError
from flowd.log import log
from flowd.model.text import printable
from flowd.ops.control import due_now, end_jobs
from flowd.ops.jobs import find_job
from flowd.web.visit import Refusal, Target, Visit

__all__ = ["act_on_job", "pause_or_resume"]

_SCAN: Final = 2_000

_SAID: Final[Mapping[CancelResult, str]] = {
    "cancelled": "cancelled",
    "cancelling": "cancelling",
    "not_found": "ended",
}


async def act_on_job(visit: Visit) -> Response:
    """Let a job end that waits, is delayed, or runs; or let a delayed one be due."""
    form = await visit.form()
    target = await visit.target(form)
    job_id, what = form.get("id", ""), form.get("do", "")
    if not job_id:
        raise Refusal(400, "There is nothing to do", "Which job is meant?")
    match what:
        case "cancel":
            found = await cancel_by_id(target.queries.stream, job_id)
            said = _SAID[found]
        case "delete":
            said = await _delete(visit, target, job_id)
        case "run":
            now = await visit.now(target)
            due = await due_now(target.queries, job_id, now)
            said = "due" if due else "not-delayed"
        case _:
            raise Refusal(400, "There is nothing to do", "Cancel, delete or run it?")
    log(
        logging.INFO,
        "web: %s: job %s of %s (%s): %s",
        *map(printable, (visit.user.name, job_id, target.stream, target.group)),
        said,
    )
    return visit.go(target.link("/job", id=job_id, said=said))


async def _delete(visit: Visit, target: Target, job_id: str) -> str:
    """Delete a job that does not run; what became of it."""
    job = await find_job(target.queries, job_id, await visit.now(target), scan=_SCAN)
    if job is None:
        return "ended"
    ((_, found),) = await end_jobs(target.queries, [job], running=False)
    if isinstance(found, ServerError):
        raise found
    return {"": "ended", "running": "runs"}.get(found, "deleted")


async def pause_or_resume(visit: Visit) -> Response:
    """Let no worker take a job of a queue, or let them again."""
    form = await visit.form()
    target = await visit.target(form)
    what = form.get("do", "")
    match what:
        case "pause":
            await pause(target.queries.stream)
        case "resume":
            await resume(target.queries.stream)
        case _:
            raise Refusal(400, "There is nothing to do", "Pause or resume it?")
    log(
        logging.INFO,
        "web: %s: %s %s (%s)",
        printable(visit.user.name),
        what,
        printable(target.stream),
        printable(target.group),
    )
    return visit.go(target.link("/queue", said=what))
