"""What Redis holds of a queue with policies, all of it at one moment; and how time passes."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NamedTuple

from flowd.broker.connection import Connection
from flowd.model.keys import Keys
from tests.system.delivery_model.snapshot import (
    Fields,
    Snapshot,
    pass_time,
    take_snapshot,
)

__all__ = [
    "GateSnapshot",
    "gate_keys",
    "leftovers",
    "let_time_pass",
    "take_gate_snapshot",
]

# One step for each half: nothing else is at work meanwhile.
_GATE: Final = """
local function pairs_of(flat)
  local rows = {}
  for n = 1, #flat, 2 do rows[#rows + 1] = { flat[n], flat[n + 1] } end
  return rows
end
local parked = {}
for _, row in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local lane, job = row:match('^(%Z*)%z(.*)$')
  job = job:sub(18)
  local body = redis.call('HGET', KEYS[12], job)
  parked[#parked + 1] = { job, lane, body and cmsgpack.unpack(body) or {} }
end
local t = redis.call('TIME')
return cjson.encode({
  pairs_of(redis.call('HGETALL', KEYS[1])),
  parked,
  redis.call('ZRANGE', KEYS[3], 0, -1),
  pairs_of(redis.call('HGETALL', KEYS[4])),
  redis.call('ZRANGE', KEYS[5], 0, -1),
  redis.call('ZRANGE', KEYS[6], 0, -1),
  redis.call('HGET', KEYS[13], '@paused') or '',
  redis.call('HGET', KEYS[13], '@cancels') or '',
  t[1] .. '.' .. string.format('%06d', t[2]),
})
"""

# A rate is paid for until some moment of the server's clock, which cannot be set, and a key
# was first not quiet at one.
_PASS: Final = """
local state = redis.call('HGETALL', KEYS[3])
for n = 1, #state, 2 do
  if state[n]:sub(1, 2) == 'd:' then
    local since, job = state[n + 1]:match('^(%d+)( .*)$')
    since = string.format('%.0f', since - ARGV[1] / 1000)
    redis.call('HSET', KEYS[3], state[n], since .. job)
  end
end
for n = 1, 2 do
  for _, key in ipairs(redis.call('ZRANGE', KEYS[n], 0, -1)) do
    redis.call('ZINCRBY', KEYS[n], -ARGV[1], key)
  end
end
"""


class GateSnapshot(NamedTuple):
    """One queue, with its gate and what operators have ordered."""

    queue: Snapshot
    locks: dict[str, tuple[str, str]]
    """By key: who has the lock, an entry or `@` and a job that waits, and that job's id."""

    behind: dict[str, str]
    """By key: the job that runs afterwards."""

    quiet: dict[str, str]
    """By key: the debounced job that waits for it to be quiet."""

    parked: dict[str, Fields]
    """By the name under which its body is."""

    lane_of: dict[str, str]
    slots: set[tuple[str, str]]
    """A key, and who has one of its slots."""

    holds: set[tuple[str, str]]
    """Entries that were admitted, with their tickets."""

    ready: list[str]
    """Lanes that may go."""

    blocked: list[str]
    """Lanes that wait for something; one that waits twice is there twice."""

    paused: bool
    marks: set[str]
    now: float
    """Seconds, by the server's clock."""


def gate_keys(keys: Keys) -> tuple[str, ...]:
    """All keys of a gate, and the one of an operator's orders."""
    return (*keys.gate, keys.bodies, keys.control)


async def take_gate_snapshot(
    connection: Connection, keys: Keys, group: str
) -> GateSnapshot:
    """Snapshot at a queue."""
    names = gate_keys(keys)
    reply, queue = await asyncio.gather(
        connection.call("EVAL", _GATE, len(names), *names),
        take_snapshot(connection, keys, group),
    )
    assert isinstance(reply, bytes)
    state, parked, slots, holds, lanes, waits, paused, marks, now = json.loads(reply)
    said = dict(state)
    return GateSnapshot(
        queue,
        {
            name[2:]: _pair(value)
            for name, value in said.items()
            if name.startswith("u:")
        },
        {name[2:]: value for name, value in said.items() if name.startswith("l:")},
        {
            name[2:]: value.partition(" ")[2]
            for name, value in said.items()
            if name.startswith("d:")
        },
        {job: _fields(flat) for job, _, flat in parked},
        {job: lane for job, lane, _ in parked},
        {_pair(row) for row in slots},
        {(entry, ticket) for entry, ticket in holds},
        list(lanes),
        [row.split("\0", 2)[2] for row in waits],
        bool(paused),
        {line.partition(" ")[2] for line in marks.split("\n")[1:]},
        float(now),
    )


async def leftovers(connection: Connection, keys: Keys) -> list[str]:
    """Keys that are there and should not be, when the queue is empty.

    What workers wait for ends with their reads, and what was paid for with its time.
    """
    names = (*keys.gate[:7], keys.gate[8], keys.gate[9], keys.bodies, keys.delayed)
    there = await asyncio.gather(*(connection.call("EXISTS", name) for name in names))
    return [name for name, found in zip(names, there, strict=True) if found]


async def let_time_pass(
    connection: Connection, keys: Keys, group: str, seconds: float
) -> None:
    """Let leases be older, delayed jobs nearer, and rates be paid for until sooner."""
    await pass_time(connection, keys, group, seconds)
    names = (*keys.gate[7:9], keys.gate[0])
    await connection.call("EVAL", _PASS, 3, *names, round(seconds * 1e6))


def _pair(row: str) -> tuple[str, str]:
    key, _, holder = row.partition("\0")
    return key, holder


def _fields(flat: Any) -> Fields:
    words = list(flat)  # in Lua an empty list is an empty map
    return dict(zip(words[::2], words[1::2], strict=True))
