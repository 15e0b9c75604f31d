"""Slots, holds and locks of a queue with policies whose job no longer exists: for the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from flowd.broker import replies, scripts
from flowd.broker.connection import Argument
from flowd.model.text import count_of
from flowd.ops.finding import Finding
from flowd.ops.queries import Queries

__all__ = ["Nowhere", "find_nowhere", "judge_nowhere"]

_LOOKED_AT: Final = 200
_NAMED: Final = 3


class Nowhere(NamedTuple):
    """A holder that is neither an entry nor a job that is delayed or parked."""

    holder: str
    """The id of an entry, or `@` and the id of a delayed or parked job."""

    names: tuple[str, ...]
    """What it holds: `c:KEY` a slot, `u:KEY` a lock; of others the words of its ticket."""


async def find_nowhere(queries: Queries, parked: int) -> list[Nowhere]:
    """The holders that no longer exist, of 200 slots, 200 holds and 200 locks at most.

    A client that deletes an entry leaves them behind. Nothing is changed. A lock alone is
    not looked for: nothing waits for it, and the next job of its key ignores it.

    Args:
        queries: of the queue.
        parked: how many jobs are.

    Raises:
        ServerError: as `Connection.call`.
    """
    gate = queries.keys.gate
    slots, holds = gate[2:4]
    held = await queries.connection.call("EXISTS", slots, holds, read=replies.number)
    if not (parked or held):
        return []
    keys = (queries.keys.stream, queries.keys.bodies, *gate)
    args: list[Argument] = [queries.group, _LOOKED_AT, ""]
    read = replies.items(_nowhere)
    return await scripts.NOWHERE.run(queries.connection, keys, args, read)


def judge_nowhere(found: Sequence[Nowhere], *, alive: bool) -> list[Finding]:
    """What there is to say of them.

    Args:
        found: by `find_nowhere`.
        alive: whether a worker runs.
    """
    if not found:
        return []
    shown = [f"{' and '.join(each.names)} by {each.holder}" for each in found[:_NAMED]]
    if len(found) > _NAMED:
        shown.append(f"{len(found) - _NAMED:,} more")
    jobs = count_of(len(found), "job")
    text = f"held by {jobs} that no longer {_exist(found)}: {', '.join(shown)}"
    advice = (
        "running workers that have the policies free that within seconds: look again,"
        " and find out who deletes entries, or which workers are of a release without"
        " policies"
        if alive
        else "start a worker, which frees that within seconds"
    )
    return [Finding("warn", "queue", text, advice)]


def _exist(found: Sequence[Nowhere]) -> str:
    return "exists" if len(found) == 1 else "exist"


def _nowhere(reply: object) -> Nowhere:
    holder, *names = (
        replies.data(each).decode("utf-8", "backslashreplace")
        for each in replies.array(reply)
    )
    return Nowhere(holder, tuple(names))
