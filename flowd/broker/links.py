"""Which links an address has open, and where they lead.

A server that was replaced keeps its links and may go on to answer, but what it answers then is
lost. So who learns of it drops them.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import TypeAlias

from flowd.broker.protocol import RedisProtocol

__all__ = ["Links", "Place", "place_shown"]

Place: TypeAlias = tuple[str, int]
"""Host and port of a server."""


def place_shown(place: Place) -> str:
    """As a URL has it."""
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Links:
    """The open links of one address, of all loops and threads that use it."""

    def __init__(self) -> None:
        self._places: weakref.WeakKeyDictionary[RedisProtocol, Place] = (
            weakref.WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def note(self, protocol: asyncio.BaseProtocol, place: Place) -> None:
        """A protocol is connected to a server."""
        if isinstance(protocol, RedisProtocol):
            with self._lock:
                self._places[protocol] = place

    def drop(self, reason: Callable[[Place], str | None]) -> None:
        """Drop links by where they lead, from any thread.

        Args:
            reason: why links to a server are dropped; None: they are not.
        """
        with self._lock:
            links = list(self._places.items())
        for protocol, place in links:
            if (why := reason(place)) is not None:
                protocol.close_soon(why)
