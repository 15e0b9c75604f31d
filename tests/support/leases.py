"""Consumers that died, and leases that are over: without waiting for either."""

from __future__ import annotations

import threading
from typing import NamedTuple

from tests.support.raw import Raw, Reply

__all__ = [
    "Pending",
    "consumers",
    "die_with",
    "expire",
    "lease_connections",
    "lease_threads",
    "pending",
    "steal",
]

_LONG_AGO = 3_600_000


class Pending(NamedTuple):
    """One entry that was delivered and not settled."""

    id: str
    consumer: str
    idle: int
    """Milliseconds since it was delivered or renewed."""

    deliveries: int


def pending(raw: Raw, stream: str, group: str) -> list[Pending]:
    """What is pending, oldest first."""
    rows = _list(raw("XPENDING", stream, group, "-", "+", 10_000))
    return [_pending(*_list(row)) for row in rows]


def consumers(raw: Raw, stream: str, group: str) -> list[str]:
    """The consumers that Redis knows, by name."""
    rows = map(_list, _list(raw("XINFO", "CONSUMERS", stream, group)))
    return sorted(_text(row[row.index(b"name") + 1]) for row in rows)


def die_with(
    raw: Raw, stream: str, group: str, *, jobs: int, count: int = 1, name: str = "dead"
) -> list[str]:
    """Take so many jobs as a worker that then dies and whose leases run out.

    They were delivered `count` times by then. Returns the entry ids.
    """
    reply = _list(
        raw("XREADGROUP", "GROUP", group, name, "COUNT", jobs, "STREAMS", stream, ">")
    )
    _, entries = _list(reply[0])
    ids = [_text(_list(entry)[0]) for entry in _list(entries)]
    assert len(ids) == jobs
    options = ("IDLE", _LONG_AGO, "RETRYCOUNT", count, "JUSTID")
    raw("XCLAIM", stream, group, name, 0, *ids, *options)
    return ids


def expire(raw: Raw, stream: str, group: str) -> None:
    """Let every lease run out; owners and counts stay as they are."""
    for each in pending(raw, stream, group):
        claim = ("XCLAIM", stream, group, each.consumer, 0, each.id)
        raw(*claim, "IDLE", _LONG_AGO, "JUSTID")


def steal(raw: Raw, stream: str, group: str, name: str = "thief") -> None:
    """Take over everything, as another worker would that found the leases over."""
    for each in pending(raw, stream, group):
        raw("XCLAIM", stream, group, name, 0, each.id)


def lease_connections(raw: Raw) -> list[str]:
    """The ids of the connections that renew leases."""
    return [client["id"] for client in raw.clients("flowd-lease")]


def lease_threads() -> list[threading.Thread]:
    """The threads of this process that renew leases."""
    return [each for each in threading.enumerate() if each.name == "flowd-lease"]


def _pending(entry_id: Reply, consumer: Reply, idle: Reply, count: Reply) -> Pending:
    assert isinstance(idle, int)
    assert isinstance(count, int)
    return Pending(_text(entry_id), _text(consumer), idle, count)


def _list(reply: Reply) -> list[Reply]:
    assert isinstance(reply, list), reply
    return reply


def _text(reply: Reply) -> str:
    assert isinstance(reply, bytes)
    return reply.decode()
