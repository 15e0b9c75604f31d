"""What a server's refusal means: its words become one of flowd's errors."""

from __future__ import annotations

from typing import Final

import redis.exceptions

from flowd.errors import (
    AccessDenied,
    FatalError,
    GroupMissing,
    IdNotIncreasing,
    NotReady,
    QueueFull,
    ServerError,
    StreamShared,
    WrongKeyType,
)

__all__ = ["ScriptMissing", "is_demotion", "refusal"]


class ScriptMissing(ServerError):
    """The server does not know a script yet, or has forgotten it (NOSCRIPT)."""


# Found anywhere in the text, not only in front: 6.2 wraps what a script raises.
_SIGNS: Final[tuple[tuple[str, type[ServerError], str], ...]] = (
    ("SHARED stream", StreamShared, ""),
    ("NOSCRIPT", ScriptMissing, ""),
    ("NOGROUP", GroupMissing, ""),
    ("UNBLOCKED the stream key no longer exists", GroupMissing, ""),
    ("WRONGTYPE", WrongKeyType, "a key is not flowd's (`flowd doctor` names it): "),
    ("DB index", FatalError, "the URL names a database that is not there: "),
    ("NOPERM", AccessDenied, "the Redis user lacks a right: "),
    ("can't run this command or subcommand", AccessDenied, ""),
    ("ACL failure in script", AccessDenied, ""),
    ("The user executing the script", AccessDenied, ""),
    ("NOAUTH", AccessDenied, "Redis refuses the login: "),
    ("equal or smaller than the target stream top item", IdNotIncreasing, ""),
    ("must be greater than 0-0", IdNotIncreasing, ""),
    ("command not allowed when used memory", QueueFull, "Redis is out of memory: "),
    ("OOM", QueueFull, "Redis is out of memory: "),
    ("LOADING", NotReady, "Redis cannot do it now: "),
    ("READONLY", NotReady, "Redis cannot do it now: "),
    ("read only replica", NotReady, ""),
    ("cannot be used with replica", NotReady, ""),
    ("MISCONF", NotReady, ""),
    ("MASTERDOWN", NotReady, ""),
    ("NOREPLICAS", NotReady, ""),
    ("BUSY", NotReady, ""),
    ("UNBLOCKED", NotReady, ""),
)

_DEMOTED: Final = (
    *("READONLY", "read only replica", "cannot be used with replica"),
    *("MASTERDOWN", "UNBLOCKED"),
)


def refusal(error: Exception | str) -> ServerError:
    """The flowd error for what a server answered, or what redis-py made of it."""
    text = str(error)
    match error:
        case redis.exceptions.AuthenticationError():
            return AccessDenied(f"Redis refuses the login: {text}")
        case redis.exceptions.NoPermissionError():
            return AccessDenied(f"the Redis user lacks a right: {text}")
        case redis.exceptions.BusyLoadingError():
            return NotReady(f"Redis cannot do it now: {text}")
        case _:
            for sign, kind, meaning in _SIGNS:
                if sign in text:
                    return kind(f"{meaning}{text}")
            return ServerError(text)


def is_demotion(reply: object) -> bool:
    """Whether the address may lead to another server by now: after a failover.

    The old primary keeps its connections and refuses what writes.
    """
    return isinstance(reply, NotReady) and any(sign in str(reply) for sign in _DEMOTED)
