"""What Redis answers operators: its rows of jobs, consumers and groups, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from flowd.broker import replies
from flowd.broker.control import PAUSED_AT
from flowd.model.delivery import by_name

__all__ = [
    "ConsumerRow",
    "GroupRow",
    "JobRow",
    "Progress",
    "Sizes",
    "State",
    "consumer_row",
    "first_due",
    "group_row",
    "job_row",
]

State: TypeAlias = Literal["waiting", "running", "delayed", "parked"]
"""Where a job is that did not end: one of the places it may be listed in."""

_STATES: Final[Mapping[bytes, State]] = {
    b"waiting": "waiting",
    b"running": "running",
    b"delayed": "delayed",
    b"parked": "parked",
}


class Progress(NamedTuple):
    """How far a job is that runs, as its handler said with `ctx.progress`."""

    fraction: float
    """From 0 to 1."""

    text: str
    """Text of the handler, not escaped."""


class JobRow(NamedTuple):
    """A job as it is in Redis."""

    state: State
    id: bytes
    """The entry's id, or of a delayed job the job's."""

    fields: dict[bytes, bytes]
    due: float
    """When a delayed job is due, in seconds by the server's clock; else 0."""

    consumer: bytes
    """The consumer that runs it; empty if it does not run."""

    silent: float
    """Seconds without a sign of life from who runs it; else 0."""

    delivery_count: int
    """How often this entry was delivered."""

    progress: Progress | None = None
    """How far a job is that runs, if it said so."""


class ConsumerRow(NamedTuple):
    """A consumer as Redis knows it."""

    name: str
    owned: int
    """How many entries it holds."""

    silent: float
    """Seconds since it asked for anything; on Redis 6.2 since it was given anything."""


class GroupRow(NamedTuple):
    """A group as Redis knows it."""

    name: str
    pending: int
    lag: int | None
    """How many entries it has not got; None before Redis 7, or if Redis cannot say."""

    read: int | None = None
    """How many entries it ever got; None likewise."""

    last_id: str = ""
    """Up to which entry it was delivered."""

    @property
    def settled(self) -> int | None:
        """How many deliveries of new entries have ended; None if Redis does not count."""
        return None if self.read is None else max(0, self.read - self.pending)

    @property
    def is_behind_the_end(self) -> bool:
        """Whether it stands where a pause has set it."""
        return self.last_id == PAUSED_AT


class Sizes(NamedTuple):
    """How many jobs a queue holds, by what they do."""

    entries: int
    """Of the stream, whichever group they are for."""

    waiting: int
    running: int
    delayed: int
    dead: int
    parked: int = 0
    """At the gate of a queue with policies."""

    others: Sequence[str] = ()
    """The other groups that read the stream."""

    own: GroupRow | None = None
    """The queue's group; None if it is not there."""

    served_by: Sequence[str] = ()
    """Those of them that are queues too, if this queue's group is not there."""


def group_row(reply: object) -> GroupRow:
    """Read a group of XINFO GROUPS."""
    said = replies.named(reply)
    lag, read = said.get(b"lag"), said.get(b"entries-read")
    return GroupRow(
        _name(reply),
        replies.number(said[b"pending"]),
        None if lag is None else replies.number(lag),
        None if read is None else replies.number(read),
        replies.text(said[b"last-delivered-id"]),
    )


def _name(reply: object) -> str:
    name = replies.data(replies.named(reply)[b"name"])
    return name.decode("utf-8", "backslashreplace")


def first_due(reply: object) -> float | None:
    """Read the time of the first delayed job, in seconds; None without one."""
    found = replies.fields(reply)
    return float(found[1]) / 1000 if found else None


def consumer_row(reply: object) -> ConsumerRow:
    """Read a consumer of XINFO CONSUMERS."""
    said = replies.named(reply)
    owned, idle = replies.number(said[b"pending"]), replies.number(said[b"idle"])
    return ConsumerRow(_name(reply), owned, idle / 1000)


def job_row(reply: object) -> JobRow:
    """Read a job of the query script."""
    state, entry_id, flat, due, consumer, silent, delivery_count, said = replies.array(
        reply
    )
    return JobRow(
        _STATES[replies.data(state)],
        replies.data(entry_id),
        by_name(replies.fields(flat)),
        float(replies.data(due)) / 1000,
        replies.data(consumer),
        replies.number(silent) / 1000,
        replies.number(delivery_count),
        _progress(replies.data(said)),
    )


def _progress(raw: bytes) -> Progress | None:
    fraction, _, text = raw.partition(b" ")
    try:
        said = float(fraction)
    except ValueError:
        return None
    words = text.decode("utf-8", "backslashreplace")
    return Progress(min(max(0.0, said), 1.0), words)
