"""Queues of a server that no class of a release reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flowd.broker.connection import Connection
from flowd.broker.registry import listed_queues
from flowd.errors import AccessDenied
from flowd.model.job import Job
from flowd.model.keys import QUEUES
from flowd.model.text import count_of
from flowd.ops.preflight import PreflightFinding, declared
from flowd.ops.queries import Queries
from flowd.ops.rows import Sizes
from flowd.ops.scan import PLACES, Place

__all__ = ["unread_queues"]


async def unread_queues(
    connection: Connection, classes: Sequence[type[Job]]
) -> list[PreflightFinding]:
    """The queues with jobs that none of the classes reads, and streams with two groups.

    Args:
        connection: to the server.
        classes: of the release.

    Raises:
        ServerError: as `Connection.call`. What the user may not see is a finding.
    """
    readers = {each.SPEC.policy.stream: each for each in classes}
    read = {(each.SPEC.policy.stream, each.SPEC.policy.group) for each in classes}
    try:
        queues = await listed_queues(connection)
    except AccessDenied as error:
        return [_unseen(QUEUES, "", error)]
    places = {(each.keys.stream, each.group) for each in queues}
    for stream in readers:  # a group that no queue has registered is refused as well
        groups = await _groups(connection, stream)
        places |= {(stream, each) for each in groups}
    found: list[PreflightFinding] = []
    for stream, group in sorted(places - read):
        try:
            sizes = await Queries(connection, stream, group).sizes()
        except AccessDenied as error:
            found.append(_unseen(stream, group, error))
            continue
        reader = readers.get(stream)
        jobs = _jobs(sizes, is_read=reader is not None)
        if reader is not None and sizes.own is not None:
            found.append(_shared(stream, group, reader, jobs))
        elif jobs:
            found.append(_unread(stream, group, reader, jobs))
    return found


async def _groups(connection: Connection, stream: str) -> Collection[str]:
    queries = Queries(connection, stream, "")
    return [each.name for each in await queries.groups()]


def _jobs(sizes: Sizes, *, is_read: bool) -> Mapping[Place, int]:
    """What only this queue has: without its group, the stream's jobs go to a reader."""
    own = sizes.own is not None or not is_read
    counts: Mapping[Place, int] = {
        "stream": (sizes.waiting + sizes.running) * own,
        "delayed": sizes.delayed * own,
        "parked": sizes.parked * own,
        "dead letters": sizes.dead,
    }
    return {place: counts[place] for place in PLACES if counts[place]}


def _unread(
    stream: str, group: str, reader: type[Job] | None, jobs: Mapping[Place, int]
) -> PreflightFinding:
    why = "no class here reads it"
    if reader is not None:
        name, other = reader.SPEC.name, reader.SPEC.policy.group
        why += f", as {name} reads this stream under group {other}"
    total = count_of(sum(jobs.values()), "job")
    advice = (
        "do: keep a worker of the old class and names until it is empty; leave it, if"
        " another program reads it"
    )
    text = f"stream {stream}, group {group}: {total}, {why}"
    return PreflightFinding(
        severity="warning",
        code="QUEUE_NOT_READ",
        message=text,
        notes=[_in(stream, jobs), advice],
        stream=stream,
        group=group,
        count=sum(jobs.values()),
        places=jobs,
    )


def _shared(
    stream: str, group: str, reader: type[Job], jobs: Mapping[Place, int]
) -> PreflightFinding:
    name, other = reader.SPEC.name, reader.SPEC.policy.group
    total = count_of(sum(jobs.values()), "job")
    text = (
        f"stream {stream}, group {group}: {total}, no class here reads it, and workers"
        f" of {name} under group {other} will refuse the stream while this group is there"
    )
    advice = (
        "do: keep the group; or drain the stream, stop the workers and destroy the old"
        " group (XGROUP DESTROY) before the deploy"
    )
    path, line = declared(reader, name, "")
    return PreflightFinding(
        path=path,
        line=line,
        severity="breaking",
        code="STREAM_OF_ANOTHER_GROUP",
        message=text,
        notes=[*([_in(stream, jobs)] if jobs else []), advice],
        job=name,
        stream=stream,
        group=group,
        count=sum(jobs.values()),
        places=jobs,
    )


def _unseen(stream: str, group: str, error: AccessDenied) -> PreflightFinding:
    text = f"queues that no class here reads cannot be seen: {stream}: {error}"
    return PreflightFinding(
        severity="note",
        code="QUEUE_NOT_SEEN",
        message=text,
        stream=stream,
        group=group,
    )


def _in(stream: str, jobs: Mapping[Place, int]) -> str:
    return f"in {stream}: {', '.join(f'{place} {n:,}' for place, n in jobs.items())}"
