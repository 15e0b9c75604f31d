"""Notice that the event loop stands still, and say which handler holds it.

Seen from the lease thread, while it happens: afterwards the loop could say how long it
was held, and not by whom.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from flowd.model.event import EventBus

__all__ = ["LoopMonitor", "thread_frames"]

_PULSE: Final = 0.25
_LAG: Final = 1.0

_STOPPED: Final = _LAG - _PULSE
"""Seconds between two checks after which the process itself may have stood still: together
with the age of the last pulse they would look like a lag."""

# Documented, in spite of its name.
thread_frames: Final[Callable[[], dict[int, FrameType]]] = (
    sys._current_frames  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
)
"""The frame that each thread runs now, by the thread's number."""


class LoopMonitor:
    """Watches the running event loop from another thread.

    Args:
        describe: what a task is doing, for the log; None if it runs no handler.
    """

    def __init__(
        self,
        describe: Callable[[asyncio.Task[object] | None], str | None],
        events: EventBus,
    ) -> None:
        self._describe = describe
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pulse: asyncio.TimerHandle | None = None
        self._looked = 0.0
        self._said = False
        self.seen = 0.0
        """When the loop last ran (`time.monotonic`)."""

    def start(self) -> None:
        """Note, four times a second, that the loop runs."""
        self.seen = time.monotonic()
        self._said = False
        self._pulse = self._loop.call_later(_PULSE, self.start)

    def stop(self) -> None:
        """Note it no longer."""
        if self._pulse is not None:
            self._pulse.cancel()

    def check(self) -> None:
        """Log, once, that the loop has stood still for a second; from the thread."""
        now = time.monotonic()
        looked, self._looked = self._looked, now
        if now - looked > _STOPPED:
            return  # this thread stood still as well
        lag = now - self.seen
        if lag < _LAG or self._said:
            return
        self._said = True
        handler = self._describe(asyncio.current_task(self._loop))
        frame = thread_frames().get(self._thread)
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"
        self._events.emit(
            logging.WARNING,
            "loop_lag",
            f"the event loop has stood still for {lag:.1f} s:"
            f" {handler or 'something that is no handler'} keeps it, at {place};"
            " a plain def would run in a thread",
            lag=lag,
            handler=handler,
            place=place,
        )
