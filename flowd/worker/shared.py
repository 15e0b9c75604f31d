"""What the workers of one event loop share towards one server; producers never need it."""

from __future__ import annotations

import asyncio
import weakref
from typing import Final

from flowd.broker.session import Session
from flowd.worker.cancel_channel import CancelChannel
from flowd.worker.idle_reads import IdleReadsByGroup
from flowd.worker.lease import QueueLeases
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
        self._neighbours = _Neighbours.here()
        _all.add(self)

    def turns(self, concurrency: int) -> Turns:
        """What one queue may take of a turn of the event loop, if there are others."""
        neighbours = self._neighbours
        return Turns(neighbours.crowded, lambda: neighbours.queues > 1, concurrency)

    def add(self, leases: QueueLeases) -> None:
        """A queue runs from now on."""
        self.leases.add(leases)
        self._neighbours.queues += 1

    async def remove(self, leases: QueueLeases) -> None:
        """A queue has ended."""
        self._neighbours.queues -= 1
        await self.leases.remove(leases)

    @classmethod
    def of(cls, session: Session) -> WorkerSession:
        """The one that belongs to a session, made for its first worker."""
        shared = session.kept.get(cls)
        if not isinstance(shared, cls):
            shared = session.kept[cls] = cls(session)
        return shared


class _Neighbours:
    """The queues that run on one event loop, whatever their servers are."""

    def __init__(self) -> None:
        self.queues = 0
        """How many there are."""

        self.crowded = weakref.WeakSet[Turns]()

    @classmethod
    def here(cls) -> _Neighbours:
        """Those of the loop that runs."""
        return _neighbours.setdefault(asyncio.get_running_loop(), cls())


_neighbours: Final[
    weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Neighbours]
] = weakref.WeakKeyDictionary()
_all: Final = weakref.WeakSet[WorkerSession]()


def running_queues() -> list[RunningQueue]:
    """Every queue that runs in this process; from any thread."""
    return [each for shared in list(_all) for each in shared.leases.queues]
