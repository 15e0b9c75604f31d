"""What is not core in a running queue, each put on the seams that it hooks into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from flowd.broker.cron import schedules_of
from flowd.broker.extension import MaintainExtension, RenewExtension, SettleExtension
from flowd.broker.stream import Stream
from flowd.model.event import EventBus
from flowd.model.job import Job
from flowd.worker.cancellation import Cancellations
from flowd.worker.cron import CronClock
from flowd.worker.event_feed import EventFeed
from flowd.worker.gate import gate_of
from flowd.worker.heartbeat import HeartbeatWriter
from flowd.worker.in_flight import InFlight
from flowd.worker.options import QueueOptions
from flowd.worker.progress import ProgressBoard
from flowd.worker.shutdown import Shutdown

__all__ = ["Capabilities"]

J = TypeVar("J", bound=Job)


class Capabilities:
    """The capabilities of one queue.

    Args:
        options: of the queue.
        stream: of the queue.
        consumer: the name under which this run takes entries.
        in_flight: what it holds.
        events: its event bus.
        shutdown: says whether it is being shut down.
    """

    def __init__(
        self,
        options: QueueOptions[J],
        stream: Stream,
        consumer: str,
        in_flight: InFlight,
        *,
        events: EventBus,
        shutdown: Shutdown,
    ) -> None:
        self.progress: Final = ProgressBoard(stream, consumer, in_flight, events)
        self.cancellations: Final = Cancellations(stream, in_flight)
        self.gate: Final = gate_of(stream, consumer, options.job_class, events)
        heartbeat = HeartbeatWriter(options, stream, in_flight, shutdown)
        feed = EventFeed(stream.connection, stream.keys.tail, consumer, events)
        schedules = schedules_of(options.job_class, options.policy)
        clock = CronClock(stream, schedules, in_flight, events)
        cron = (clock,) if schedules else ()
        others = (*self.gate.extensions, *cron)
        self.on_settle: Sequence[SettleExtension] = (
            self.progress,
            self.cancellations,
            *others,
        )
        self.on_maintain: Sequence[MaintainExtension] = (
            feed,
            heartbeat,
            self.cancellations,
            *others,
        )
        self.on_renew: Sequence[RenewExtension] = (
            self.progress,
            heartbeat,
            self.cancellations,
        )
        self._open = (self.progress, feed, self.cancellations, self.gate, *cron)

    def close(self) -> None:
        """Do nothing more."""
        for each in self._open:
            each.close()
