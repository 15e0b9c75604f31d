"""What Redis holds of one queue, all of it at one moment; and how time is moved there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias

from flowd.broker.connection import Connection
from flowd.model.keys import Keys

__all__ = ["Fields", "Lease", "Snapshot", "pass_time", "take_snapshot"]

Fields: TypeAlias = dict[str, str]

# One step, because what is read piece by piece may have been true at no moment.
_SNAPSHOT: Final = """
local delayed = {}
for _, job in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local body = redis.call('HGET', KEYS[3], job)
  delayed[#delayed + 1] = { job, body and cmsgpack.unpack(body) or {} }
end
local consumers = {}
for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  consumers[#consumers + 1] = c[2]
end
return cjson.encode({
  redis.call('XRANGE', KEYS[1], '-', '+'),
  redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 10000),
  delayed,
  redis.call('HLEN', KEYS[3]),
  redis.call('XRANGE', KEYS[4], '-', '+'),
  consumers,
})
"""

# The server's clock cannot be set. What it is compared with can.
_PASS: Final = """
for _, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 10000)) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], p[2], 0, p[1],
    'IDLE', p[3] + ARGV[2], 'JUSTID')
end
for _, job in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  redis.call('ZINCRBY', KEYS[2], -ARGV[2], job)
end
"""


class Lease(NamedTuple):
    """Who holds an entry."""

    consumer: str
    idle: float
    """Seconds since it was delivered or renewed."""

    deliveries: int


class Snapshot(NamedTuple):
    """One queue, as it is in Redis."""

    entries: dict[str, Fields]
    """By entry id, oldest first: waiting and held."""

    held: dict[str, Lease]
    """By entry id."""

    delayed: dict[str, Fields]
    """By member, the first that is due first."""

    bodies: int
    dead: dict[str, Fields]
    """By letter id, oldest first."""

    consumers: set[str]


async def take_snapshot(connection: Connection, keys: Keys, group: str) -> Snapshot:
    """Snapshot at a queue."""
    names = (keys.stream, keys.delayed, keys.bodies, keys.dead)
    reply = await connection.call("EVAL", _SNAPSHOT, 4, *names, group)
    assert isinstance(reply, bytes)
    entries, held, delayed, bodies, dead, consumers = json.loads(reply)
    return Snapshot(
        _rows(entries),
        {each[0]: Lease(each[1], each[2] / 1000, each[3]) for each in held},
        _rows(delayed),
        bodies,
        _rows(dead),
        set(consumers),
    )


async def pass_time(
    connection: Connection, keys: Keys, group: str, seconds: float
) -> None:
    """Let every lease be so much older and every delayed job so much nearer."""
    names = (keys.stream, keys.delayed)
    await connection.call("EVAL", _PASS, 2, *names, group, round(seconds * 1000))


def _rows(rows: Iterable[Any]) -> dict[str, Fields]:
    # In Lua an empty list is an empty map.
    flat = {row[0]: list(row[1]) for row in rows}
    return {
        each: dict(zip(words[::2], words[1::2], strict=True))
        for each, words in flat.items()
    }
