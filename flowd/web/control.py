"""Cancel a job; pause and resume a queue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from flowd.broker.control import CancelResult, cancel_by_id, pause, resume
from flowd.log import log
from flowd.model.text import printable
from flowd.web.visit import Refusal, Visit

__all__ = ["cancel", "pause_or_resume"]

_SAID: Final[Mapping[CancelResult, str]] = {
    "cancelled": "cancelled",
    "cancelling": "cancelling",
    "not_found": "ended",
}


async def cancel(visit: Visit) -> Response:
    """Let a job end that waits, is delayed, or runs."""
    form = await visit.form()
    target = await visit.target(form)
    job_id = form.get("id", "")
    if form.get("do") != "cancel" or not job_id:
        raise Refusal(400, "There is nothing to do", "Which job is to be cancelled?")
    found = await cancel_by_id(target.queries.stream, job_id)
    log(
        logging.INFO,
        "web: %s: job %s of %s (%s): %s",
        *map(printable, (visit.user.name, job_id, target.stream, target.group)),
        found,
    )
    return visit.go(target.link("/job", id=job_id, said=_SAID[found]))


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
