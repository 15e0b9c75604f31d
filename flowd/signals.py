"""SIGTERM and SIGINT: the first begins a shutdown, the second ends it now."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import Final, Protocol

__all__ = ["Stoppable", "until_stopped"]

_log: Final = logging.getLogger("flowd")


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

    Outside the main thread no signal can be received; then only the end is waited for.
    """
    received = 0

    def on_signal(number: int) -> None:
        nonlocal received
        received += 1
        name = signal.Signals(number).name
        what = "finishing running jobs" if received == 1 else "handing jobs back now"
        _log.info("%s: %s", name, what, extra={"event": "signal", "signal": name})
        running.stop(grace if received == 1 else 0.0)

    loop = asyncio.get_running_loop()
    numbers: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGTERM, signal.SIGINT]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        await running.wait()
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            # The loop leaves the default, and `asyncio.run` has one of its own.
            if handler is not None:
                signal.signal(number, handler)
