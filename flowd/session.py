"""What all queues and producers of one event loop share towards one server."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from typing import Final

from flowd.address import Address
from flowd.connection import Link
from flowd.durable import Prover
from flowd.event import Listener, Witnesses
from flowd.lease import LeaseKeeper
from flowd.outage import Outage
from flowd.solo import Solo

__all__ = ["Session"]


class Session:
    """One connection for commands, one lease thread, one suspect, one view of outages.

    Durable jobs have a second connection, once there is one.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.link = Link(address)
        self.prover = Prover(address)
        self.witnesses = Witnesses()
        """Of what happens to the whole process."""

        self.outage = Outage(str(address), self.witnesses)
        self.leases = LeaseKeeper(address, self.witnesses, self.outage)
        self.solo = Solo(self.leases.holders)
        self.users = 0
        """How many joined and did not leave yet."""

    @classmethod
    def join(cls, address: Address, listeners: Sequence[Listener] = ()) -> Session:
        """The running event loop's session with a server, opened by its first user.

        The listeners are told what happens to the whole process.
        """
        sessions = _sessions.setdefault(asyncio.get_running_loop(), {})
        session = sessions.setdefault(address, cls(address))
        session.users += 1
        session.witnesses.admit(listeners)
        return session

    async def leave(self, listeners: Sequence[Listener] = ()) -> None:
        """Be one user less, as one joined; the last one closes the connection."""
        self.witnesses.dismiss(listeners)
        self.users -= 1
        if self.users == 0:
            _sessions[asyncio.get_running_loop()].pop(self.address, None)
            await self.link.aclose()
            await self.prover.aclose()


_sessions: Final[
    weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Address, Session]]
] = weakref.WeakKeyDictionary()
