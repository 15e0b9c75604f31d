"""What the user that is logged in may do, for each role that flowd knows.

The roles are those of `docs/security.md`; a test compares the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, TypeAlias

from flowd.broker import replies
from flowd.broker.connection import Connection
from flowd.errors import AccessDenied, ServerError
from flowd.ops.finding import Finding

__all__ = ["ROLES", "judge_rights", "right"]

Missing: TypeAlias = Mapping[str, list[str]]
"""For each role the rights that the user does not have."""

_ENQUEUE: Final = (
    *("EVALSHA s 1 k", "EVAL s 1 k", "TIME", "XADD k * f v", "GET k", "SET k v"),
    *("PTTL k", "PEXPIRE k 1", "HSET k f v", "ZADD k 1 m", "WAIT 0 0"),
    *("MULTI", "EXEC", "SADD k m", "CLIENT ID", "CLIENT SETNAME n"),
)

_WORK: Final = (
    *("EVALSHA s 1 k", "EVAL s 1 k", "TIME", "XREADGROUP GROUP g c STREAMS k >"),
    *(
        "XADD k * f v",
        "XLEN k",
        "XRANGE k - +",
        "XACK k g 0",
        "XDEL k 0",
        "XTRIM k MINID 0",
    ),
    *("XCLAIM k g c 0 0", "XAUTOCLAIM k g c 0 0", "XPENDING k g"),
    *("XINFO GROUPS k", "XINFO CONSUMERS k g"),
    *(
        "XGROUP CREATE k g 0",
        "XGROUP CREATECONSUMER k g c",
        "XGROUP DELCONSUMER k g c",
    ),
    *("HGET k f", "HSET k f v", "HSETNX k f v", "HDEL k f", "ZADD k 1 m", "ZREM k m"),
    *("ZCARD k", "ZRANGE k 0 0", "ZRANGEBYSCORE k 0 0", "SADD k m", "SREM k m"),
    *("EXPIRE k 1", "PEXPIRE k 1", "PUBSUB NUMSUB", "PUBLISH c m", "SUBSCRIBE c"),
    *("CLIENT ID", "CLIENT SETNAME n", "CLIENT UNBLOCK 1"),
)

_ADMINISTER: Final = (
    *("EVALSHA s 1 k", "EVAL s 1 k", "TIME", "SMEMBERS k", "XADD k * f v", "XLEN k"),
    *("XRANGE k - +", "XREVRANGE k + -", "XDEL k 0", "XPENDING k g"),
    *("XINFO GROUPS k", "XINFO CONSUMERS k g", "ZCARD k", "ZRANGE k 0 0"),
    *("ZSCORE k m", "HGET k f", "HMGET k f", "EXISTS k"),
    *("HSET k f v", "HDEL k f", "XACK k g 0", "XGROUP SETID k g 0"),
    *("ZADD k 1 m", "ZREM k m"),
    *("GET k", "DEL k", "INFO", "CONFIG GET s", "ACL WHOAMI", "ACL DRYRUN u TIME"),
    *("CLIENT ID", "CLIENT SETNAME n", "SUBSCRIBE c", "PUBLISH c m"),
)

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "enqueue": _ENQUEUE,
    "work": _WORK,
    "administer": _ADMINISTER,
}
"""What a producer, a worker and an admin do, and one command for each right it takes."""

_CONTAINERS: Final = ("ACL", "CLIENT", "CONFIG", "PUBSUB", "XGROUP", "XINFO")

# The role of which less is missing is the user's role.
_NEARLY: Final = 3


def right(command: str) -> str:
    """What ACL SETUSER calls the right to run a command, as `xinfo|groups`."""
    first, *rest = command.split()
    return (f"{first}|{rest[0]}" if first in _CONTAINERS else first).lower()


async def judge_rights(connection: Connection) -> Finding:
    """Say what the user may do; keys are not looked at.

    Raises:
        ServerError: as `Connection.call`.
    """
    try:
        user = await connection.call("ACL", "WHOAMI", read=replies.text)
        missing = await _dry_run(connection, user)
    except AccessDenied as error:
        text = f"the rights of this user are unknown: {error}"
        advice = "it takes +acl|whoami +acl|dryrun"
        return Finding("note", "rights", text, advice)
    if missing is None:
        text = f"the rights of user {user} are unknown: Redis explains them from 7.0 on"
        return Finding("note", "rights", text)
    return _judge(user, missing)


def _judge(user: str, missing: Missing) -> Finding:
    may = [role for role, lacks in missing.items() if not lacks]
    said = f"user {user} may {_and(may)}" if may else f"user {user} has no whole role"
    nearly = [
        f"to {role} it lacks {' '.join(f'+{each}' for each in lacks)}"
        for role, lacks in missing.items()
        if lacks and (not may or len(lacks) <= _NEARLY)
    ]
    if nearly:
        advice = "grant what docs/security.md lists for its role"
        return Finding("warn", "rights", "; ".join([said, *nearly]), advice)
    return Finding("ok", "rights", said)


async def _dry_run(connection: Connection, user: str) -> Missing | None:
    """Ask the server, which knows from Redis 7 on; None if it does not."""
    commands = sorted({command for role in ROLES.values() for command in role})
    try:
        answers = await asyncio.gather(
            *(
                connection.call("ACL", "DRYRUN", user, *each.split(), read=replies.data)
                for each in commands
            )
        )
    except ServerError:
        return None
    # Its other answers are OK, and that it may not touch the key of the dry run.
    return _missing(
        {
            command
            for command, answer in zip(commands, answers, strict=True)
            if b" to run the " in answer
        }
    )


def _missing(refused: set[str]) -> Missing:
    return {
        role: [right(each) for each in commands if each in refused]
        for role, commands in ROLES.items()
    }


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
