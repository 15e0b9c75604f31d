"""The schedules of a queue, as operators see and change them.

What a schedule says of itself is in Redis, so none of its code is needed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from flowd.broker import replies, scripts
from flowd.broker.connection import Connection
from flowd.broker.server_time import server_time, server_times
from flowd.broker.stream import Stream
from flowd.errors import (
    NotReady,
    OptionError,
    OutcomeUnknown,
    ServerError,
    Unreachable,
)
from flowd.model.schedule import LATE, Schedule
from flowd.ops.queries import Queries

__all__ = [
    "CronView",
    "QueueSchedules",
    "RunState",
    "all_schedules",
    "pause_schedule",
    "run_schedule",
    "schedule_names",
    "schedules",
]

RunState: TypeAlias = Literal[
    "", "waiting or running", "delayed", "done", "dead", "expired", "cancelled", "gone"
]
"""What became of a run; empty if there was none. `gone` is what ended otherwise."""

_PARTS: Final = ("text", "tick", "paused", "run", "entry", "ran", "outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class CronView:
    """A schedule that is registered."""

    stream: str
    group: str
    name: str
    when: str
    """Its cron expression, or `every N s`."""

    tz: str
    missed: str
    overlap: str
    paused: bool
    last_tick: datetime
    """The last tick that had its turn, or when it was registered; in UTC."""

    last_run: str
    """The job id of the last run; empty if there was none."""

    last_run_at: datetime | None
    """When it was enqueued, in UTC."""

    outcome: RunState
    next_tick: datetime | None
    """In the zone of the schedule."""

    late: float
    """Seconds since a tick was due that had no turn; 0 if none is."""


class QueueSchedules(NamedTuple):
    """The schedules of one queue."""

    now: float
    """The time at its server."""

    schedules: Sequence[CronView]


async def all_schedules(
    connection: Connection, queues: Sequence[Stream]
) -> list[QueueSchedules | ServerError]:
    """The schedules of several queues, or why those of one cannot be seen.

    Args:
        connection: to the server.
        queues: which.

    Raises:
        ServerError: no connection. Of a cluster, one node may be away.
    """
    clocks = await server_times(each.connection for each in queues)

    async def look(queue: Stream) -> QueueSchedules | ServerError:
        stream, group = queue.keys.stream, queue.group
        try:
            if isinstance(now := clocks[queue.connection], ServerError):
                raise now
            found = await schedules(Queries(connection, stream, group), now)
        except ServerError as error:
            away = isinstance(error, Unreachable | OutcomeUnknown | NotReady)
            if away and not connection.leads_to_nodes:
                raise
            return type(error)(f"{stream} ({group}): {error}")
        return QueueSchedules(now, found)

    return [*await asyncio.gather(*map(look, queues))]


async def schedules(queries: Queries, now: float | None = None) -> list[CronView]:
    """Every schedule that is registered for a queue, by name.

    Args:
        queries: of the queue.
        now: the server's time, if it is known.

    Raises:
        ServerError: as `Connection.call`.
    """
    names = await schedule_names(queries)
    if not names:
        return []
    at = await server_time(queries.connection) if now is None else now
    return [*await asyncio.gather(*(_view(queries, name, at) for name in names))]


async def pause_schedule(queries: Queries, name: str, *, paused: bool) -> bool:
    """Skip the ticks of a schedule, or run them again.

    Returns:
        False if it was so before.

    Raises:
        OptionError: no schedule of this name is registered.
        ServerError: as `Connection.call`.
    """
    await _check(queries, name)
    key, field = queries.keys.cron, f"{name}:paused"
    call = ("HSET", key, field, 1) if paused else ("HDEL", key, field)
    return await queries.connection.call(*call, read=replies.number) == 1


async def run_schedule(queries: Queries, name: str) -> str:
    """Enqueue the job of a schedule now; returns its id. No tick is used up by it.

    Raises:
        OptionError: no schedule of this name is registered.
        ServerError: as `Connection.call`; the job may be stored.
    """
    await _check(queries, name)
    now = datetime.fromtimestamp(await server_time(queries.connection), UTC)
    job_id = f"cron:{name}:now:{now.isoformat(timespec='milliseconds')}"
    keys = [queries.keys.stream, queries.keys.cron]
    await scripts.RUN_SCHEDULE.run(
        queries.connection, keys, [name, job_id], replies.text
    )
    return job_id


async def schedule_names(queries: Queries) -> list[str]:
    """The names of the schedules that are registered for a queue, in order.

    Raises:
        ServerError: as `Connection.call`.
    """
    raw = await queries.connection.call("HGET", queries.keys.cron, "@names")
    return sorted(raw.decode().split(",")) if isinstance(raw, bytes) and raw else []


async def _check(queries: Queries, name: str) -> None:
    names = await schedule_names(queries)
    if name not in names:
        known = ", ".join(names) or "none"
        raise OptionError(
            "schedule",
            name,
            f"must be one that a worker of {queries.keys.stream} ({queries.group}) has"
            f" registered; there: {known}",
        )


async def _view(queries: Queries, name: str, now: float) -> CronView:
    fields = [f"{name}:{part}" for part in _PARTS]
    values = await queries.connection.call(
        "HMGET", queries.keys.cron, *fields, read=replies.array
    )
    known = {
        part: value.decode("utf-8", "backslashreplace")
        for part, value in zip(_PARTS, values, strict=True)
        if isinstance(value, bytes)
    }
    schedule = Schedule.from_text(name, known.get("text", "{}"))
    recorded = int(known.get("tick", "0")) / 1000
    due = schedule.next_after(recorded)
    late = max(0.0, now - due.timestamp()) if due is not None else 0.0
    ran = known.get("ran")
    return CronView(
        stream=queries.keys.stream,
        group=queries.group,
        name=name,
        when=schedule.at or f"every {schedule.every:g} s",
        tz=schedule.tz,
        missed=schedule.missed,
        overlap=schedule.overlap,
        paused="paused" in known,
        last_tick=datetime.fromtimestamp(recorded, UTC),
        last_run=known.get("run", ""),
        last_run_at=(
            None if ran is None else datetime.fromtimestamp(int(ran) / 1000, UTC)
        ),
        outcome=await _outcome(queries, known),
        next_tick=schedule.next_after(now),
        late=late if late > LATE else 0.0,
    )


async def _outcome(queries: Queries, known: Mapping[str, str]) -> RunState:
    run, entry = known.get("run"), known.get("entry")
    if not run:
        return ""
    match known.get("outcome"):
        case "done":
            return "done"
        case "dead":
            return "dead"
        case "expired":
            return "expired"
        case "cancelled":
            return "cancelled"
        case _:
            pass
    if entry:
        there = await queries.connection.call(
            "XRANGE", queries.keys.stream, entry, entry, read=replies.entries
        )
        if there:
            return "waiting or running"
    delayed = await queries.connection.call("ZSCORE", queries.keys.delayed, run)
    return "gone" if delayed is None else "delayed"
