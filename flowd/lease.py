"""Renew the leases of running deliveries, from a thread with its own connection.

In the event loop a handler that computes for a minute would starve the renewal and lose
its job to another worker while it still runs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from flowd.address import Address
from flowd.connection import Link
from flowd.delivery import Delivery
from flowd.display import printable
from flowd.errors import GroupMissing, ServerError
from flowd.event import Witnesses
from flowd.lag import LoopWatch
from flowd.outage import RECONNECT
from flowd.stream import Stream

__all__ = ["RENEWALS", "Holder", "LeaseKeeper"]

RENEWALS: Final = 4
"""Renewals per lease: one that fails still leaves time for two more."""

_WATCH: Final = 0.5


class Holder:
    """The deliveries that one queue of this process holds.

    Args:
        lost: told, in the event loop, which of them are somebody else's now.
        handler: the name of what runs them.
    """

    def __init__(
        self,
        stream: Stream,
        consumer: str,
        lease: float,
        lost: Callable[[Sequence[Delivery]], None],
        handler: str,
    ) -> None:
        self.stream = stream
        self.consumer = consumer
        self.lease = lease
        self.handler = handler
        self.held: dict[bytes, Delivery] = {}
        """By entry id: running, or ended and not settled yet."""

        self.apart: set[Delivery] = set()
        """Those of them that have ended and that the server refuses to settle for now."""

        self.has_progress = False
        """Whether it may be written somewhere how far one of them is."""

        self._lost = lost
        self._loop = asyncio.get_running_loop()

    async def renew(self, link: Link, loop_seen: float) -> None:
        """Renew what is held; in the keeper's thread.

        Args:
            link: the thread's own.
            loop_seen: when the queue's event loop last ran.

        Raises:
            ServerError: as `Link.call`.
        """
        now = time.monotonic()
        hung = now - loop_seen > self.lease
        deliveries = [
            delivery
            for delivery in list(self.held.values())
            if not (hung and self._overdue(delivery, now))
        ]
        if not deliveries:
            return
        try:
            lost = await self.stream.over(link).renew(
                self.consumer, [(d.entry_id, d.count) for d in deliveries]
            )
        except GroupMissing:
            lost = [d.entry_id for d in deliveries]
        ids = set(lost)
        gone = [each for each in deliveries if each.entry_id in ids]
        for delivery in deliveries:
            if delivery.entry_id not in ids:
                delivery.held_since = now
        if gone:
            self._loop.call_soon_threadsafe(self._lost, gone)

    def _overdue(self, delivery: Delivery, now: float) -> bool:
        """A hung process must not hold a job for ever that has a time limit."""
        return delivery.deadline is not None and now > delivery.deadline + self.lease


class LeaseKeeper:
    """The thread that renews for all queues of one event loop and server."""

    def __init__(self, address: Address, witnesses: Witnesses) -> None:
        self._address = address
        self._witnesses = witnesses
        self.holders: list[Holder] = []
        """Of every queue that runs."""

        self._wake = threading.Event()
        self._failures = 0
        self._ended: asyncio.Future[None] | None = None
        self._loop_watch: LoopWatch | None = None

    def watch(self, holder: Holder) -> None:
        """Renew for this queue from now on."""
        self.holders.append(holder)
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            self._loop_watch = LoopWatch(self._describe, self._witnesses)
            self._loop_watch.start()
            threading.Thread(
                target=self._run,
                args=(loop, self._loop_watch, self._ended),
                name="flowd-lease",
                daemon=True,
            ).start()
        self._wake.set()

    async def unwatch(self, holder: Holder) -> None:
        """Renew no longer; the thread ends with its last queue."""
        self.holders.remove(holder)
        if not self.holders and self._ended is not None:
            assert self._loop_watch is not None
            self._loop_watch.stop()
            ended, self._ended = self._ended, None
            self._wake.set()
            await ended

    def renew_soon(self) -> None:
        """Renew without waiting, because the server was away and leases ran on.

        The others sweep one interval after it is back; by then it is done.
        """
        if not self._failures:  # else it tries already, and ever more slowly
            self._wake.set()

    def _run(
        self,
        loop: asyncio.AbstractEventLoop,
        watch: LoopWatch,
        ended: asyncio.Future[None],
    ) -> None:
        try:
            with asyncio.Runner() as runner:
                link = Link(self._address, name="flowd-lease")
                self._failures = 0
                while self._ended is ended:
                    if runner.run(self._renew(link, watch.seen)):
                        self._failures += 1
                        wait = RECONNECT.delay(self._failures)
                    else:
                        self._failures = 0
                        wait = self._interval()
                    self._rest(wait, watch)
                runner.run(link.aclose())
        finally:
            # The queue's loop may be closed by now; then nobody waits.
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set_result, None)

    def _rest(self, seconds: float, watch: LoopWatch) -> None:
        """Wait, or until somebody wakes it; meanwhile, watch the event loop."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._wake.wait(min(left, _WATCH)):
                break
            watch.look()
        self._wake.clear()

    async def _renew(self, link: Link, loop_seen: float) -> bool:
        """Renew for every queue in one round trip; True if the server failed.

        The queue's own loops say so in the log: they fail at the same time.
        """
        failed = False
        renewals = [holder.renew(link, loop_seen) for holder in list(self.holders)]
        for result in await asyncio.gather(*renewals, return_exceptions=True):
            if isinstance(result, ServerError):
                failed = True
            elif isinstance(result, BaseException):
                raise result
        return failed

    def _interval(self) -> float:
        return min([h.lease for h in list(self.holders)], default=0.0) / RENEWALS

    def _describe(self, task: asyncio.Task[object] | None) -> str | None:
        """The handler and the job that a task runs; in the thread."""
        for holder in list(self.holders):
            for delivery in list(holder.held.values()):
                if delivery.task is not None and delivery.task is task:
                    return f"{holder.handler} ({printable(delivery.job_id)})"
        return None
