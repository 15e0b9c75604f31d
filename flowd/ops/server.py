"""What the server says about itself, and what that means for jobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flowd.broker import replies
from flowd.broker.connection import Connection
from flowd.errors import AccessDenied, ServerError
from flowd.model.text import count_of
from flowd.ops.finding import Finding

__all__ = ["ADVICE_ADMIN", "Facts", "judge", "read_facts"]

ADVICE_ADMIN: Final = "grant what docs/security.md lists for an admin"

_SETTINGS: Final = (
    *("appendfsync", "save", "min-replicas-to-write", "cluster-require-full-coverage"),
    *("maxmemory-policy", "cluster-enabled"),
)
_FULL: Final = 0.9
_OLDEST: Final = {"Redis": (6, 2), "Valkey": (8, 0)}


@dataclass(frozen=True, slots=True)
class Facts:
    """INFO, and as much of the configuration as may be seen."""

    info: Mapping[str, str]
    settings: Mapping[str, str]
    """By name; a setting that the server does not show is not there."""

    asked_as_cluster: bool = False
    """Whether the URL is that of a cluster."""

    denied: AccessDenied | None = None
    """Why INFO is not shown; None if it is."""

    def number(self, name: str) -> int:
        """A number of INFO; 0 where the server does not say."""
        text = self.info.get(name, "")
        return int(text) if text.isdecimal() else 0


async def read_facts(
    connection: Connection, *, asked_as_cluster: bool = False
) -> Facts:
    """Ask the server.

    Args:
        connection: to it.
        asked_as_cluster: as `Facts`.

    Raises:
        ServerError: as `Connection.call`. A refused CONFIG is none: many services do.
    """
    info, settings = await asyncio.gather(
        _info(connection),
        asyncio.gather(*(_setting(connection, n) for n in _SETTINGS)),
    )
    denied = info if isinstance(info, AccessDenied) else None
    text = "" if isinstance(info, AccessDenied) else info.decode("utf-8", "replace")
    lines = (line.partition(":") for line in text.splitlines())
    shown = zip(_SETTINGS, settings, strict=True)
    return Facts(
        {name: value for name, _, value in lines if value},
        {name: value for name, value in shown if value is not None},
        asked_as_cluster,
        denied,
    )


def judge(facts: Facts) -> list[Finding]:
    """One finding for each check of what the server reports."""
    if facts.denied is None:
        return [check(facts) for check in _CHECKS]
    unseen = Finding("note", "server", f"cannot be seen: {facts.denied}", ADVICE_ADMIN)
    by_setting = {"maxmemory-policy": _eviction, "cluster-enabled": _cluster}
    known = (
        check(facts) for name, check in by_setting.items() if name in facts.settings
    )
    return [unseen, *known]


async def _info(connection: Connection) -> bytes | AccessDenied:
    try:
        return await connection.call("INFO", read=replies.data)
    except AccessDenied as error:
        if not connection.serial:
            raise  # no login
        return error


async def _setting(connection: Connection, name: str) -> str | None:
    try:
        found = await connection.call("CONFIG", "GET", name, read=replies.fields)
    except ServerError:
        return None
    return found[1].decode("utf-8", "replace") if found else None


def _unsaid(check: str, what: str, advice: str) -> Finding:
    """A service may leave out what a server says: that is no good news."""
    return Finding("note", check, f"the server does not say {what}", advice)


def _version(facts: Facts) -> Finding:
    kind = "Valkey" if "valkey_version" in facts.info else "Redis"
    text = facts.info.get(f"{kind.lower()}_version", "")
    said = f"{kind} {text}"
    if not (found := re.match(r"(\d+)\.(\d+)", text)):
        unknown = f"the server does not say its version: {text}"
        return Finding("note", "version", unknown)
    oldest = _OLDEST[kind]
    if (int(found[1]), int(found[2])) < oldest:
        needed = "{}.{}".format(*oldest)
        older = f"{said} is older than {needed}, the oldest that flowd supports"
        return Finding("wrong", "version", older, f"use {kind} {needed} or later")
    return Finding("ok", "version", said)


def _eviction(facts: Facts) -> Finding:
    policy = facts.info.get("maxmemory_policy", facts.settings.get("maxmemory-policy"))
    said = f"maxmemory-policy {policy}"
    advice = "set maxmemory-policy noeviction"
    if policy is None:
        return _unsaid("eviction", "its maxmemory-policy", "see that it is noeviction")
    if policy == "noeviction":
        return Finding("ok", "eviction", f"{said}: nothing is evicted")
    if policy.startswith("volatile-"):
        keys = sum(map(int, re.findall(r"expires=(\d+)", str(facts.info.get("db0")))))
        text = (
            f"{said}: idempotency keys may go early, and a job be enqueued twice; keys"
            f" that expire: {keys:,}"
        )
        return Finding("warn", "eviction", text, advice)
    if facts.info.get("maxmemory") == "0":
        text = f"{said} deletes jobs once maxmemory is set, which it is not"
        return Finding("warn", "eviction", text, advice)
    return Finding("wrong", "eviction", f"{said} deletes jobs that wait", advice)


def _memory(facts: Facts) -> Finding:
    used, most = facts.number("used_memory"), facts.number("maxmemory")
    said = f"{used / 2**20:,.0f} MiB used"
    if not most:
        text = (
            f"{said}; there is no maxmemory, so the system kills the server when full"
        )
        return Finding("note", "memory", text, "set maxmemory below what there is")
    said += f" of {most / 2**20:,.0f} MiB"
    if used < _FULL * most:
        return Finding("ok", "memory", said)
    advice = "let workers catch up, purge dead letters, or raise maxmemory"
    if used < most:
        return Finding("warn", "memory", f"{said}: nearly full", advice)
    text = f"{said}: nothing more can be enqueued, retried or dead-lettered"
    return Finding("wrong", "memory", text, advice)


def _persistence(facts: Facts) -> Finding:
    advice = "set appendonly yes with appendfsync everysec"
    if "aof_enabled" not in facts.info:
        what = "whether it writes to disk (aof_enabled)"
        return _unsaid("persistence", what, "ask its operator what a restart loses")
    if facts.number("aof_enabled"):
        sync = facts.settings.get("appendfsync")
        said = f"appendonly yes, appendfsync {sync}"
        match sync:
            case "always":
                return Finding("ok", "persistence", f"{said}: nothing is lost")
            case "everysec":
                text = (
                    f"{said}: a power cut, or a crash while the disk is busy, may lose"
                    " the last second or two"
                )
                return Finding("ok", "persistence", text)
            case None:
                text = "appendonly yes; the server does not show appendfsync"
                return Finding("note", "persistence", text, "it takes +config|get")
            case _:
                text = f"{said}: a power cut may lose half a minute"
                return Finding("warn", "persistence", text, "set appendfsync everysec")
    if facts.settings.get("save") == "":
        text = "appendonly no and no snapshots: a restart loses every job"
        return Finding("wrong", "persistence", text, advice)
    text = "appendonly no: a restart loses what came after the last snapshot"
    if "save" not in facts.settings:
        text += ", if there is one: the server does not show save"
    return Finding("warn", "persistence", text, advice)


def _disk(facts: Facts) -> Finding:
    names = {
        "aof_last_write_status": "the append-only file",
        "aof_last_bgrewrite_status": "rewriting the append-only file",
        "rdb_last_bgsave_status": "the last snapshot",
    }
    failed = [what for name, what in names.items() if facts.info.get(name) == "err"]
    if not failed:
        return Finding("ok", "disk", "the last writes to it succeeded")
    text = f"could not be written: {', '.join(failed)}; Redis may refuse jobs (MISCONF)"
    return Finding("wrong", "disk", text, "make room, and see the server's own log")


def _replicas(facts: Facts) -> Finding:
    if facts.info.get("role") == "slave":
        text = "this is a replica, where nothing can be enqueued or run"
        return Finding("wrong", "replicas", text, "name the primary in the URL")
    if "connected_slaves" not in facts.info:
        advice = "ask its operator what a failover loses"
        return _unsaid("replicas", "how many it has", advice)
    replicas = facts.number("connected_slaves")
    least = facts.settings.get("min-replicas-to-write", "0")
    good = facts.info.get("min_slaves_good_slaves")
    if good is not None and int(good) < int(least):
        text = f"{good} of {least} replicas are there; Redis refuses jobs (NOREPLICAS)"
        advice = "repair the replicas, or lower min-replicas-to-write"
        return Finding("wrong", "replicas", text, advice)
    if not replicas:
        return Finding("ok", "replicas", "none")
    if "min-replicas-to-write" not in facts.settings:
        text = f"{replicas}; the server does not show min-replicas-to-write"
        return Finding("note", "replicas", text, "it takes +config|get")
    text = f"{replicas}; min-replicas-to-write {least}"
    if least == "0":
        text += (
            ": a primary that is cut off goes on to take jobs, and the failover loses"
            " them; any failover may lose what they had not received"
        )
        advice = (
            "set min-replicas-to-write 1 with min-replicas-max-lag 2, or enqueue with"
            " durable=Durable(fsync=False, replicas=1)"
        )
        return Finding("warn", "replicas", text, advice)
    return Finding("ok", "replicas", text)


def _cluster(facts: Facts) -> Finding:
    shown = facts.settings.get("cluster-enabled")
    enabled = facts.info.get("cluster_enabled", shown)
    if enabled is None and not facts.asked_as_cluster:
        return _unsaid("cluster", "whether it is a node of one", "ask its operator")
    if enabled in {"0", "no"}:
        return Finding("ok", "cluster", "none")
    if not facts.asked_as_cluster:
        text = (
            "the server is a node of a Redis Cluster: with this URL a queue of another"
            " node, a failover or a slot that moves ends workers"
        )
        advice = "write redis+cluster://HOST:PORT,HOST:PORT"
        return Finding("warn", "cluster", text, advice)
    if facts.settings.get("cluster-require-full-coverage") == "yes":
        text = "while a master is away, the queues of all others stand still too"
        advice = "set cluster-require-full-coverage no"
        return Finding("note", "cluster", text, advice)
    return Finding("ok", "cluster", "a node of one, and asked as such")


def _clients(facts: Facts) -> Finding:
    open_now, most = facts.number("connected_clients"), facts.number("maxclients")
    text = f"{count_of(open_now, 'connection')} of {most:,}"
    if most and open_now >= _FULL * most:
        advice = "raise maxclients; a worker process has two, and one for each queue"
        return Finding("warn", "clients", f"{text}: nearly full", advice)
    return Finding("ok", "clients", text)


_CHECKS: Final = (
    *(_version, _eviction, _memory, _persistence, _disk, _replicas, _cluster),
    _clients,
)
