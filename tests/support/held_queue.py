"""A queue of this process that holds jobs, and neither reads nor maintains anything."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flowd.broker.extension import RenewExtension
from flowd.broker.stream import Stream
from flowd.model.delivery import Delivery
from flowd.worker.cancellation import Cancellations
from flowd.worker.in_flight import InFlight

__all__ = ["HeldQueue"]


class HeldQueue:
    """What a lease thread and the cancellation see of a running queue.

    Args:
        stream: of the queue.
        lease: seconds.
    """

    consumer, handler = "me", "handler"

    def __init__(self, stream: Stream, lease: float) -> None:
        self.stream, self.lease = stream, lease
        self.in_flight = InFlight(1)
        self.cancellations = Cancellations(stream, self.in_flight)
        self.on_renew: Sequence[RenewExtension] = (self.cancellations,)

    async def take(self, count: int) -> list[Delivery]:
        """Hold so many jobs of the stream."""
        entries = await self.stream.read(self.consumer, count)
        taken = [Delivery(entry, time.monotonic()) for entry in entries]
        for delivery in taken:
            self.in_flight.add(delivery)
        return taken

    def start(self, delivery: Delivery) -> None:
        """Do nothing, as all that follow."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def lost(self, deliveries: Sequence[Delivery]) -> None: ...
    def abandoned(self, deliveries: Sequence[Delivery]) -> None: ...
