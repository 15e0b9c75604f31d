"""One connection waits for the jobs of all queues of a process that have none.

A read that waits needs a connection of its own, so 64 queues would need 64, though few have
jobs at a time. Queues that are idle are in one read of many streams (XREADGROUP) instead. It
takes as many entries of each as the queue with the least room has room for. A queue that gets
jobs quickly reads by itself again: see `fetcher`.

One command reads for one group and one consumer. So only queues with the same group name
share a read, and the runs of a process share a consumer's name wherever they can. The
streams of a cluster are in different slots, which one command cannot read.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
import uuid

from flowd.broker.connection import Connection
from flowd.broker.outage import RECONNECT
from flowd.broker.session import Session
from flowd.broker.stream import Stream, read_many
from flowd.errors import FatalError, GroupMissing, ServerError
from flowd.model.delivery import Entry

__all__ = ["IdlePlace", "IdleReads", "IdleReadsByGroup"]


class IdlePlace:
    """The place of one queue in the read, and what came for it.

    Args:
        reads: where it has its place.
        stream: of the queue.
        block: the longest time that one read is to wait, in seconds.
    """

    def __init__(self, reads: IdleReads, stream: Stream, block: float) -> None:
        self._reads = reads
        self.stream = stream
        self.block = block
        self.room = 0
        """How many entries may still come."""

        self.sound = False
        """Whether the queue has read its stream by itself since a read of many failed."""

        self._entries: list[Entry] = []
        self._error: ServerError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._until = 0.0
        reads.enter()

    @property
    def taken(self) -> bool:
        """Whether entries may come, or came, or may have been lost."""
        came = self._entries or self._error
        return bool(came) or self._reads.lists(self)

    @property
    def may_be_taken(self) -> bool:
        """Whether there are others to share the read with."""
        return self._reads.is_shared

    @property
    def must_prove(self) -> bool:
        """Whether the queue has to read by itself, and not wait, before it may be taken."""
        return not self.sound and self._reads.is_shared

    async def wait(self, room: int, seconds: float) -> list[Entry]:
        """Take what comes; keep the place.

        Args:
            room: how many may come.
            seconds: how long to wait for the first.

        Raises:
            ServerError: the read failed; entries may have been delivered.
        """
        if not self._entries and self._error is None:
            self.room = room
            self._reads.add(self)
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            self._until = time.monotonic() + seconds
            alarm = loop.call_later(seconds, self.wake)
            try:
                await self._waiter
            finally:
                alarm.cancel()
                self._waiter = None
        return self.take()

    def wake(self, after: float = 0.0) -> None:
        """End the wait; the place is kept.

        Args:
            after: only if it would wait beyond that moment (`time.monotonic`).
        """
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._until > after:
            waiter.set_result(None)

    async def leave(self) -> list[Entry]:
        """Give the place up; returns what came."""
        await self._reads.remove(self)
        entries, self._entries = self._entries, []
        return entries

    async def replace_lost_reader(self) -> None:
        """As `Fetcher.replace_lost_reader`, of the connection that is shared."""
        await self._reads.replace_lost_reader()

    async def close(self) -> None:
        """Leave, and take no place any more."""
        await self._reads.remove(self)
        await self._reads.exit()

    def bring(self, entries: list[Entry]) -> None:
        """These entries are the queue's."""
        self._entries += entries
        self.room -= len(entries)
        self.wake()

    def fail(self, error: ServerError | None) -> None:
        """The read failed; with None for a reason that may be in another stream."""
        self._error, self.sound = error, False
        self.wake()

    def take(self) -> list[Entry]:
        """What came and was not taken yet.

        Raises:
            ServerError: the read failed; entries may have been delivered.
        """
        entries, self._entries = self._entries, []
        if not entries and (error := self._error) is not None:
            self._error = None
            raise error
        return entries


class IdleReads:
    """The read of many streams of one group under one consumer's name.

    Args:
        session: of the queues.
        group: the name of their groups.
        consumer: their name in it.
    """

    def __init__(self, session: Session, group: str, consumer: str) -> None:
        self._session = session
        self._group = group
        self.consumer = consumer
        self.streams: set[str] = set()
        """Those that were ever read under this name."""

        self._queues = 0
        self._listed: dict[str, IdlePlace] = {}
        self._in_read: dict[str, IdlePlace] = {}
        self._count = 0
        """Of the read that waits: how many entries of each stream."""

        self._connection: Connection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._unblocking: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._cannot_end = False

    @property
    def is_shared(self) -> bool:
        """Whether several queues run, and a read can be ended for one of them."""
        return self._queues > 1 and not self._cannot_end

    def lists(self, place: IdlePlace) -> bool:
        """Whether entries may come for it."""
        name = place.stream.keys.stream
        return place in (self._listed.get(name), self._in_read.get(name))

    def place(self, stream: Stream, block: float, admits: object) -> IdlePlace | None:
        """A place for a queue; None if each of its reads has to be its own.

        Args:
            stream: of the queue.
            block: the longest time that one read is to wait, in seconds.
            admits: what has to come ahead of each of its reads, or None.
        """
        if admits is not None or self._session.address.is_cluster:
            return None
        return IdlePlace(self, stream, block)

    def enter(self) -> None:
        """A queue with this name runs from now on."""
        self._queues += 1

    async def exit(self) -> None:
        """A queue has ended; the last one closes the connection."""
        self._queues -= 1
        if self._queues:
            return
        # Others that begin meanwhile need a connection that stays open.
        connection, self._connection = self._connection, None
        if (unblocking := self._unblocking) is not None:
            self._unblocking = None  # its read has ended by itself
            unblocking.cancel()
            await asyncio.wait([unblocking])
        if connection is not None:
            await connection.aclose()

    async def replace_lost_reader(self) -> None:
        """Connect again if the connection was lost."""
        if self._connection is not None:
            await self._connection.replace_lost()

    def add(self, place: IdlePlace) -> None:
        """Read its stream too from now on."""
        self._listed[place.stream.keys.stream] = place
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(
                self._read(), name="flowd-reader", context=contextvars.Context()
            )
        elif self._is_outdated:
            self._end_read()

    @property
    def _is_outdated(self) -> bool:
        """Whether the read that waits is not the one that is needed now."""
        return bool(self._in_read) and (
            self._in_read != self._listed or self._least_room < self._count
        )

    @property
    def _least_room(self) -> int:
        return min(place.room for place in self._listed.values())

    async def remove(self, place: IdlePlace) -> None:
        """Read its stream no more; returns when no entry can come any more."""
        name = place.stream.keys.stream
        if self._listed.get(name) is place:
            del self._listed[name]
        while self._in_read.get(name) is place:
            self._end_read()
            await self._ended.wait()

    async def _read(self) -> None:
        try:
            await asyncio.sleep(0)  # all queues that are idle in this turn
            while self._listed:
                await self._read_once()
        finally:
            self._reading = None

    async def _read_once(self) -> None:
        places = self._in_read = dict(self._listed)
        self._ended.clear()
        if self._connection is None:
            self._connection = self._session.reader_to(next(iter(places)))
        count = self._count = self._least_room
        block = min(place.block for place in places.values())
        try:
            found = await read_many(
                self._connection,
                self._group,
                self.consumer,
                [*places],
                count=count,
                block=block,
            )
        except (FatalError, GroupMissing):
            # Nothing was delivered. Each queue finds out by itself whether it is its stream.
            self._fail(None)
        except ServerError as error:
            self._fail(error)
        else:
            for name, entries in found:
                place = places[name]
                place.bring(entries)
                if place.room <= 0:
                    self._listed.pop(name, None)
        finally:
            self._in_read = {}
            self._ended.set()

    def _fail(self, error: ServerError | None) -> None:
        for name, place in self._in_read.items():
            self._listed.pop(name, None)
            place.fail(error)

    def _end_read(self) -> None:
        if self._unblocking is None and self._in_read:
            self._unblocking = asyncio.get_running_loop().create_task(
                self._unblock(), context=contextvars.Context()
            )

    async def _unblock(self) -> None:
        try:
            await asyncio.sleep(0)  # all that is asked in this turn
            while self._must_be_ended():
                if await self._ends_now():
                    return
        finally:
            if self._unblocking is asyncio.current_task():
                self._unblocking = None

    def _must_be_ended(self) -> bool:
        reader = self._connection
        if reader is not None and reader.carrier and not reader.client_id:
            self._cannot_end = True  # without the right to ask for its number
        return self._is_outdated and reader is not None and not self._cannot_end

    async def _ends_now(self) -> bool:
        """Unblock it over the connection of a queue; False: try again."""
        assert self._connection is not None
        stream = next(iter(self._in_read.values())).stream
        try:
            await stream.end_read(self._connection, self._must_be_ended)
        except FatalError:
            self._cannot_end = True
        except ServerError:
            # The read may go on, and a queue that leaves it waits for its end.
            await asyncio.sleep(RECONNECT.max)
            return False
        return True


class IdleReadsByGroup:
    """All of one session, by the name of the group and the beginning of the consumer's name."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._latest: dict[tuple[str, str], IdleReads] = {}

    def of(self, stream: str, group: str, prefix: str) -> IdleReads:
        """The one in which a run has its place, under whose name it never read before."""
        found = self._latest.get((group, prefix))
        if found is None or stream in found.streams:
            name = f"{prefix}-{uuid.uuid4().hex[:8]}"
            found = IdleReads(self._session, group, name)
            self._latest[group, prefix] = found
        found.streams.add(stream)
        return found
