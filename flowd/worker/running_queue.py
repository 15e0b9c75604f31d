"""What the parts that a process shares know of each queue that runs in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flowd.broker.extension import RenewExtension
from flowd.broker.stream import Stream
from flowd.model.delivery import Delivery
from flowd.worker.cancellation import Cancellations
from flowd.worker.in_flight import InFlight

__all__ = ["RunningQueue"]


class RunningQueue(Protocol):
    """A queue whose leases are renewed, and that makes room for suspects of others."""

    @property
    def stream(self) -> Stream:
        """Where its jobs are."""
        ...

    @property
    def consumer(self) -> str:
        """The name under which this run takes entries."""
        ...

    @property
    def lease(self) -> float:
        """Seconds without renewal after which a delivery is taken over."""
        ...

    @property
    def handler(self) -> str:
        """The name of its handler, for the log."""
        ...

    @property
    def in_flight(self) -> InFlight:
        """What it holds."""
        ...

    @property
    def on_renew(self) -> Sequence[RenewExtension]:
        """What else is done when its leases are renewed."""
        ...

    @property
    def cancellations(self) -> Cancellations:
        """The marks of jobs that are to be cancelled."""
        ...

    def start(self, delivery: Delivery) -> None:
        """Run a delivery that is held, and that waited for its turn."""
        ...

    def pause(self) -> None:
        """Take no entries until `resume`: a suspect of this process is to run alone."""
        ...

    def resume(self) -> None:
        """Take entries again."""
        ...

    def lost(self, deliveries: Sequence[Delivery]) -> None:
        """Their leases belong to other workers now."""
        ...

    def abandoned(self, deliveries: Sequence[Delivery]) -> None:
        """Their handlers do not end, and their leases run out."""
        ...
