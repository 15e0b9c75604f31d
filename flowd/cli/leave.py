"""The end of a process that has run queues: it comes, whatever threads still do."""

from __future__ import annotations

import asyncio
import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from flowd.signals import NUMBERS, Stoppable

__all__ = ["Leaving", "leave"]

_THREADS: Final = 2.0
_HOOKS: Final = 3.0

_log: Final = logging.getLogger("flowd")


class Leaving:
    """What runs in the process, with a loop that waits for no thread at its end.

    Python waits for every thread, and no thread can be cancelled: one `to_thread` that
    hangs would keep a worker that has ended until it is killed.
    """

    def __init__(self, running: Stoppable) -> None:
        self._running = running

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the shutdown."""
        self._running.stop(grace)

    async def wait(self) -> None:
        """Return when it has ended; signals do nothing any more, as the end is near."""
        loop = asyncio.get_running_loop()
        executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(executor)
        try:
            await self._running.wait()
        finally:
            for number in NUMBERS:
                signal.signal(number, signal.SIG_IGN)
            executor.shutdown(wait=False, cancel_futures=True)
            loop.set_default_executor(ThreadPoolExecutor(1))


def leave(code: int) -> None:
    """End the process with this code in a few seconds, if Python does not.

    Threads have 2 s, and what is to be done at exit (flushing logs, sending what metrics
    and traces have gathered) 3 s more.
    """
    threading.Thread(target=_end, args=(code,), name="flowd-leave", daemon=True).start()


def _end(code: int) -> None:
    deadline = time.monotonic() + _THREADS
    while time.monotonic() < deadline and _left():
        time.sleep(0.05)
    if left := _left():
        _log.warning(
            "the process ends without %d threads that still run (%s): a thread cannot be"
            " cancelled",
            len(left),
            ", ".join(left[:5]),
        )
        hooks = threading.Thread(target=_hooks, name="flowd-exit", daemon=True)
        hooks.start()
        hooks.join(_HOOKS)
    else:
        time.sleep(_HOOKS)  # Python does the same, and then this thread is no more
    with suppress(Exception):
        sys.stdout.flush()
    with suppress(Exception):
        sys.stderr.flush()
    os._exit(code)


def _hooks() -> None:
    """What Python does once its threads have ended."""
    for child in multiprocessing.active_children():
        child.terminate()  # as its pool's thread does not end it any more
    # There is no public way.
    atexit._run_exitfuncs()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _left() -> list[str]:
    """The threads that Python would wait for."""
    return [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
