"""SIGTERM and SIGINT: the first begins a shutdown, the second ends it now."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["Stoppable", "until_stopped"]

_log: Final = logging.getLogger("flowd")

_told: Final[list[Callable[[signal.Signals], None]]] = []
"""Whom a signal concerns: all that run in the main thread, which alone hears signals."""

_before: Final = {
    number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
}
"""What a signal did before the first of them came."""


class Stoppable(Protocol):
    """Something that runs until it is told to stop."""

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the shutdown."""
        ...

    async def wait(self) -> None:
        """Return when it has ended."""
        ...


async def until_stopped(running: Stoppable, grace: float | None) -> None:
    """Wait for the end of `running`, which a signal may bring about.

    A signal is for all that are waited for, whichever came first or ends first.
    Outside the main thread no signal can be received; then only the end is waited for.
    """
    received = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal received
        received += 1
        name = number.name
        what = "finishing running jobs" if received == 1 else "handing jobs back now"
        _log.info("%s: %s", name, what, extra={"event": "signal", "signal": name})
        running.stop(grace if received == 1 else 0.0)

    if threading.current_thread() is not threading.main_thread():
        await running.wait()
        return
    _listen(on_signal)
    try:
        await running.wait()
    finally:
        _listen_no_more(on_signal)


def _listen(on_signal: Callable[[signal.Signals], None]) -> None:
    if not _told:
        loop = asyncio.get_running_loop()
        for number in _before:
            _before[number] = signal.getsignal(number)
            loop.add_signal_handler(number, _tell, number)
    _told.append(on_signal)


def _tell(number: signal.Signals) -> None:
    for on_signal in _told:
        on_signal(number)


def _listen_no_more(on_signal: Callable[[signal.Signals], None]) -> None:
    _told.remove(on_signal)
    if not _told:
        loop = asyncio.get_running_loop()
        for number, handler in _before.items():
            loop.remove_signal_handler(number)
            # The loop leaves the default, and `asyncio.run` has one of its own.
            if handler is not None:
                signal.signal(number, handler)
