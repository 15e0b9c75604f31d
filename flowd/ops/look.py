"""The operators' reading side: what they ask a queue, each question bounded.

Like `stream`, on the other side, it sees raw answers; nothing here changes anything. No
answer grows with the number of jobs, only with what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, cast

from flowd import scripts
from flowd.connection import Argument, Link
from flowd.errors import GroupMissing, ServerError
from flowd.keys import Keys
from flowd.stream import Stream

__all__ = ["PAGE", "ConsumerRow", "Look", "Progress", "Row", "State", "server_time"]

State: TypeAlias = Literal["waiting", "running", "delayed"]
"""Where a job is that did not end: one of the three places it may be listed in."""

PAGE: Final = 200
"""How many jobs are asked for at once, at most."""

_WHOLE: Final = 1 << 40


class Progress(NamedTuple):
    """How far a job is that runs, as its handler said with `ctx.progress`."""

    fraction: float
    """From 0 to 1."""

    text: str
    """Somebody else's words."""


class Row(NamedTuple):
    """A job as it is in Redis."""

    state: State
    id: bytes
    """The entry's id, or of a delayed job the job's."""

    fields: dict[bytes, bytes]
    due: float
    """When a delayed job is due, in seconds by the server's clock; else 0."""

    consumer: bytes
    """Who runs it; empty if nobody does."""

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


class Look:
    """Asks one queue."""

    def __init__(self, link: Link, stream: str, group: str) -> None:
        self.stream = Stream(link, stream, group)
        self.keys = Keys(stream, group)
        self.group = group
        self.link = link

    async def waiting(
        self, count: int, after: bytes = b"", *, most: int = _WHOLE
    ) -> list[Row]:
        """Jobs that were not handed out, the oldest first, behind the entry `after`.

        Args:
            count: how many, at most.
            after: the id of the last one seen; empty at the beginning.
            most: how many bytes of each value; the rest is cut off.

        Raises:
            ServerError: as `Link.call`.
        """
        return await self._ask(most, "waiting", after, count)

    async def running(
        self, count: int, after: bytes = b"", *, most: int = _WHOLE, consumer: str = ""
    ) -> list[Row]:
        """Jobs that were handed out, to one consumer or all; as `waiting`."""
        return await self._ask(most, "running", after, count, consumer)

    async def delayed(
        self, count: int, skip: int = 0, *, most: int = _WHOLE
    ) -> list[Row]:
        """Jobs that wait for their time, the next first, behind `skip` others."""
        return await self._ask(most, "delayed", skip, count)

    async def one(self, entry_id: str, job_id: str) -> list[Row]:
        """The entry with this id (empty: none) and the delayed job with that id."""
        return await self._ask(_WHOLE, "one", entry_id, job_id)

    async def consumers(self) -> list[ConsumerRow] | None:
        """Who reads the queue, by name; None if the group is not there.

        Raises:
            ServerError: as `Link.call`.
        """
        try:
            reply = await self.link.call(
                "XINFO", "CONSUMERS", self.keys.stream, self.group
            )
        except GroupMissing:
            return None
        except ServerError as error:
            if "no such key" in str(error):
                return None
            raise
        rows = [
            dict(zip(row[::2], row[1::2], strict=True))
            for row in cast("list[list[object]]", reply)
        ]
        return sorted(
            ConsumerRow(
                cast("bytes", row[b"name"]).decode("utf-8", "backslashreplace"),
                cast("int", row[b"pending"]),
                cast("int", row[b"idle"]) / 1000,
            )
            for row in rows
        )

    async def _ask(self, most: int, *question: Argument) -> list[Row]:
        own = self.keys
        keys = [own.stream, own.delayed, own.bodies, own.progress]
        reply = await scripts.LOOK.run(self.link, keys, [self.group, most, *question])
        rows = cast(
            "list[tuple[bytes, bytes, list[bytes], bytes, bytes, int, int, bytes]]",
            reply,
        )
        return [
            Row(
                cast("State", state.decode()),
                entry_id,
                _pairs(fields),
                float(due) / 1000,
                consumer,
                silent / 1000,
                handed_out,
                _progress(said),
            )
            for state, entry_id, fields, due, consumer, silent, handed_out, said in rows
        ]


async def server_time(link: Link) -> float:
    """What time it is at the server, in seconds since 1970.

    Raises:
        ServerError: as `Link.call`.
    """
    seconds, microseconds = cast("list[bytes]", await link.call("TIME"))
    return int(seconds) + int(microseconds) / 1e6


def _progress(raw: bytes) -> Progress | None:
    fraction, _, text = raw.partition(b" ")
    try:
        said = float(fraction)
    except ValueError:
        return None
    words = text.decode("utf-8", "backslashreplace")
    return Progress(min(max(0.0, said), 1.0), words)


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
