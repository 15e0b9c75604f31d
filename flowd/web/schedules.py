"""The page of schedules; pause, resume and run them."""

from __future__ import annotations

import logging

from starlette.responses import Response

from flowd.log import log
from flowd.model.text import printable
from flowd.ops.cron import (
    QueueSchedules,
    all_schedules,
    pause_schedule,
    run_schedule,
)
from flowd.web.render import link
from flowd.web.visit import Refusal, Visit

__all__ = ["act", "show"]


async def show(visit: Visit) -> Response:
    """Every schedule of the server."""
    found = await all_schedules(visit.connection, await visit.desk.queues())
    rows = [
        (each, queue.now)
        for queue in found
        if isinstance(queue, QueueSchedules)
        for each in queue.schedules
    ]
    rows.sort(key=lambda row: (not row[0].late, row[0].stream, row[0].name))
    unseen = [f"{each}" for each in found if not isinstance(each, QueueSchedules)]
    return visit.page(
        "schedules", schedules=rows, unseen=unseen, said=visit.asked("said")
    )


async def act(visit: Visit) -> Response:
    """Pause, resume or run one."""
    form = await visit.form()
    target = await visit.target(form)
    name, what = form.get("name", ""), form.get("do", "")
    match what:
        case "pause" | "resume":
            await pause_schedule(target.queries, name, paused=what == "pause")
            after = link("/schedules", said=what)
        case "run":
            job_id = await run_schedule(target.queries, name)
            after = target.link("/job", id=job_id, said="enqueued")
        case _:
            raise Refusal(400, "There is nothing to do", "Pause, resume or run it?")
    log(
        logging.INFO,
        "web: %s: schedule %s of %s (%s): %s",
        *map(printable, (visit.user.name, name, target.stream, target.group)),
        what,
    )
    return visit.go(after)
