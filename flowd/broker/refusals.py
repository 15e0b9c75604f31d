"""What a server's refusal means: its words become one of flowd's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from flowd.errors import (
    AccessDenied,
    CommandRefused,
    FatalError,
    GroupMissing,
    IdNotIncreasing,
    KeyTaken,
    NotReady,
    QueueFull,
    ServerError,
    StreamShared,
    WrongKeyType,
)

__all__ = [
    "CLUSTER_NODE",
    "LOGIN_REFUSED",
    "CommandUnknown",
    "KeyMissing",
    "ScriptMissing",
    "is_demotion",
    "may_not_run",
    "refusal",
    "slot_moves",
]


class KeyMissing(CommandRefused):
    """What a command asks about is not there (`ERR no such key`)."""


class ScriptMissing(ServerError):
    """The server does not know a script yet, or has forgotten it (NOSCRIPT)."""


class CommandUnknown(FatalError):
    """The server has no such command: it is too old, or the command is renamed."""


LOGIN_REFUSED: Final = "Redis refuses the login: "
"""Begins the error of a wrong user or password."""

_RIGHT: Final = "the Redis user lacks a right: "
_NOW: Final = "Redis cannot do it now: "
_FULL: Final = "Redis is out of memory: "

_BUG: Final = "Redis cannot read a command of flowd's; please report it: "
_OLD: Final = (
    "this server lacks a command (flowd needs Redis 6.2, nothing renamed; for a sentinel"
    " the URL is redis+sentinel://HOST:PORT/NAME): "
)

CLUSTER_NODE: Final = (
    "this server is a node of a Redis Cluster, whose URL is"
    " redis+cluster://HOST:PORT,HOST:PORT (with TLS rediss+cluster://): "
)
"""Begins the error of a plain URL that is not enough."""

_NO_CLUSTER: Final = "this server is no Redis Cluster; its URL is redis://HOST:PORT: "
_DATABASE: Final = "a Redis Cluster has database 0 alone; leave it out of the URL: "

# An answer begins with its code. What comes behind it may be of users' making, as the
# name of a stream or of a group is, and says nothing.
_CODES: Final[Mapping[str, tuple[type[ServerError], str]]] = {
    "ASK": (FatalError, CLUSTER_NODE),
    "BUSY": (NotReady, ""),
    "CLUSTERDOWN": (NotReady, _NOW),
    "CROSSSLOT": (FatalError, _BUG),
    "LOADING": (NotReady, _NOW),
    "MASTERDOWN": (NotReady, ""),
    "MISCONF": (NotReady, ""),
    "MOVED": (FatalError, CLUSTER_NODE),
    "NOAUTH": (AccessDenied, LOGIN_REFUSED),
    "NOGROUP": (GroupMissing, ""),
    "NOPERM": (AccessDenied, _RIGHT),
    "NOREPLICAS": (NotReady, ""),
    "NOSCRIPT": (ScriptMissing, ""),
    "OOM": (QueueFull, _FULL),
    "READONLY": (NotReady, _NOW),
    "TRYAGAIN": (NotReady, _NOW),
    "UNBLOCKED": (NotReady, ""),
    "WRONGPASS": (AccessDenied, LOGIN_REFUSED),
    "WRONGTYPE": (WrongKeyType, "a key is not flowd's (`flowd doctor` names it): "),
}

# Those that have no code, or one that says too little; the first that fits counts.
_PHRASES: Final[Sequence[tuple[str, type[ServerError], str]]] = (
    ("no such key", KeyMissing, ""),
    ("UNBLOCKED the stream key no longer exists", GroupMissing, ""),
    (
        "AUTH <password> called without any password configured",
        AccessDenied,
        LOGIN_REFUSED,
    ),
    ("DB index ", FatalError, "the URL names a database that is not there: "),
    ("invalid DB index", FatalError, "the URL names a database that is not there: "),
    ("value is not an integer or out of range", FatalError, _BUG),
    ("value is not a valid float", FatalError, _BUG),
    ("syntax error", FatalError, _BUG),
    ("SELECT is not allowed in cluster mode", FatalError, _DATABASE),
    ("This instance has cluster support disabled", FatalError, _NO_CLUSTER),
    ("Script attempted to access a non local key", FatalError, _BUG),
    ("Script attempted to access keys that do not hash", FatalError, _BUG),
    ("wrong number of arguments for ", FatalError, _BUG),
    ("unknown command ", CommandUnknown, _OLD),
    ("Unknown Redis command called from script", CommandUnknown, _OLD),
    ("Wrong number of args calling Redis command from script", FatalError, _BUG),
    ("ACL failure in script", AccessDenied, _RIGHT),
    ("The user executing the script can't ", AccessDenied, _RIGHT),
    ("The ID is equal or smaller than ", IdNotIncreasing, ""),
    ("The ID specified in XADD ", IdNotIncreasing, ""),
    ("WAIT cannot be used with replica", NotReady, ""),
    ("WAITAOF cannot be used with replica", NotReady, ""),
)

# What stands before the code. Redis 6.2 says first which script it was, for each layer of
# it; Redis 7 says so behind the message.
_WRAPPING: Final = re.compile(
    r"(?:"
    r"(?:ERR )?Error running script(?: \(call to f_\w+\))?: "
    r"|@user_script: ?\d+: "
    r"|EXECABORT Transaction discarded because of: "
    r"|-"
    r")*"
)

# Redis 7 and Valkey say behind a message which script it was.
_BEHIND: Final = re.compile(r" script: (?:\w+, )?on @user_script:\d+\.$")

_ONE_GROUP: Final = (
    "; a job that one group has settled is deleted for all, so use one group per stream:"
    " give all programs of the stream the same group, or another stream, or destroy the"
    " group that is not needed (XGROUP DESTROY; docs/guide.md)"
)

_WHEN_FREE: Final = (
    "; let that job end, or redrive with `when_free` (flowd dlq redrive --when-free):"
    " then this one runs afterwards"
)

_TAKEN: Final = re.compile(r"TAKEN the job (.*) has the key (\S*)", re.DOTALL)

_DEMOTED: Final = (
    *("READONLY ", "MASTERDOWN ", "NOREPLICAS ", "UNBLOCKED "),
    *("MOVED ", "CLUSTERDOWN "),
    *("WAIT cannot be used with replica", "WAITAOF cannot be used with replica"),
)


def refusal(answer: str) -> ServerError:
    """The flowd error for what a server answered."""
    said, text = _bare(answer), answer.rstrip()
    for phrase, kind, meaning in _PHRASES:
        if said.removeprefix("ERR ").startswith(phrase):
            return kind(f"{meaning}{text}")
    if found := _TAKEN.match(said):
        job_id, key = found.groups()
        text = f"the job {job_id} has its `unique` key {key}{_WHEN_FREE}"
        return KeyTaken(text, job_id=job_id, key=key)
    if said.startswith("SHARED "):
        return _shared(said)
    kind, meaning = _CODES.get(said.partition(" ")[0], (CommandRefused, ""))
    return kind(f"{meaning}{text}")


def _shared(said: str) -> StreamShared:
    """The error for a second group, without the words of Lua around what flowd said."""
    text = _BEHIND.sub("", said.rstrip()).removeprefix("SHARED ")
    return StreamShared(f"{text}{_ONE_GROUP}")


def is_demotion(reply: object) -> bool:
    """Whether the address may lead to another server by now: after a failover.

    The old primary keeps its connections and refuses what writes.
    """
    if not isinstance(reply, NotReady):
        return False
    said = _bare(str(reply).removeprefix(_NOW)).removeprefix("ERR ")
    return said.startswith(_DEMOTED)


def slot_moves(answer: str) -> NotReady | None:
    """The error for MOVED or ASK, of a node of a cluster that is asked as one."""
    if answer.startswith(("MOVED ", "ASK ")):
        return NotReady(f"{_NOW}{answer.rstrip()}")
    return None


def may_not_run(error: AccessDenied, command: str) -> bool:
    """Whether it is the right to run this command that is missing."""
    return f"'{command}'" in str(error)


def _bare(text: str) -> str:
    """What a server says, from its code on."""
    found = _WRAPPING.match(text)
    return text[found.end() :] if found else text
