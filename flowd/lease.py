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
from flowd.errors import GroupMissing, ServerError
from flowd.outage import RECONNECT
from flowd.stream import Stream

__all__ = ["RENEWALS", "Holder", "LeaseKeeper"]

RENEWALS: Final = 4
"""Renewals per lease: one that fails still leaves time for two more."""


class Holder:
    """The deliveries that one queue of this process holds."""

    def __init__(
        self,
        stream: Stream,
        consumer: str,
        lease: float,
        lost: Callable[[Sequence[bytes]], None],
    ) -> None:
        self.stream = stream
        self.consumer = consumer
        self.lease = lease
        self.held: dict[bytes, Delivery] = {}
        """By entry id: running, or ended and not settled yet."""

        self.loop_seen = time.monotonic()
        """When the queue's event loop last ran."""

        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._pulse: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Note, several times a lease, that the event loop runs."""
        self.loop_seen = time.monotonic()
        self._pulse = self._loop.call_later(self.lease / RENEWALS, self.start)

    def stop(self) -> None:
        """Note it no longer."""
        if self._pulse is not None:
            self._pulse.cancel()

    async def renew(self, link: Link) -> None:
        """Renew what is held; in the keeper's thread.

        Raises:
            ServerError: as `Link.call`.
        """
        now = time.monotonic()
        hung = now - self.loop_seen > self.lease
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
        gone = set(lost)
        for delivery in deliveries:
            if delivery.entry_id not in gone:
                delivery.held_since = now
        if gone:
            self._loop.call_soon_threadsafe(self._lost, lost)

    def _overdue(self, delivery: Delivery, now: float) -> bool:
        """A hung process must not hold a job for ever that has a time limit."""
        return delivery.deadline is not None and now > delivery.deadline + self.lease


class LeaseKeeper:
    """The thread that renews for all queues of one event loop and server."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.holders: list[Holder] = []
        """Of every queue that runs."""

        self._wake = threading.Event()
        self._failures = 0
        self._ended: asyncio.Future[None] | None = None

    def watch(self, holder: Holder) -> None:
        """Renew for this queue from now on."""
        holder.start()
        self.holders.append(holder)
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            threading.Thread(
                target=self._run,
                args=(loop, self._ended),
                name="flowd-lease",
                daemon=True,
            ).start()
        self._wake.set()

    async def unwatch(self, holder: Holder) -> None:
        """Renew no longer; the thread ends with its last queue."""
        holder.stop()
        self.holders.remove(holder)
        if not self.holders and self._ended is not None:
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
        self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]
    ) -> None:
        try:
            with asyncio.Runner() as runner:
                link = Link(self._address, name="flowd-lease")
                self._failures = 0
                while self._ended is ended:
                    if runner.run(self._renew(link)):
                        self._failures += 1
                        wait = RECONNECT.delay(self._failures)
                    else:
                        self._failures = 0
                        wait = self._interval()
                    self._wake.wait(wait)
                    self._wake.clear()
                runner.run(link.aclose())
        finally:
            # The queue's loop may be closed by now; then nobody waits.
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set_result, None)

    async def _renew(self, link: Link) -> bool:
        """Renew for every queue in one round trip; True if the server failed.

        The queue's own loops say so in the log: they fail at the same time.
        """
        failed = False
        renewals = [holder.renew(link) for holder in list(self.holders)]
        for result in await asyncio.gather(*renewals, return_exceptions=True):
            if isinstance(result, ServerError):
                failed = True
            elif isinstance(result, BaseException):
                raise result
        return failed

    def _interval(self) -> float:
        return min([h.lease for h in list(self.holders)], default=0.0) / RENEWALS
