"""The read loop: as many entries as there are free slots, and no more.

Path: producer -> stream -> here -> worker.

The same loop tends the queue: it promotes what is due and takes over what was
abandoned. So a slot is never promised twice, and a read blocks no longer than until
there is something to tend.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from flowd.broker.connection import Link
from flowd.broker.outage import RECONNECT, Outage
from flowd.broker.stream import Stream
from flowd.errors import FatalError, GroupMissing, ServerError
from flowd.model.claimer import Claimer
from flowd.model.delivery import Entry
from flowd.model.event import Witnesses
from flowd.worker.lease import RENEWALS, Holder
from flowd.worker.server_clock import ServerClock

__all__ = ["LEASES_TO_DEATH", "Consumer"]

_POLL: Final = 2.0
_FEW: Final = 16
_SOONEST: Final = 0.01
LEASES_TO_DEATH: Final = 10
"""After so many without a sign of life a consumer counts as dead."""


class Consumer:
    """Reads and tends for one queue."""

    def __init__(
        self,
        stream: Stream,
        reader: Link,
        holder: Holder,
        outage: Outage,
        witnesses: Witnesses,
        *,
        block: float,
        concurrency: int,
        claimer: Claimer | None,
        slots: Callable[[], int],
        takeovers: Callable[[], int],
        start: Callable[[Entry], None],
        failed: Callable[[], None],
        listened: Callable[[int], None],
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._waiting_stream = stream.over(reader)
        self._holder = holder
        self._outage = outage
        self._witnesses = witnesses
        self._clock = ServerClock(stream, holder.lease, witnesses)
        self._block = block
        # The server has the next ready while the handlers of these run; where there
        # are few, a round trip would cost more than that saves.
        self._most = max(concurrency // 2, _FEW)
        self._claimer = claimer
        self._slots = slots
        self._takeovers = takeovers
        self._start = start
        self._failed = failed
        self._listened = listened
        self._stopping = False
        self._slot_freed = asyncio.Event()
        self._reading_until = 0.0
        self._unblocking: asyncio.Task[None] | None = None
        self._cursor: bytes = b"0-0"
        self._stranded = False
        self._flowing = False
        self._promoting = False
        self._claiming = False
        self._alarm: asyncio.TimerHandle | None = None
        self._failures: Counter[str] = Counter()
        self._tend_at = 0.0
        # Leases went on running while the server was away, so the other workers get
        # the time to renew theirs before the first sweep.
        self._claim_at = self._after_renewal()
        self._reap_at = 0.0

    async def run(self) -> None:
        """Read and tend until `stop`.

        Raises:
            FatalError: the server refuses, and will until somebody changes something.
        """
        try:
            while not self._stopping:
                await self._step()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()

    def stop(self) -> None:
        """Read no more; a blocked read ends at once."""
        self._stopping = True
        self.slot_freed()
        self.interrupt()

    def interrupt(self) -> None:
        """End a blocked read at once; what it has taken by then is started."""
        if self._reading_until:
            self._unblock()

    def slot_freed(self) -> None:
        """A delivery ended or was settled, so there may be room for another."""
        self._slot_freed.set()

    def due_in(self, delay: float) -> None:
        """A job of this queue is due in so many seconds."""
        due = time.monotonic() + delay
        if due < self._tend_at:
            self._tend_at = due
            if due < self._reading_until:
                self._unblock()

    async def _step(self) -> None:
        now = time.monotonic()
        free = self._slots()
        room = self._room(free)
        claim = room > 0 and now >= self._claim_at
        if room <= 0:
            # Nobody tries to take over, so nothing would say that it works again.
            self._recovered("taking over")
        if claim or now >= self._tend_at or (self._stranded and free > 0):
            # Apart, or an answer to the one would end an outage of the other.
            what = "taking over" if claim and not self._stranded else "tending"
            await self._patiently(what, self._tend(free, room if claim else 0))
        elif free <= 0:
            await self._wait_for_slot()
        else:
            until = min(self._tend_at, self._claim_at) if room > 0 else self._tend_at
            block = min(self._block, max(until - now, _SOONEST))
            await self._patiently("reading", self._read(min(free, self._most), block))

    async def _patiently(self, what: str, step: Awaitable[None]) -> None:
        """Take one step; after a failure, wait the longer the more there were."""
        stream = self._stream.keys.stream
        try:
            await step
        except FatalError:
            raise
        except ServerError as error:
            self._failures[what] += 1
            self._outage.begin(what, stream, error)
            self._failed()
            self._stranded = True
            self._claim_at = self._after_renewal()
            if isinstance(error, GroupMissing):
                await self._recreate()
            await asyncio.sleep(RECONNECT.delay(self._failures[what]))
        else:
            if self._recovered(what):
                # What is read or tended is set up, whoever did it.
                self._outage.end("setting up", stream)
                self._claim_at = self._after_renewal()

    def _recovered(self, what: str) -> bool:
        """`what` fails no more; returns whether it did."""
        failed = self._failures.pop(what, 0) > 0
        if failed:
            self._outage.end(what, self._stream.keys.stream)
        return failed

    def _room(self, free: int) -> int:
        """How many of the free slots takeovers may use."""
        if self._claimer is None:
            return 0
        if self._claimer.concurrency is None:
            return free
        return min(free, self._claimer.concurrency - self._takeovers())

    async def _read(self, count: int, block: float) -> None:
        if self._flowing:
            # There is more, so nobody has to wait for it: the command goes out with
            # the endings that made the room.
            entries = await self._stream.read(self._holder.consumer, count)
        else:
            entries = await self._read_blocking(count, block)
        self._flowing = len(entries) == count
        if self._promoting:
            self._tend_at = 0.0  # what was promoted has had its turn
        if self._claiming:
            self._claim_at = 0.0  # and so have new jobs, between two takeovers
        for entry in entries:
            self._start(entry)

    async def _read_blocking(self, count: int, block: float) -> list[Entry]:
        self._reading_until = time.monotonic() + block
        try:
            return await self._waiting_stream.read(self._holder.consumer, count, block)
        finally:
            self._reading_until = 0.0
            if self._unblocking is not None:
                # It must neither end a later read nor outlive this loop.
                await asyncio.wait([self._unblocking])

    async def _tend(self, free: int, takeovers: int) -> None:
        stranded = free if self._stranded else 0
        tended = await self._stream.tend(
            self._holder.consumer,
            lease=self._holder.lease,
            takeovers=0 if stranded else takeovers,
            cursor=self._cursor,
            stranded=stranded,
            running=self._holder.held,
        )
        self._listened(tended.listeners)
        for entry in tended.taken:
            self._start(entry)
        if stranded:
            # As many as there was room for, or as large as one answer may be: look again.
            self._stranded = bool(tended.taken)
        self._stranded |= tended.unsorted
        self._cursor = tended.cursor
        now = time.monotonic()
        self._claiming = tended.next_lease == 0 and bool(tended.taken)
        if takeovers and not stranded and self._claimer is not None:
            wait = max(tended.next_lease, _SOONEST)
            self._claim_at = now + min(self._claimer.interval, wait)
            if now >= self._reap_at:
                await self._reap(now)
        self._flowing |= tended.promoted > 0 or self._claiming
        self._promoting = tended.next_due == 0
        due = _POLL if tended.next_due is None else min(tended.next_due, _POLL)
        self._tend_at = now + max(due, _SOONEST)
        await self._clock.look()

    async def _reap(self, now: float) -> None:
        """Forget consumers of processes that died.

        Redis 6.2 sees no life in one that waits for an entry. It is created again with
        the next one.
        """
        silence = max(LEASES_TO_DEATH * self._holder.lease, 2 * self._block)
        self._reap_at = now + silence
        if reaped := await self._stream.reap(silence):
            self._witnesses.say(
                logging.INFO,
                "reaped",
                f"forgets {reaped} consumers that own nothing and were silent for"
                f" {silence:.0f} s",
                consumers=reaped,
            )

    async def _wait_for_slot(self) -> None:
        """Wait for a slot, or until there is something to tend."""
        self._slot_freed.clear()
        if self._alarm is None:
            # One that rings too early is harmless, so it is never set anew.
            wait = self._tend_at - time.monotonic()
            self._alarm = asyncio.get_running_loop().call_later(wait, self._ring)
        await self._slot_freed.wait()

    def _ring(self) -> None:
        self._alarm = None
        self._slot_freed.set()

    async def _recreate(self) -> None:
        """Set the group up again at 0, so that nothing is passed over."""
        try:
            await self._stream.init("0")
            await self._stream.register()
        except FatalError:
            raise
        except ServerError as error:
            self._outage.begin("setting up", self._stream.keys.stream, error)
            return
        self._outage.end("setting up", self._stream.keys.stream)
        self._witnesses.say(
            logging.WARNING,
            "group_recreated",
            f"group {self._stream.group} was gone and is set up again; jobs that were"
            " in the stream may be lost with it",
        )

    def _after_renewal(self) -> float:
        # Who asks a server that was away does so again after RECONNECT.max at the latest.
        wait = max(self._holder.lease / RENEWALS, 2 * RECONNECT.max)
        return time.monotonic() + wait

    def _unblock(self) -> None:
        if self._unblocking is None:
            loop = asyncio.get_running_loop()
            self._unblocking = loop.create_task(self._end_read())

    async def _end_read(self) -> None:
        """Unblock until it worked: the read may be sent and not yet be blocked."""
        try:
            while (  # noqa: ASYNC110 - only the server knows when
                self._reading_until and not await self._stream.unblock(self._reader)
            ):
                await asyncio.sleep(0.02)
        except ServerError:
            return  # then the read fails as well, or ends by itself within `block`
        finally:
            self._unblocking = None
