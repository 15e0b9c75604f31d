"""The page of one queue: its workers and jobs, and what is wrong."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from flowd.ops.limits import key_limits
from flowd.ops.newest import summarize
from flowd.ops.reports import queue_report
from flowd.ops.rows import State
from flowd.web.jobs import job_rows
from flowd.web.render import spark
from flowd.web.visit import Refusal, Visit

__all__ = ["show"]

_RUNS: Final = 5
_JOBS: Final = 10
_WORKERS: Final = 50
_LETTERS: Final = 1_000
_STATES: Final[tuple[State, ...]] = ("running", "waiting", "parked", "delayed")


async def show(visit: Visit) -> Response:
    """The page."""
    target = await visit.target()
    queries = target.queries
    now = await visit.now(target)
    report = await queue_report(queries, now, lease=target.lease, runs=_RUNS)
    if report.view is None:
        text = " ".join(each.text for each in report.findings)
        raise Refusal(502, "This queue cannot be looked at", text)
    dead = await summarize(queries, scan=_LETTERS)
    states = {
        state: await job_rows(target, state, now, limit=_JOBS) for state in _STATES
    }
    spec = None if target.job_class is None else target.job_class.SPEC
    gated = report.view.parked or (spec is not None and spec.gate is not None)
    trend = visit.desk.trend(target.stream, target.group)
    consumers = report.view.consumers
    return visit.page(
        "queue",
        target=target,
        report=report,
        view=report.view,
        consumers=(consumers or ())[:_WORKERS],
        more_consumers=max(0, len(consumers or ()) - _WORKERS),
        schedules=report.view.schedules,
        gated=gated,
        limits=await key_limits(queries) if gated else (),
        said=visit.asked("said"),
        groups=dead.groups[:5],
        dead=dead,
        states=states,
        spark=spark(trend.waiting),
        rate=trend.rate,
        policy=None if spec is None else spec.policy,
        now=now,
    )
