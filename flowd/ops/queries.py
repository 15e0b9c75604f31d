"""The operators' reading side: what they ask a queue, each question bounded.

Like `stream`, on the other side, it knows the commands; `rows` reads the answers. Nothing
here changes anything. No answer grows with the number of jobs, only with what was asked
for.
"""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

from flowd.broker import replies, scripts
from flowd.broker import script_replies as answers
from flowd.broker.connection import BULK_READ_TIMEOUT, TIMEOUT, Argument, Connection
from flowd.broker.refusals import KeyMissing
from flowd.broker.registry import listed_queues
from flowd.broker.stream import Stream
from flowd.errors import GroupMissing, WrongKeyType
from flowd.model.keys import Keys
from flowd.ops.rows import (
    ConsumerRow,
    GroupRow,
    JobRow,
    Sizes,
    consumer_row,
    first_due,
    group_row,
    job_row,
)

__all__ = ["GLANCE", "PAGE", "WHOLE", "Queries"]

T = TypeVar("T")

PAGE: Final = 100
"""How many jobs are asked for at once, at most."""

GLANCE: Final = 64
"""Bytes of each value that are enough to tell one job from another."""

WHOLE: Final = 1 << 40
"""More bytes than any value has: none of it is cut off."""


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

    async def lanes(
        self, count: int, after: bytes, last: bytes, *, most: int = WHOLE
    ) -> tuple[list[JobRow], bytes]:
        """Jobs that wait at the gate, from behind one place to another, as `waiting`.

        A place stays while others come and go, which a number of jobs to skip does not.

        Returns:
            The jobs, and the place of the last of them; empty without any.
        """
        question = ("lanes", after, count, last)
        return await self._run(most, _rows_and_place, *question)

    async def last_place(self) -> bytes:
        """The last place at the gate; empty without any.

        Raises:
            ServerError: as `Connection.call`.
        """
        parked = self.keys.gate[1]
        found = await self.connection.call("ZRANGE", parked, -1, -1, read=answers.ids)
        return found[0] if found else b""

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
            return Sizes(*sizes, others, own)
        queues = await listed_queues(self.connection) if others else ()
        at_work = {
            each.group for each in queues if each.keys.stream == self.keys.stream
        }
        if served_by := [each for each in others if each in at_work]:
            return Sizes(entries, 0, 0, 0, dead, 0, others, served_by=served_by)
        return Sizes(entries, entries, 0, delayed, dead, parked, others)

    async def groups(self) -> list[GroupRow]:
        """The groups that read the stream; none if it is not there."""
        try:
            return await self.connection.call(
                "XINFO", "GROUPS", self.keys.stream, read=replies.items(group_row)
            )
        except KeyMissing:
            return []

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
        try:
            rows = await self.connection.call(
                *("XPENDING", self.keys.stream, self.group, "-", "+", count),
                read=answers.pending,
            )
        except (GroupMissing, KeyMissing):
            return []
        return [idle / 1000 for _, _, idle, _ in rows]

    async def first_due(self) -> float | None:
        """When the first delayed job is due, by the server's clock; None without one."""
        return await self.connection.call(
            *("ZRANGE", self.keys.delayed, 0, 0, "WITHSCORES"), read=first_due
        )

    async def consumers(self) -> list[ConsumerRow] | None:
        """Who reads the queue, by name; None if the group is not there.

        Raises:
            ServerError: as `Connection.call`.
        """
        try:
            rows = await self.connection.call(
                *("XINFO", "CONSUMERS", self.keys.stream, self.group),
                read=replies.items(consumer_row),
            )
        except (GroupMissing, KeyMissing):
            return None
        return sorted(rows)

    async def _ask(self, most: int, *question: Argument) -> list[JobRow]:
        return await self._run(most, replies.items(job_row), *question)

    async def _run(self, most: int, read: replies.Reader[T], *question: Argument) -> T:
        own = self.keys
        keys = [own.stream, own.delayed, own.bodies, own.progress]
        keys += [own.gate[1], own.control]
        return await scripts.QUERY.run(
            self.connection,
            keys,
            [self.group, most, *question],
            read,
            patience=BULK_READ_TIMEOUT if most == WHOLE else TIMEOUT,
        )


def _rows_and_place(reply: object) -> tuple[list[JobRow], bytes]:
    *rows, place = replies.array(reply)
    return [job_row(each) for each in rows], replies.data(place)
