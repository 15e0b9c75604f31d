"""A graceful shutdown: when a queue is to end, and how long its handlers may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Final

from flowd.errors.option import wait
from flowd.worker.in_flight import InFlight

__all__ = ["Shutdown", "within"]

_CANCELLING: Final = 1.0


class Shutdown:
    """The shutdown of one queue, from the request to the last handler's end."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self._until: float | None = None
        self._hurry = asyncio.Event()

    def request(self, grace: float | None) -> None:
        """Begin it; a shorter `grace` than before takes effect at once.

        Args:
            grace: seconds for running handlers; None: no limit.

        Raises:
            OptionError: `grace` is no time in seconds.
        """
        if grace is not None:
            until = time.monotonic() + wait("grace", grace)
            if self._until is None or until < self._until:
                self._until = until
        self._hurry.set()
        self.requested.set()

    async def drained(self, in_flight: InFlight) -> None:
        """Return when no handler runs, or when the grace is over."""
        idle = asyncio.ensure_future(in_flight.idle())
        while not idle.done():
            self._hurry.clear()
            left = None
            if self._until is not None:
                left = self._until - time.monotonic()
                if left <= 0:
                    break
            hurry = asyncio.ensure_future(self._hurry.wait())
            await asyncio.wait(
                [idle, hurry], timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            hurry.cancel()
        idle.cancel()

    async def cancelled(self, in_flight: InFlight) -> None:
        """Return when the handlers that were cancelled have ended, or after a second."""
        await within(_CANCELLING, in_flight.idle())


async def within(
    seconds: float,
    done: Awaitable[None],
    unless: asyncio.Task[None] | None = None,
) -> None:
    """Return when it is done, when `unless` is, or after so many seconds."""
    waiting = asyncio.ensure_future(done)
    tasks = [waiting] if unless is None else [waiting, unless]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
