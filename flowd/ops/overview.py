"""What every queue of a server holds, and who works on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from flowd.broker.connection import Connection
from flowd.broker.control import Removal
from flowd.broker.registry import listed_queues
from flowd.broker.server_time import server_times
from flowd.broker.stream import Stream
from flowd.errors import OutcomeUnknown, ServerError, Unreachable
from flowd.model.heartbeat import Heartbeat
from flowd.ops.consumers import ConsumerView, consumer_views
from flowd.ops.cron import CronView
from flowd.ops.delays import Delays, delays, newest_version
from flowd.ops.finding import Finding, Level, is_problem, worst_level
from flowd.ops.jobs import JobView, job_view
from flowd.ops.problems import Known, find_problems
from flowd.ops.queries import GLANCE, Queries
from flowd.ops.rows import ConsumerRow
from flowd.ops.snapshot import Snapshot

__all__ = ["QueueView", "overview", "queue_view", "view_of"]


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
    """All that wait for a time; `delays` says why."""

    parked: int
    """Jobs that wait at the gate of a queue with policies, for others to start or end."""

    delays: Delays
    next_due: float | None
    """Seconds until the first delayed job is due, below 0 if it is overdue; None if none
    is delayed."""

    dead: int
    removed: tuple[Removal, ...]
    """How many jobs were cancelled or deleted that no worker had, since the queue was set up."""

    settled: int | None
    """A number that rises with each delivery that ends; None if the server does not
    count, as before Redis 7."""

    paused: float | None
    """Seconds since the queue was paused; None if it is not."""

    schedules: tuple[CronView, ...]
    """The schedules that are registered, by name."""

    consumers: tuple[ConsumerView, ...] | None
    """None if the group is not there."""

    slots: int
    """How many jobs the workers that live can run at once, as far as they say."""

    busy: int
    """How many jobs those workers hold."""

    problems: tuple[Finding, ...]
    """What is wrong with it, the worst first; empty if nothing is."""

    notes: tuple[Finding, ...]
    """What is to be known of it, as that a schedule is paused, and is no problem."""

    @property
    def live(self) -> int:
        """How many workers seem to live."""
        return sum(each.is_live for each in self.consumers or ())

    @property
    def level(self) -> Level:
        """The worst level of the problems."""
        return worst_level(self.problems)


async def overview(
    connection: Connection,
    *,
    lease: float = 30.0,
    runs: int = 10,
    stream: str | None = None,
    listed: Callable[[Connection], Awaitable[list[Stream]]] = listed_queues,
) -> list[QueueView | ServerError]:
    """Every queue that was set up on a server, by name, or why it cannot be seen.

    Args:
        connection: to the server.
        lease: seconds; of consumers that do not say theirs.
        runs: how many jobs of each consumer are looked at.
        stream: only the queues on it; None: all.
        listed: says which queues there are.

    Raises:
        ServerError: no connection, or no right to see which queues there are.
    """
    streams = [
        each for each in await listed(connection) if stream in (None, each.keys.stream)
    ]
    all_queries = [
        Queries(connection, each.keys.stream, each.group) for each in streams
    ]
    clocks = await server_times(each.connection for each in all_queries)
    views = await asyncio.gather(
        *(
            _view(each, clocks[each.connection], lease=lease, runs=runs)
            for each in all_queries
        ),
        return_exceptions=True,
    )
    found: list[QueueView | ServerError] = []
    for queries, view in zip(all_queries, views, strict=True):
        if isinstance(view, QueueView):
            found.append(view)
        elif isinstance(view, ServerError) and (
            # Of a cluster, one node may be away.
            not _is_away(view)
            or queries.connection is not connection
        ):
            found.append(type(view)(f"{queries.keys.stream} ({queries.group}): {view}"))
        else:
            raise view
    return found


async def _view(
    queries: Queries, now: float | ServerError, *, lease: float, runs: int
) -> QueueView:
    if isinstance(now, ServerError):
        raise now
    return await queue_view(queries, now, lease=lease, runs=runs)


async def queue_view(
    queries: Queries, now: float, *, lease: float, runs: int = 10
) -> QueueView:
    """One queue; arguments as `overview`, `now` by the server's clock.

    Raises:
        ServerError: as `Connection.call`.
    """
    return await view_of(Snapshot(queries, now), lease=lease, runs=runs)


async def view_of(snapshot: Snapshot, *, lease: float, runs: int) -> QueueView:
    """One queue; arguments as `overview`.

    Raises:
        ServerError: as `Connection.call`.
    """
    queries, now = snapshot.queries, snapshot.now
    sizes, oldest, first_due, consumers, paused, crons = await asyncio.gather(
        snapshot.sizes(),
        snapshot.oldest_waiting(),
        snapshot.first_due(),
        snapshot.consumers(),
        snapshot.paused_since(),
        snapshot.schedules(),
    )
    beats = await snapshot.heartbeats()
    held, why, removed, silences = await asyncio.gather(
        asyncio.gather(
            *(_runs(queries, each, beats, now, runs) for each in consumers or ())
        ),
        delays(queries, sizes, newest_version(beats, now)),
        snapshot.removals(),
        snapshot.silences(),
    )
    views = (
        None
        if consumers is None
        else consumer_views(consumers, held, beats, now, lease)
    )
    live = [each for each in views or () if each.slots and each.state != "dead"]
    # What is taken while we count is in neither number. What the group will never get, or
    # another queue's group gets, is no job of this one.
    waits = oldest and not sizes.served_by
    waiting = max(1, sizes.waiting) if waits else 0
    age = job_view(oldest[0], now).age if waits else None
    due = None if first_due is None or sizes.served_by else first_due - now
    paused_for = None if paused is None else max(0.0, now - paused)
    found = find_problems(
        Known(
            stream=queries.keys.stream,
            group=queries.group,
            sizes=sizes,
            waiting=waiting,
            oldest=age,
            next_due=due,
            delays=why,
            paused=paused_for,
            schedules=crons,
            consumers=views or (),
            silences=silences,
            lease=lease,
        )
    )
    return QueueView(
        stream=queries.keys.stream,
        group=queries.group,
        waiting=waiting,
        oldest=age,
        running=sizes.running,
        delayed=sizes.delayed,
        parked=sizes.parked,
        delays=why,
        next_due=due,
        dead=sizes.dead,
        removed=tuple(removed),
        settled=None if sizes.own is None else sizes.own.settled,
        paused=paused_for,
        schedules=tuple(crons),
        consumers=views,
        slots=sum(each.slots or 0 for each in live),
        busy=sum(each.owned for each in live),
        problems=tuple(each for each in found if is_problem(each)),
        notes=tuple(each for each in found if not is_problem(each)),
    )


async def _runs(
    queries: Queries,
    consumer: ConsumerRow,
    beats: Mapping[str, Heartbeat],
    now: float,
    count: int,
) -> Sequence[JobView]:
    if not consumer.owned or not count:
        return ()
    rows = await queries.running(count, most=GLANCE, consumer=consumer.name)
    return [job_view(row, now, beats) for row in rows]


def _is_away(error: ServerError) -> bool:
    return isinstance(error, Unreachable | OutcomeUnknown)
