"""What the workers of one event loop share towards one server; producers never need it."""

from __future__ import annotations

import weakref
from typing import Final

from flowd.broker.session import Session
from flowd.worker.cancel_channel import CancelChannel
from flowd.worker.idle_reads import IdleReadsByGroup
from flowd.worker.lease_thread import LeaseRenewer
from flowd.worker.quarantine import Quarantine
from flowd.worker.running_queue import RunningQueue
from flowd.worker.turns import Turns

__all__ = ["WorkerSession", "running_queues"]


class WorkerSession:
    """One thread that renews leases, one quarantine, one channel, and one read of idle queues."""

    def __init__(self, session: Session) -> None:
        self.leases = LeaseRenewer(
            session.address, session.connection, session.events, session.outage
        )
        self.quarantine = Quarantine()
        self.cancels = CancelChannel(session.address)
        self.idle_reads = IdleReadsByGroup(session)
        self._crowded: set[Turns] = set()

    def turns(self, concurrency: int) -> Turns:
        """What one queue may take of a turn of the event loop, if there are others."""
        return Turns(self._crowded, lambda: self.leases.count > 1, concurrency)

    @classmethod
    def of(cls, session: Session) -> WorkerSession:
        """The one that belongs to a session, made for its first worker."""
        shared = _shared.get(session)
        if shared is None:
            shared = _shared[session] = cls(session)
        return shared


_shared: Final[weakref.WeakKeyDictionary[Session, WorkerSession]] = (
    weakref.WeakKeyDictionary()
)


def running_queues() -> list[RunningQueue]:
    """Every queue that runs in this process; from any thread."""
    return [each for shared in list(_shared.values()) for each in shared.leases.queues]
