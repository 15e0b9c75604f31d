"""The operators' reading side: what they ask a queue, each question bounded.

Like `stream`, on the other side, it sees raw answers; nothing here changes anything. No
answer grows with the number of jobs, only with what was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from flowd.broker import replies, scripts
from flowd.broker import script_replies as answers
from flowd.broker.connection import BULK_READ_TIMEOUT, TIMEOUT, Argument, Connection
from flowd.broker.control import PAUSED_AT
from flowd.broker.refusals import KeyMissing
from flowd.broker.stream import Stream, registered
from flowd.errors import GroupMissing, WrongKeyType
from flowd.model.delivery import by_name
from flowd.model.keys import Keys

__all__ = [
    "PAGE",
    "WHOLE",
    "ConsumerRow",
    "GroupRow",
    "JobRow",
    "Progress",
    "Queries",
    "Sizes",
    "State",
]

State: TypeAlias = Literal["waiting", "running", "delayed", "parked"]
"""Where a job is that did not end: one of the places it may be listed in."""

_STATES: Final[Mapping[bytes, State]] = {
    b"waiting": "waiting",
    b"running": "running",
    b"delayed": "delayed",
    b"parked": "parked",
}

PAGE: Final = 100
"""How many jobs are asked for at once, at most."""

WHOLE: Final = 1 << 40
"""More bytes than any value has: none of it is cut off."""


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

    handed_out: int
    """How often this entry was."""

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

    has_group: bool = False
    """Whether the queue's own group is there."""

    served_by: Sequence[str] = ()
    """Those of them that are queues too, if this queue's group is not there."""


class Queries:
    """Asks one queue."""

    def __init__(self, connection: Connection, stream: str, group: str) -> None:
        self.stream = Stream(connection, stream, group)
        self.keys = Keys(stream, group)
        self.group = group
        self.connection = self.stream.connection

    async def waiting(
        self, count: int, after: bytes = b"", *, most: int = WHOLE
    ) -> list[JobRow]:
        """Jobs that were not delivered, the oldest first, behind the entry `after`.

        Args:
            count: how many, at most.
            after: the id of the last one seen; empty at the beginning.
            most: how many bytes of each value; the rest is cut off.

        Raises:
            ServerError: as `Connection.call`.
        """
        return await self._ask(most, "waiting", after, count)

    async def running(
        self, count: int, after: bytes = b"", *, most: int = WHOLE, consumer: str = ""
    ) -> list[JobRow]:
        """Jobs that were delivered, to one consumer or all; as `waiting`."""
        return await self._ask(most, "running", after, count, consumer)

    async def delayed(
        self, count: int, skip: int = 0, *, most: int = WHOLE
    ) -> list[JobRow]:
        """Jobs that wait for their time, the next first, behind `skip` others.

        A `skip` below 0 counts from the end: -5 is behind all but the last five.
        """
        return await self._ask(most, "delayed", skip, count)

    async def parked(
        self, count: int, skip: int = 0, *, most: int = WHOLE
    ) -> list[JobRow]:
        """Jobs that wait at the gate, lane by lane, behind `skip` others."""
        return await self._ask(most, "parked", skip, count)

    async def entries(
        self, key: str, first: str, last: str, count: int
    ) -> list[tuple[bytes, list[bytes]]]:
        """Entries of the stream or of its dead letters, whole, as `Stream.letters`."""
        return await self.connection.call(
            *("XRANGE", key, first, last, "COUNT", count),
            read=replies.entries,
            timeout=BULK_READ_TIMEOUT,
        )

    async def last_id(self, key: str) -> str:
        """The id of the newest entry of either; `0-0` without any."""
        return await self.connection.call(
            *("XREVRANGE", key, "+", "-", "COUNT", 1), read=replies.last_id
        )

    async def one(self, entry_id: str, job_id: str) -> list[JobRow]:
        """The entry with this id (empty: none) and the delayed job with that id."""
        return await self._ask(WHOLE, "one", entry_id, job_id)

    async def sizes(self) -> Sizes:
        """Count what the queue holds.

        A stream that only groups of other queues read holds their jobs, and none of
        this queue.

        Raises:
            ServerError: as `Connection.call`.
        """
        entries, delayed, dead, parked, groups = await asyncio.gather(
            self.connection.call("XLEN", self.keys.stream, read=replies.number),
            self.connection.call("ZCARD", self.keys.delayed, read=replies.number),
            self.connection.call("XLEN", self.keys.dead, read=replies.number),
            self.connection.call("ZCARD", self.keys.gate[1], read=replies.number),
            self.groups(),
        )
        others = [each.name for each in groups if each.name != self.group]
        own = next((each for each in groups if each.name == self.group), None)
        if own is not None:
            left = max(0, entries - own.pending)
            waiting = left if own.lag is None else min(left, own.lag)
            sizes = (entries, waiting, own.pending, delayed, dead, parked)
            return Sizes(*sizes, others, has_group=True)
        queues = await registered(self.connection) if others else ()
        at_work = {
            each.group for each in queues if each.keys.stream == self.keys.stream
        }
        if served_by := [each for each in others if each in at_work]:
            return Sizes(entries, 0, 0, 0, dead, 0, others, served_by=served_by)
        return Sizes(entries, entries, 0, delayed, dead, parked, others)

    async def is_behind_the_end(self) -> bool:
        """Whether the group stands where a pause has set it.

        Raises:
            ServerError: as `Connection.call`.
        """
        return any(
            each.last_id == PAUSED_AT
            for each in await self.groups()
            if each.name == self.group
        )

    async def groups(self) -> list[GroupRow]:
        """The groups that read the stream; none if it is not there."""
        try:
            return await self.connection.call(
                "XINFO", "GROUPS", self.keys.stream, read=replies.items(_group)
            )
        except KeyMissing:
            return []

    async def settled(self) -> int | None:
        """How many deliveries of new entries have ended; None if Redis does not count.

        Raises:
            ServerError: as `Connection.call`.
        """
        for each in await self.groups():
            if each.name == self.group and each.read is not None:
                return max(0, each.read - each.pending)
        return None

    async def foreign_keys(self) -> list[str]:
        """Those of the queue's keys that hold what flowd does not put there.

        Raises:
            ServerError: as `Connection.call`.
        """
        own = self.keys
        asked = {
            own.stream: self.connection.call("XLEN", own.stream),
            own.delayed: self.connection.call("ZCARD", own.delayed),
            own.bodies: self.connection.call("HGET", own.bodies, ""),
            own.dead: self.connection.call("XLEN", own.dead),
            own.progress: self.connection.call("HGET", own.progress, ""),
            own.control: self.connection.call("HGET", own.control, ""),
            own.receipts: self.connection.call("HGET", own.receipts, ""),
            own.workers: self.connection.call("HGET", own.workers, ""),
        }
        answers = await asyncio.gather(*asked.values(), return_exceptions=True)
        found: list[str] = []
        for key, answer in zip(asked, answers, strict=True):
            if isinstance(answer, WrongKeyType):
                found.append(key)
            elif isinstance(answer, BaseException):
                raise answer
        return found

    async def silences(self, count: int) -> list[float]:
        """Of the oldest `count` pending entries: seconds since a sign of life."""
        rows = await self.connection.call(
            *("XPENDING", self.keys.stream, self.group, "-", "+", count),
            read=answers.pending,
        )
        return [idle / 1000 for _, _, idle, _ in rows]

    async def first_due(self) -> float | None:
        """When the first delayed job is due, by the server's clock; None without one."""
        return await self.connection.call(
            *("ZRANGE", self.keys.delayed, 0, 0, "WITHSCORES"), read=_first_due
        )

    async def consumers(self) -> list[ConsumerRow] | None:
        """Who reads the queue, by name; None if the group is not there.

        Raises:
            ServerError: as `Connection.call`.
        """
        try:
            rows = await self.connection.call(
                *("XINFO", "CONSUMERS", self.keys.stream, self.group),
                read=replies.items(_consumer),
            )
        except (GroupMissing, KeyMissing):
            return None
        return sorted(rows)

    async def _ask(self, most: int, *question: Argument) -> list[JobRow]:
        own = self.keys
        keys = [own.stream, own.delayed, own.bodies, own.progress]
        keys += [own.gate[1], own.control]
        return await scripts.QUERY.run(
            self.connection,
            keys,
            [self.group, most, *question],
            replies.items(_row),
            patience=BULK_READ_TIMEOUT if most == WHOLE else TIMEOUT,
        )


def _group(reply: object) -> GroupRow:
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


def _first_due(reply: object) -> float | None:
    found = replies.fields(reply)
    return float(found[1]) / 1000 if found else None


def _consumer(reply: object) -> ConsumerRow:
    said = replies.named(reply)
    owned, idle = replies.number(said[b"pending"]), replies.number(said[b"idle"])
    return ConsumerRow(_name(reply), owned, idle / 1000)


def _row(reply: object) -> JobRow:
    state, entry_id, flat, due, consumer, silent, handed_out, said = replies.array(
        reply
    )
    return JobRow(
        _STATES[replies.data(state)],
        replies.data(entry_id),
        by_name(replies.fields(flat)),
        float(replies.data(due)) / 1000,
        replies.data(consumer),
        replies.number(silent) / 1000,
        replies.number(handed_out),
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
