"""Renew the leases of what one queue holds, and find out which it has lost.

The lease thread renews (`lease_thread`). While it or its connection fails, the event loop
renews over the connection of the commands: that is less, and better than nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from flowd.broker.connection import Connection
from flowd.broker.extension import parts_of
from flowd.errors import GroupMissing
from flowd.model.delivery import Delivery
from flowd.worker.running_queue import RunningQueue

__all__ = ["RENEWALS_PER_LEASE", "QueueLeases"]

RENEWALS_PER_LEASE: Final = 4
"""Renewals per lease: one that fails still leaves time for two more."""


class QueueLeases:
    """The leases of what one queue has in flight."""

    def __init__(self, queue: RunningQueue) -> None:
        self.queue = queue
        self.failing = False
        """Whether the last renewal failed; set by the lease thread."""

        self._loop = asyncio.get_running_loop()
        self._standby: asyncio.Task[None] | None = None
        self._standby_due = 0.0

    def stand_in(self, connection: Connection) -> None:
        """Renew in the event loop, over its own connection, while the thread cannot.

        The thread reports each failure; a quarter of a lease apart is often enough.
        """
        now = time.monotonic()
        if self._standby is None and now >= self._standby_due:
            self._standby_due = now + self.queue.lease / RENEWALS_PER_LEASE
            self._standby = self._loop.create_task(
                self._stand_in(connection), name="flowd-lease-standby"
            )

    async def _stand_in(self, connection: Connection) -> None:
        try:
            with suppress(Exception):  # the thread reports what fails, and tries again
                await self.renew(connection, time.monotonic())
        finally:
            self._standby = None

    async def aclose(self) -> None:
        """Renew no more in the event loop."""
        if self._standby is not None:
            self._standby.cancel()
            await asyncio.wait([self._standby])

    async def renew(self, connection: Connection, loop_seen: float) -> None:
        """Renew what is held; in the lease thread, or in the event loop.

        Args:
            connection: of the thread or loop that this runs in.
            loop_seen: when the queue's event loop last ran.

        Raises:
            ServerError: as `Connection.call`.
        """
        now = time.monotonic()
        hung = now - loop_seen > self.queue.lease
        deliveries: list[Delivery] = []
        stuck: list[Delivery] = []
        for delivery in list(self.queue.in_flight.held.values()):
            if delivery.stuck and delivery.stuck_at is not None:
                # Cancelled once more, it may end yet: then it is settled.
                if now > delivery.stuck_at + self.queue.lease / RENEWALS_PER_LEASE:
                    stuck.append(delivery)
            elif not (hung and self._overdue(delivery, now)):
                deliveries.append(delivery)
        if stuck:
            await self._abandon(connection, stuck)
        if not deliveries:
            if self.failing:
                # Whether it would work again.
                await self.queue.stream.over(connection).connection.call("TIME")
            return
        try:
            lost = await self.queue.stream.over(connection).renew(
                self.queue.consumer,
                [(d.entry_id, d.count) for d in deliveries],
                parts_of(each.renew_part() for each in self.queue.on_renew),
            )
        except GroupMissing:
            lost = [d.entry_id for d in deliveries]
        for note in lost:
            if note[:1] == b"!":
                noticed = self.queue.cancellations.noticed
                self._loop.call_soon_threadsafe(noticed, int(note[1:]))
        ids = set(lost)
        gone = [each for each in deliveries if each.entry_id in ids]
        for delivery in deliveries:
            if delivery.entry_id not in ids:
                delivery.held_since = now
        if gone:
            self._loop.call_soon_threadsafe(self.queue.lost, gone)

    async def _abandon(self, connection: Connection, stuck: Sequence[Delivery]) -> None:
        """Leave deliveries whose handlers do not end to other workers."""
        with suppress(GroupMissing):
            await self.queue.stream.over(connection).abandon(
                self.queue.consumer, [(d.entry_id, d.count, d.count) for d in stuck]
            )
        self._loop.call_soon_threadsafe(self.queue.abandoned, stuck)

    def _overdue(self, delivery: Delivery, now: float) -> bool:
        """A hung process must not hold a job that has a time limit without end."""
        return (
            delivery.deadline is not None and now > delivery.deadline + self.queue.lease
        )
