"""The promotion of a replica by sentinels: learn of one that has begun, and wait for its end.

For a second after a promotion the sentinels still name the old primary, which still says that
it is one; what that one stores meanwhile is lost. So from the moment when a sentinel begins a
promotion, a process connects to the replica, as soon as that is a primary.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from flowd.broker import replies
from flowd.broker.asking import SharedQuestion, ask_server
from flowd.broker.connection import Connection
from flowd.broker.links import Place
from flowd.broker.url import Address
from flowd.errors import (
    AccessDenied,
    NotReady,
    OutcomeUnknown,
    ServerError,
    Unreachable,
)

__all__ = ["Promotion", "promotions_of"]

_ENDED_WITHIN: Final = 10.0
"""Seconds; a sentinel may end before it says how its failover ended."""

_AWAITED: Final = 1.5
"""Seconds that a connect waits for a promotion; who wants it may give up after 2."""

_BETWEEN_LOOKS: Final = 0.02


class Promotion:
    """Which replica of one primary is being promoted, if one is.

    Args:
        server_at: the address of the server at a place.
    """

    def __init__(self, server_at: Callable[[Place], Address]) -> None:
        self._server_at = server_at
        self._end = SharedQuestion(self._await_end)
        self._begun: tuple[Place, float] | None = None
        """The replica, and until when it is waited for."""

    @property
    def replica(self) -> Place | None:
        """The replica that is being promoted; None: the sentinels name the primary."""
        if self._begun is None:
            return None
        place, until = self._begun
        return place if time.monotonic() < until else None

    def begin(self, replica: Place) -> None:
        """A sentinel promotes this replica from now on."""
        self._begun = replica, time.monotonic() + _ENDED_WITHIN

    def end(self) -> None:
        """The sentinels name the primary again: it was switched, or the promotion failed."""
        self._begun = None

    async def ended(self) -> None:
        """Return once the replica is a primary, or after 1.5 s; at once if none is promoted.

        To connect again and again would take its pauses beyond the promotion.
        """
        if self.replica is not None:
            await self._end.answer()

    async def _await_end(self) -> None:
        if (replica := self.replica) is None:
            return
        until = time.monotonic() + _AWAITED
        address = self._server_at(replica)
        async with aclosing(Connection(address, name="flowd-sentinel")) as connection:
            while self.replica == replica and time.monotonic() < until:
                try:
                    if await connection.call("ROLE", read=replies.role) == "master":
                        return
                except AccessDenied:
                    return  # the first write that is refused says it
                except (NotReady, OutcomeUnknown, Unreachable):
                    pass
                await asyncio.sleep(_BETWEEN_LOOKS)


async def promotions_of(sentinel: Address, name: str) -> list[tuple[Place, Place]]:
    """The promotions that one sentinel does; the others do not know of them.

    Args:
        sentinel: where it is.
        name: of the primary.

    Returns:
        For each the replica, and the primary that it replaces; none also if the sentinel is
        away, does not know the primary, or may not answer.
    """
    try:
        replicas = await ask_server(
            sentinel,
            "flowd-sentinel",
            *("SENTINEL", "REPLICAS", name),
            read=replies.items(_replica),
        )
    except (ServerError, OSError):
        return []
    return [
        (replica, primary)
        for replica, primary, flags in replicas
        if "promoted" in flags
    ]


def _replica(reply: object) -> tuple[Place, Place, list[str]]:
    """Where a replica is, where its primary is, and its flags."""
    found = replies.named(reply)
    names = (b"ip", b"port", b"master-host", b"master-port", b"flags")
    host, port, at, of, flags = (replies.text(found.get(name)) for name in names)
    return (host, int(port)), (at, int(of)), flags.split(",")
