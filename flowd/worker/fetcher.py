"""Read new entries: as many as there are free slots, and of short jobs a few ahead.

Path: producer -> stream -> here -> runner.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from flowd.broker.connection import Connection
from flowd.broker.stream import Stream
from flowd.errors import ServerError
from flowd.model.delivery import Entry
from flowd.worker.idle_reads import IdlePlace
from flowd.worker.pacing import Pacing
from flowd.worker.side_by_side import SideBySide

__all__ = ["Fetcher"]

_FEW: Final = 16
_QUIET: Final = 5.0
"""Seconds without a job after which a queue is idle."""

_GAP: Final = 1.0
_LASTING: Final = 1.0
"""Jobs that come for longer than this without a gap make a queue busy."""


class Fetcher:
    """Reads the entries of one queue.

    Args:
        stream: over the connection that carries all commands.
        reader: a connection of its own, for reads that wait.
        consumer: the name of this run in the group.
        concurrency: how many handlers run at once.
        block: the longest time one read waits, in seconds.
        idle: its place in the read that idle queues share; None: it has none.
        admit: called ahead of each read with how many jobs it takes and how long it may
            wait, in seconds; admits as many at the gate. None: the queue has no gate.
    """

    def __init__(
        self,
        stream: Stream,
        reader: Connection,
        consumer: str,
        *,
        concurrency: int,
        block: float,
        idle: IdlePlace | None = None,
        admit: Callable[[int, float], Awaitable[None]] | None = None,
    ) -> None:
        self._stream = stream
        self._admit = admit
        self._reader = reader
        self._waiting_stream = stream.over(reader)
        self._idle = idle
        self._last_came = 0.0
        self._first_came = 0.0
        self.consumer = consumer
        """The name under which entries are taken."""

        # The server has the next ready while the handlers of these run; where there
        # are few, a round trip would cost more than that saves.
        self._most = max(concurrency // 2, _FEW)
        self._block = block
        self.flowing = False
        """Whether there is more in the stream than the last read took."""

        self._pacing = Pacing()
        self.pause = 0.0
        """Seconds to let pass before the next read: see `pacing`."""

        self.together = SideBySide()
        """What the last reads have brought."""

        self._reading_until = 0.0
        self._unblocking: asyncio.Task[None] | None = None

    async def fetch(self, room: int, wait: float, ahead: int = 0) -> list[Entry]:
        """Take new entries: one step of reading.

        Args:
            room: how many may be taken.
            wait: how long to wait for the first, in seconds; `block` at most.
            ahead: how many more may be taken while the stream is full.

        Raises:
            ServerError: as `Stream.read`.
        """
        count, idle = min(room, self._most), self._idle
        if self.flowing:
            count += ahead
        paused, self.pause = self.pause > 0, 0.0
        if idle is not None and (idle.taken or self._may_share(wait)):
            shared = await self._fetch_shared(idle, room, wait)
            if shared is not None:
                return shared
        must_prove = idle is not None and idle.must_prove
        waits = not (self.flowing or paused or wait <= 0 or must_prove)
        asked = time.monotonic()
        if waits:
            wait = min(wait, self._block)
            read = self._fetch_blocking(count, wait)
            entries = await self._with_admission(read, count, wait)
        else:
            # There is more, or was time for it, so nothing has to wait: the command goes
            # out with the settles that made the room.
            entries = await self._fetch_at_once(count)
        self.together.note(entries)
        self.flowing = len(entries) == count
        if not self.flowing and (waits or paused):
            self.pause = self._pacing.pause(asked, time.monotonic(), len(entries))
        if idle is not None:
            idle.sound = True
            if entries:
                self._note_arrival()
        return entries

    def _with_admission(
        self, read: Awaitable[list[Entry]], count: int, wait: float
    ) -> Awaitable[list[Entry]]:
        """The read, with what lets jobs into the stream ahead of it."""
        return read if self._admit is None else _both(self._admit(count, wait), read)

    def _fetch_at_once(self, count: int) -> Awaitable[list[Entry]]:
        if self._admit is None:
            return self._stream.read(self.consumer, count)
        admitted = self._admit(count, 0.0)
        both = _both(admitted, self._stream.ask_for_entries(self.consumer, count))
        if self.flowing and count >= _FEW:
            # The server admits while the jobs of the last read begin and end here.
            self._stream.connection.flush()
        return both

    async def leave(self) -> list[Entry]:
        """Leave the read that idle queues share; returns what it has brought."""
        return [] if self._idle is None else await self._idle.leave()

    def interrupt(self, after: float = 0.0) -> None:
        """End a blocked read at once; what it has taken by then is returned.

        Args:
            after: only if it would wait beyond that moment (`time.monotonic`).
        """
        if self._idle is not None:
            self._idle.wake(after)
        if self._reading_until > after and self._unblocking is None:
            loop = asyncio.get_running_loop()
            self._unblocking = loop.create_task(self._unblock())

    async def replace_lost_reader(self) -> None:
        """Connect readers again that are lost: then no old read takes entries any more.

        A read that was under way on a slow link is carried out when that recovers, unless
        the new connection has ended the old one.
        """
        await self._reader.replace_lost()
        if self._idle is not None:
            await self._idle.replace_lost_reader()

    async def aclose(self) -> None:
        """Close the connection of reads that wait."""
        if self._idle is not None:
            await self._idle.close()
        await self._reader.aclose()

    def _may_share(self, wait: float) -> bool:
        """Whether the queue is idle, and so are others."""
        if self._idle is None or self.flowing or wait <= 0:
            return False
        busy = (
            self._last_came - self._first_came > _LASTING
            and time.monotonic() - self._last_came < _QUIET
        )
        return not busy and self._idle.may_be_taken

    async def _fetch_shared(
        self, idle: IdlePlace, room: int, wait: float
    ) -> list[Entry] | None:
        """As `fetch`, in the read that idle queues share; None: it reads by itself."""
        if not self._may_share(wait):
            return await idle.leave() or idle.take() or None
        if not idle.sound:
            # What is wrong with its stream is to fail no other queue.
            return None
        self._reader.disconnect()
        most = min(room, self._most)
        entries = await idle.wait(most, min(wait, self._block))
        if entries:
            self._note_arrival()
            # More may have come with these.
            full = len(entries) >= most
            self.flowing = full or self._last_came > self._first_came
        return entries

    def _note_arrival(self) -> None:
        now = time.monotonic()
        if now - self._last_came > _GAP:
            self._first_came = now
        self._last_came = now

    async def _fetch_blocking(self, count: int, block: float) -> list[Entry]:
        self._reading_until = time.monotonic() + block
        try:
            return await self._waiting_stream.read(self.consumer, count, block)
        finally:
            self._reading_until = 0.0
            if self._unblocking is not None:
                # It must neither end a later read nor outlive this loop.
                await asyncio.wait([self._unblocking])

    async def _unblock(self) -> None:
        try:
            await self._stream.end_read(self._reader, lambda: self._reading_until)
        except ServerError:
            return  # then the read fails as well, or ends by itself within `block`
        finally:
            self._unblocking = None


async def _both(admit: Awaitable[None], read: Awaitable[list[Entry]]) -> list[Entry]:
    """Both at once: a job that is let in ends a read that waits for it."""
    asked, entries = await asyncio.gather(admit, read, return_exceptions=True)
    if isinstance(entries, BaseException):
        raise entries
    if isinstance(asked, BaseException) and not entries:
        raise asked
    return entries
