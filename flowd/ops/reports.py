"""Every queue of a server with what is wrong in it, the worst first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowd.broker.connection import Connection
from flowd.broker.registry import listed_queues
from flowd.broker.server_time import server_time
from flowd.errors import OutcomeUnknown, ServerError, Unreachable
from flowd.ops.finding import Finding, Level, severity, worst_level
from flowd.ops.overview import QueueView
from flowd.ops.queries import Queries
from flowd.ops.queues import Judged, judge_queue
from flowd.ops.snapshot import Snapshot

__all__ = ["QueueReport", "queue_report", "reports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """A queue, and what `flowd doctor` says of it."""

    stream: str
    group: str
    view: QueueView | None
    """None if the queue cannot be looked at; then a finding says why."""

    findings: Sequence[Finding]
    """Without the name of the queue, the worst first; empty if all is well."""

    @property
    def level(self) -> Level:
        """The worst level of the findings."""
        return worst_level(self.findings)


async def reports(
    connection: Connection, lease_of: Callable[[str, str], float], *, runs: int = 1
) -> list[QueueReport]:
    """Every queue that was set up on a server: problems first, then the longest wait.

    Args:
        connection: to the server.
        lease_of: the `claim_after` of a stream and group, in seconds.
        runs: how many jobs of each consumer are looked at.

    Raises:
        ServerError: no connection, or no right to see which queues there are.
    """
    streams = await listed_queues(connection)
    now = await server_time(connection)
    found = await asyncio.gather(
        *(
            queue_report(
                Queries(connection, each.keys.stream, each.group),
                now,
                lease=lease_of(each.keys.stream, each.group),
                runs=runs,
            )
            for each in streams
        )
    )
    return sorted(found, key=_rank)


async def queue_report(
    queries: Queries, now: float, *, lease: float, runs: int
) -> QueueReport:
    """One queue; arguments as `reports`, `now` by the server's clock.

    Raises:
        ServerError: no connection.
    """
    try:
        judged = await judge_queue(Snapshot(queries, now), lease=lease, runs=runs)
    except (Unreachable, OutcomeUnknown):
        raise
    except ServerError as error:
        judged = Judged(None, [Finding("wrong", "queue", f"cannot be seen: {error}")])
    return QueueReport(
        stream=queries.keys.stream,
        group=queries.group,
        view=judged.view,
        findings=judged.findings,
    )


def _rank(report: QueueReport) -> tuple[int, float, int, str, str]:
    view = report.view
    # A note is no problem.
    level = min(severity(report.level), severity("note"))
    oldest = (view.oldest or 0.0) if view else 0.0
    return (
        level,
        -oldest,
        -(view.dead if view else 0),
        report.stream,
        report.group,
    )
