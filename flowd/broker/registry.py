"""The list of queues on a server, for the commands and pages that show all of them.

A queue is listed when it is set up, and when a producer enqueues its first job.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from flowd.broker import replies
from flowd.broker import script_replies as answers
from flowd.broker.connection import Connection
from flowd.broker.refusals import CLUSTER_NODE
from flowd.broker.stream import Stream
from flowd.errors import (
    AccessDenied,
    FatalError,
    NotReady,
    OutcomeUnknown,
    Unreachable,
    WrongKeyType,
)
from flowd.model.keys import QUEUES

__all__ = ["QueueList", "list_queue", "listed_queues", "unlist_queue"]


def list_queue(stream: Stream) -> asyncio.Future[object]:
    """Put a queue on the list; the command is under way when this returns.

    Raises, when awaited:
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    return stream.connection.at(QUEUES).call("SADD", QUEUES, _member(stream))


async def unlist_queue(stream: Stream) -> None:
    """Take a queue off the list.

    Raises:
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    await stream.connection.at(QUEUES).call("SREM", QUEUES, _member(stream))


async def listed_queues(connection: Connection) -> list[Stream]:
    """Every queue on the list, by name.

    Raises:
        WrongKeyType: the key of the list holds something else.
        FatalError: none is on it, and the server is a node of a cluster that is asked as one
            server; those of other nodes would be missed.
        ServerError: as `Connection.call`.
    """
    try:
        members = await connection.at(QUEUES).call("SMEMBERS", QUEUES, read=answers.ids)
    except WrongKeyType as error:
        raise WrongKeyType(f"{QUEUES}: {error}") from None
    if not members and not connection.leads_to_nodes:
        await _check_that_all_are_here(connection)
    names = (each.decode("utf-8", "backslashreplace") for each in sorted(members))
    return [Stream(connection, *name.split("\n", 1)) for name in names if "\n" in name]


class QueueList:
    """The list, for what asks for it again and again, as a dashboard.

    Of a cluster, the node that has the list may be away while others work. Then it is as it
    was.
    """

    def __init__(self) -> None:
        self.is_old = False
        """Whether it could not be asked for the last time."""

        self.places: list[tuple[str, str]] = []
        """Stream and group of each, as they were listed the last time."""

    async def queues(self, connection: Connection) -> list[Stream]:
        """Every queue on the list, as `listed_queues`.

        Raises:
            ServerError: as `listed_queues`; of a cluster that is away only if none was seen
                before.
        """
        try:
            found = await listed_queues(connection)
        except (Unreachable, OutcomeUnknown, NotReady):
            self.is_old = True
            if not (connection.leads_to_nodes and self.places):
                raise
            return [Stream(connection, *place) for place in self.places]
        self.is_old = False
        self.places = [(each.keys.stream, each.group) for each in found]
        return found


async def _check_that_all_are_here(connection: Connection) -> None:
    with suppress(AccessDenied):
        said = await connection.call("INFO", "cluster", read=replies.data)
        if b"cluster_enabled:1" in said:
            raise FatalError(f"{CLUSTER_NODE}no queue is listed here")


def _member(stream: Stream) -> str:
    return f"{stream.keys.stream}\n{stream.group}"
