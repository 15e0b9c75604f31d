"""The server's clock."""

from __future__ import annotations

from flowd.broker import script_replies as answers
from flowd.broker.connection import Connection

__all__ = ["server_time"]


async def server_time(connection: Connection) -> float:
    """What time it is at the server, in seconds since 1970.

    Raises:
        ServerError: as `Connection.call`.
    """
    return await connection.call("TIME", read=answers.time)
