"""What the workers of one event loop share towards one server; producers never need it."""

from __future__ import annotations

import weakref
from typing import Final

from flowd.broker.session import Session
from flowd.worker.lease import LeaseKeeper
from flowd.worker.quarantine import Solo

__all__ = ["SharedByWorkers"]


class SharedByWorkers:
    """One thread that renews leases, and one quarantine."""

    def __init__(self, session: Session) -> None:
        self.leases = LeaseKeeper(session.address, session.witnesses, session.outage)
        self.solo = Solo()

    @classmethod
    def of(cls, session: Session) -> SharedByWorkers:
        """The one that belongs to a session, made for its first worker."""
        shared = _shared.get(session)
        if shared is None:
            shared = _shared[session] = cls(session)
        return shared


_shared: Final[weakref.WeakKeyDictionary[Session, SharedByWorkers]] = (
    weakref.WeakKeyDictionary()
)
