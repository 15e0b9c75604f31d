"""The first page: every queue of the server, problems first."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from flowd.model.text import count_of
from flowd.ops.finding import is_problem
from flowd.ops.reports import QueueReport
from flowd.web.render import spark
from flowd.web.visit import Visit

__all__ = ["show"]


async def show(visit: Visit) -> Response:
    """The page."""
    desk = visit.desk
    found = await desk.reports()
    trends = {
        (each.stream, each.group): desk.trend(each.stream, each.group) for each in found
    }
    rows = [
        {
            "report": each,
            "view": each.view,
            "rate": trends[each.stream, each.group].rate,
            "spark": spark(trends[each.stream, each.group].waiting),
            "job": desk.job_class(each.stream, each.group),
            "workers": _alive(each),
        }
        for each in found
    ]
    views = [each.view for each in found if each.view is not None]
    totals = {
        "waiting": sum(each.waiting for each in views),
        "running": sum(each.running for each in views),
        "delayed": sum(each.delayed for each in views),
        "parked": sum(each.parked for each in views),
        "dead": sum(each.dead for each in views),
    }
    return visit.page(
        "overview",
        rows=rows,
        totals=totals,
        trouble=_trouble(found),
        old=desk.list_is_old,
    )


def _trouble(found: Sequence[QueueReport]) -> str:
    """What is to be looked at, in words; empty if all is well."""
    wrong = sum(
        each.view is None or any(map(is_problem, each.findings)) for each in found
    )
    dead = sum(each.view.dead for each in found if each.view is not None)
    parts = [f"{count_of(wrong, 'queue')} with problems"] if wrong else []
    if dead:
        parts.append(count_of(dead, "dead letter"))
    return ", ".join(parts)


def _alive(report: QueueReport) -> int | None:
    """How many workers seem to be alive; None if none ever was."""
    if report.view is None or report.view.consumers is None:
        return None
    return sum(
        each.state in ("working", "idle", "stopping") for each in report.view.consumers
    )
