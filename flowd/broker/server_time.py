"""The server's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from flowd.broker import script_replies as answers
from flowd.broker.connection import Connection
from flowd.errors import ServerError

__all__ = ["server_time", "server_times"]


async def server_time(connection: Connection) -> float:
    """What time it is at the server, in seconds since 1970.

    Raises:
        ServerError: as `Connection.call`.
    """
    return await connection.call("TIME", read=answers.time)


async def server_times(
    connections: Iterable[Connection],
) -> Mapping[Connection, float | ServerError]:
    """What time it is where each connection leads, or why that cannot be asked."""
    distinct = list(dict.fromkeys(connections))
    times = await asyncio.gather(*map(server_time, distinct), return_exceptions=True)
    found: dict[Connection, float | ServerError] = {}
    for connection, time in zip(distinct, times, strict=True):
        if isinstance(time, BaseException) and not isinstance(time, ServerError):
            raise time
        found[connection] = time
    return found
