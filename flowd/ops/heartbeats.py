"""What the workers of a queue say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from flowd.broker import replies
from flowd.model.heartbeat import Heartbeat, heartbeat_of
from flowd.ops.queries import Queries
from flowd.ops.rows import ConsumerRow

__all__ = ["NO_HEARTBEATS", "heartbeats"]

NO_HEARTBEATS: Final[Mapping[str, Heartbeat]] = MappingProxyType({})
"""Of a queue that has none, or of which they do not matter."""


async def heartbeats(
    queries: Queries, consumers: Sequence[ConsumerRow] | None
) -> dict[str, Heartbeat]:
    """The last sign of life of each of these consumers that gave one, by its name.

    Raises:
        ServerError: as `Connection.call`.
    """
    if not consumers:
        return {}
    names = [each.name for each in consumers]
    found = await queries.connection.call(
        *("HMGET", queries.keys.workers, *names),
        read=replies.items(replies.maybe(replies.data), len(names)),
    )
    beats = {
        name: heartbeat_of(said)
        for name, said in zip(names, found, strict=True)
        if said is not None
    }
    return {name: each for name, each in beats.items() if each is not None}
