"""What one queue of this process holds: the only place that changes it.

A delivery is held from the moment it is admitted until the server has settled it, or its
lease is lost. From the start of its handler to the end it takes one of the queue's slots.
The two are independent: a handler that has ended frees its slot before the delivery is
settled, and one whose lease was lost keeps its slot until it ends.

The event loop changes it. Other threads only read: a renewal and its parts `held`, `running`
and `has_claimed`, the log of stacks `running`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Final

from flowd.model.delivery import Delivery

__all__ = ["InFlight"]


class InFlight:
    """The deliveries of one queue: which are held, and which handlers run.

    Args:
        concurrency: how many handlers may run at once.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._held: dict[bytes, Delivery] = {}
        self._running: dict[Delivery, None] = {}
        self._refused: set[Delivery] = set()
        # Views, not properties: they are asked for each job.
        self.held: Final[Mapping[bytes, Delivery]] = self._held
        """By entry id: what runs, waits for its turn, or has ended and is not settled."""

        self.running: Final[Collection[Delivery]] = self._running.keys()
        """What has a slot, in the order in which the handlers were started."""

        self.refused: Final[Collection[Delivery]] = self._refused
        """What has ended and is held: the server refused to settle it, and is asked again."""

        self.has_claimed = False
        """Whether one of them may ever have been taken over from another consumer."""

        self._freed = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def free_slots(self) -> int:
        """How many more handlers may start."""
        return self._concurrency - len(self._running)

    @property
    def takeovers(self) -> int:
        """How many of those that run were taken over from another consumer."""
        return sum(delivery.count > 1 for delivery in self._running)

    def holds(self, delivery: Delivery) -> bool:
        """Whether this very delivery is held; its entry may be held as a later one."""
        return self._held.get(delivery.entry_id) is delivery

    def add(self, delivery: Delivery) -> None:
        """Hold a delivery: from now on its lease is renewed."""
        self._held[delivery.entry_id] = delivery

    def mark_claimed(self) -> None:
        """What is added from now on may have been another consumer's."""
        self.has_claimed = True

    def handler_started(self, delivery: Delivery) -> None:
        """Take a slot for it."""
        if not self._running:
            self._idle.clear()
        self._running[delivery] = None

    def handler_done(self, delivery: Delivery) -> None:
        """Free its slot; its lease is kept until it is removed."""
        del self._running[delivery]
        if not self._running:
            self._idle.set()
        self._freed.set()

    def remove(self, delivery: Delivery) -> None:
        """Hold it no longer; does nothing if it is not held any more."""
        if self._refused:
            self._refused.discard(delivery)
        if self._held.get(delivery.entry_id) is delivery:
            del self._held[delivery.entry_id]

    def mark_refused(self, delivery: Delivery) -> None:
        """The server refused to settle it: it stays held for the next try, and no suspect waits for it."""
        self._refused.add(delivery)

    def slot_may_be_free(self) -> None:
        """Let `wait_for_slot` return, for a reason that is not a handler's end."""
        self._freed.set()

    async def wait_for_slot(self, until: float) -> None:
        """Return after the next handler's end, or the next `slot_may_be_free`.

        Args:
            until: return then at the latest (`time.monotonic`).
        """
        if self._alarm is None:
            # One that rings too early is harmless, so it is never set anew.
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(until - time.monotonic(), self._ring)
        self._freed.clear()
        await self._freed.wait()

    def _ring(self) -> None:
        self._alarm = None
        self._freed.set()

    def close(self) -> None:
        """Ring no more."""
        if self._alarm is not None:
            self._alarm.cancel()

    async def idle(self) -> None:
        """Return when no handler runs."""
        await self._idle.wait()
