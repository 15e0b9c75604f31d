"""Deliveries whose handlers still run when their worker ends.

Until the process ends a handler may still be at work, so no other worker may start its job
before the lease is over. But the worker was stopped, and did not die of the job: the takeover
that follows is to count no crash.
"""

from __future__ import annotations

import time
from contextlib import suppress

from flowd.broker.stream import Stream
from flowd.errors import ServerError
from flowd.model.delivery import Delivery

__all__ = ["LeftRunning"]


class LeftRunning:
    """What one queue leaves to its leases at its end.

    Args:
        stream: of the queue.
        consumer: which holds it.
    """

    def __init__(self, stream: Stream, consumer: str) -> None:
        self._stream = stream
        self._consumer = consumer
        self._uncounted: list[Delivery] = []

    def add(self, delivery: Delivery) -> None:
        """It is held no longer, and its handler runs on."""
        # A handler that ignores its timeout would be as stuck without a shutdown.
        if delivery.deadline is None or time.monotonic() < delivery.deadline:
            self._uncounted.append(delivery)

    async def leave(self) -> None:
        """Take these deliveries off their counts, and off the consumer, which can be forgotten.

        If the server cannot be asked, they count as crashes.
        """
        held = [(d.entry_id, d.count, d.count - 1) for d in self._uncounted]
        with suppress(ServerError):
            await self._stream.abandon(self._consumer, held)
