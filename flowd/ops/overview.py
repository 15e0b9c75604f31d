"""What every queue of a server holds, and who works on it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flowd.broker.connection import Connection
from flowd.broker.server_time import server_time
from flowd.broker.stream import STUCK, registered
from flowd.errors import OutcomeUnknown, ServerError, Unreachable
from flowd.ops.jobs import JobView, job_view
from flowd.ops.queries import ConsumerRow, Queries
from flowd.worker.maintenance import DEAD_CONSUMER_LEASES

__all__ = ["ConsumerView", "LeaseState", "QueueView", "overview", "queue_view"]

LeaseState: TypeAlias = Literal["working", "idle", "expired", "silent"]
"""`working` holds jobs and renews their leases, `idle` holds none; `expired` let the
lease of one run out, which another worker will take over; `silent` holds none and gave
no sign of life for ten leases, so that it counts as dead."""

# The default name of a consumer: host, process and a number for each run.
_NAME: Final = re.compile(rf"(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{{8}}(?:{STUCK})?")

_GLANCE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerView:
    """A worker's place in a queue."""

    name: str
    host: str | None
    """Where it runs; None if it has a name of the user's choice."""

    pid: int | None
    """Its process there; None likewise."""

    lease: LeaseState
    silent: float
    """Seconds since it asked for anything; on Redis 6.2 since it was given anything."""

    owned: int
    """How many jobs it holds."""

    runs: tuple[JobView, ...]
    """The oldest of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """What a queue holds."""

    stream: str
    group: str
    waiting: int
    oldest: float | None
    """Seconds that the oldest waiting job has waited; None if none waits."""

    running: int
    delayed: int
    next_due: float | None
    """Seconds until the first delayed job is due, below 0 if it is overdue; None if none
    is delayed."""

    dead: int
    consumers: tuple[ConsumerView, ...] | None
    """None if the group is not there."""


async def overview(
    connection: Connection,
    *,
    lease: float = 30.0,
    runs: int = 10,
    stream: str | None = None,
) -> list[QueueView | ServerError]:
    """Every queue that was set up on a server, by name, or why it cannot be seen.

    Args:
        connection: to the server.
        lease: the longest `claim_after` of the queues, in seconds.
        runs: how many jobs of each consumer are looked at.
        stream: only the queues on it; None: all.

    Raises:
        ServerError: no connection, or no right to see which queues there are.
    """
    streams = [
        each
        for each in await registered(connection)
        if stream in (None, each.keys.stream)
    ]
    now = await server_time(connection)
    all_queries = [
        Queries(connection, each.keys.stream, each.group) for each in streams
    ]
    views = await asyncio.gather(
        *(queue_view(queries, now, lease=lease, runs=runs) for queries in all_queries),
        return_exceptions=True,
    )
    found: list[QueueView | ServerError] = []
    for queries, view in zip(all_queries, views, strict=True):
        if isinstance(view, QueueView):
            found.append(view)
        elif isinstance(view, ServerError) and not _is_away(view):
            found.append(type(view)(f"{queries.keys.stream} ({queries.group}): {view}"))
        else:
            raise view
    return found


async def queue_view(
    queries: Queries, now: float, *, lease: float, runs: int = 10
) -> QueueView:
    """One queue; arguments as `overview`, `now` by the server's clock.

    Raises:
        ServerError: as `Connection.call`.
    """
    sizes, oldest, first_due, consumers = await asyncio.gather(
        queries.sizes(),
        queries.waiting(1, most=_GLANCE),
        queries.first_due(),
        queries.consumers(),
    )
    held = await asyncio.gather(
        *(_runs(queries, each, now, runs) for each in consumers or ())
    )
    # What is taken while we count is in neither number. What the group will never get, or
    # another queue's group gets, is no job of this one.
    waits = oldest and not sizes.served_by
    due = None if first_due is None or sizes.served_by else first_due - now
    return QueueView(
        stream=queries.keys.stream,
        group=queries.group,
        waiting=max(1, sizes.waiting) if waits else 0,
        oldest=job_view(oldest[0], now).age if waits else None,
        running=sizes.running,
        delayed=sizes.delayed,
        next_due=due,
        dead=sizes.dead,
        consumers=(
            None
            if consumers is None
            else tuple(
                _consumer_view(row, jobs, lease)
                for row, jobs in zip(consumers, held, strict=True)
            )
        ),
    )


async def _runs(
    queries: Queries, consumer: ConsumerRow, now: float, count: int
) -> Sequence[JobView]:
    if not consumer.owned or not count:
        return ()
    rows = await queries.running(count, most=_GLANCE, consumer=consumer.name)
    return [job_view(row, now) for row in rows]


def _consumer_view(
    row: ConsumerRow, jobs: Sequence[JobView], lease: float
) -> ConsumerView:
    named = _NAME.fullmatch(row.name)
    return ConsumerView(
        name=row.name,
        host=named["host"] if named else None,
        pid=int(named["pid"]) if named else None,
        lease=_lease_state(row, jobs, lease),
        silent=row.silent,
        owned=row.owned,
        runs=tuple(jobs),
    )


def _lease_state(row: ConsumerRow, jobs: Sequence[JobView], lease: float) -> LeaseState:
    if any((job.silent or 0.0) > lease for job in jobs):
        return "expired"
    if row.owned:
        return "working"
    return "silent" if row.silent > DEAD_CONSUMER_LEASES * lease else "idle"


def _is_away(error: ServerError) -> bool:
    return isinstance(error, Unreachable | OutcomeUnknown)
