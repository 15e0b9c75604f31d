"""Check a server and its queues, as an operator would in an incident."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import chain
from typing import Final

from flowd.broker.connection import Connection
from flowd.broker.refusals import CommandUnknown
from flowd.broker.registry import listed_queues
from flowd.broker.server_time import server_time, server_times
from flowd.broker.stream import Stream
from flowd.errors import (
    AccessDenied,
    CommandRefused,
    NotReady,
    OutcomeUnknown,
    ServerError,
    Unreachable,
)
from flowd.ops.finding import Finding
from flowd.ops.overview import QueueView
from flowd.ops.queries import Queries
from flowd.ops.queues import judge_queue
from flowd.ops.rights import judge_rights
from flowd.ops.server import ADVICE_ADMIN, judge, read_facts
from flowd.ops.snapshot import Snapshot

__all__ = ["examine"]

_LEASE: Final = 30.0
_TRIPS: Final = 5
_DIFFERENCE: Final = 1.0


async def examine(
    connection: Connection,
    *,
    lease: float = _LEASE,
    now: Callable[[], float] = time.time,
) -> list[Finding]:
    """Check a server and every queue that was set up on it.

    Nothing is changed, and no command takes longer because there are more jobs. What
    the user may not look at is a finding, not an error.

    Args:
        connection: to the server.
        lease: seconds; of queues whose workers do not say theirs.
        now: this machine's clock.

    Raises:
        ServerError: no connection, or no login.
    """

    async def queues() -> list[Finding]:
        return await _judge_queues(connection, lease)

    nodes = await connection.primaries()
    findings: list[Finding] = []
    for node in nodes:
        if node is connection:
            findings += await _examine_server(node, now, asked_as_cluster=False)
        else:
            findings += await _examine_node(node, now)
    try:
        return findings + await _as_far_as_allowed("queues", queues, connection)
    except (Unreachable, OutcomeUnknown, NotReady) as error:
        if connection in nodes:
            raise
        # Of a cluster that is down, what its nodes say is what an operator needs.
        what = f"cannot be seen: {error}"
        return [*findings, Finding("wrong", "queues", what, "repair that first")]


async def _examine_node(node: Connection, now: Callable[[], float]) -> list[Finding]:
    """Check a node of a cluster, where another may be away."""
    try:
        found = await _examine_server(node, now, asked_as_cluster=True)
    except (Unreachable, OutcomeUnknown, NotReady) as error:
        advice = "repair that node; its queues stand still"
        return [Finding("wrong", "server", str(error), advice)]
    return [replace(each, text=f"{node}: {each.text}") for each in found]


async def _examine_server(
    connection: Connection, now: Callable[[], float], *, asked_as_cluster: bool
) -> list[Finding]:
    async def server() -> list[Finding]:
        as_cluster = asked_as_cluster
        return judge(await read_facts(connection, asked_as_cluster=as_cluster))

    async def clock() -> list[Finding]:
        return [await _judge_clock(connection, now)]

    async def scripts() -> list[Finding]:
        return [await _judge_scripts(connection)]

    async def rights() -> list[Finding]:
        return [await judge_rights(connection)]

    findings: list[Finding] = []
    for part in (server, scripts, clock, rights):
        findings += await _as_far_as_allowed(part.__name__, part, connection)
    return findings


async def _as_far_as_allowed(
    check: str, part: Callable[[], Awaitable[list[Finding]]], connection: Connection
) -> list[Finding]:
    try:
        return await part()
    except (Unreachable, OutcomeUnknown):
        raise
    except ServerError as error:
        if not connection.serial:
            raise  # no connection, or no login
        if isinstance(error, AccessDenied):
            return [Finding("note", check, f"cannot be seen: {error}", ADVICE_ADMIN)]
        return [
            Finding("wrong", check, f"cannot be seen: {error}", "repair that first")
        ]


async def _judge_scripts(connection: Connection) -> Finding:
    """Run one: some services have no Lua, or have it switched off."""
    try:
        await connection.call("EVAL", "return 1", 0)
    except AccessDenied as error:
        if not connection.serial:
            raise  # no login
        # Without it the user can neither enqueue nor work, nor change what is queued.
        advice = "grant +eval and +evalsha, without which nothing of flowd works"
        return Finding("warn", "scripts", f"cannot be run: {error}", advice)
    except (CommandRefused, CommandUnknown) as error:
        advice = "use a server that runs Lua scripts: flowd needs EVAL and EVALSHA"
        return Finding("wrong", "scripts", f"cannot be run: {error}", advice)
    return Finding("ok", "scripts", "can be run")


async def _judge_clock(connection: Connection, now: Callable[[], float]) -> Finding:
    differences: list[float] = []
    for _ in range(_TRIPS):
        before = now()
        server = await server_time(connection)
        differences.append(server - (before + now()) / 2)
    difference = statistics.median(differences)
    said = f"the server's and this machine's are {abs(difference):,.1f} s apart"
    if abs(difference) > _DIFFERENCE:
        text = f"{said}: shown times are off by that; leases and delays are not"
        return Finding("warn", "clock", text, "let both follow NTP")
    return Finding("ok", "clock", said)


async def _judge_queues(connection: Connection, lease: float) -> list[Finding]:
    streams = await listed_queues(connection)
    if not streams:
        return [Finding("note", "queues", "none was set up on this server yet")]
    clocks = await server_times(each.connection for each in streams)
    judged = await asyncio.gather(
        *(
            _judge_queue(connection, stream, clocks[stream.connection], lease)
            for stream in streams
        )
    )
    return list(chain.from_iterable(judged))


async def _judge_queue(
    connection: Connection, stream: Stream, now: float | ServerError, lease: float
) -> list[Finding]:
    name = f"{stream.keys.stream} ({stream.group})"
    try:
        if isinstance(now, ServerError):
            raise now
        queries = Queries(connection, stream.keys.stream, stream.group)
        view, found = await judge_queue(Snapshot(queries, now), lease=lease, runs=1)
        if view is not None and not found:
            found = [_all_is_well(view)]
        return [replace(each, text=f"{name}: {each.text}") for each in found]
    except (Unreachable, OutcomeUnknown, NotReady) as error:
        if stream.connection is connection:
            raise  # there is one server, and it is away
        return [Finding("wrong", "queue", f"{name}: {error}", "repair that node")]


def _all_is_well(view: QueueView) -> Finding:
    parked = f", {view.parked:,} are parked" if view.parked else ""
    text = (
        f"{view.waiting:,} wait, {view.running:,} run, {view.delayed:,} are delayed"
        f"{parked}; workers: {view.live:,}"
    )
    return Finding("ok", "queue", text)
