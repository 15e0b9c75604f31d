"""Every queue of a server with what is wrong in it, the worst first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from flowd.broker.connection import Connection
from flowd.broker.registry import listed_queues
from flowd.broker.server_time import server_times
from flowd.broker.stream import Stream
from flowd.errors import NotReady, OutcomeUnknown, ServerError, Unreachable
from flowd.ops.finding import Finding, Level, severity, worst_level
from flowd.ops.overview import QueueView
from flowd.ops.queries import Queries
from flowd.ops.queues import judge_queue
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
    connection: Connection,
    lease_of: Callable[[str, str], float],
    *,
    runs: int = 1,
    listed: Callable[[Connection], Awaitable[list[Stream]]] = listed_queues,
) -> list[QueueReport]:
    """Every queue that was set up on a server: problems first, then the longest wait.

    Args:
        connection: to the server.
        lease_of: the `claim_after` of a stream and group, in seconds.
        runs: how many jobs of each consumer are looked at.
        listed: says which queues there are.

    Raises:
        ServerError: no connection, or no right to see which queues there are. Of a cluster,
            a node that is away is a finding of its queues.
    """
    all_queries = [
        Queries(connection, each.keys.stream, each.group)
        for each in await listed(connection)
    ]
    clocks = await server_times(each.connection for each in all_queries)

    async def look(queries: Queries) -> QueueReport:
        lease = lease_of(queries.keys.stream, queries.group)
        try:
            if isinstance(now := clocks[queries.connection], ServerError):
                raise now
            return await queue_report(queries, now, lease=lease, runs=runs)
        except (Unreachable, OutcomeUnknown, NotReady) as error:
            if not connection.leads_to_nodes:
                raise
            return _unseen(queries, error, "repair that node")

    return sorted(await asyncio.gather(*map(look, all_queries)), key=_rank)


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
        return _unseen(queries, error)
    return QueueReport(
        stream=queries.keys.stream,
        group=queries.group,
        view=judged.view,
        findings=judged.findings,
    )


def _unseen(queries: Queries, error: ServerError, advice: str = "") -> QueueReport:
    finding = Finding("wrong", "queue", f"cannot be seen: {error}", advice)
    return QueueReport(
        stream=queries.keys.stream, group=queries.group, view=None, findings=[finding]
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
