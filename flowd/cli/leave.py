"""End a process that has run queues, even if threads still run."""

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

from flowd.log import log
from flowd.model.text import count_of
from flowd.worker.signals import NUMBERS, Stoppable

__all__ = ["Leaving", "leave"]

_THREADS: Final = 2.0
_HOOKS: Final = 3.0
_POLL: Final = 0.05


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
        """Return when it has ended; from then on signals have no effect."""
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
    # Both now: none can be started any more once Python has begun to end.
    for what in (_leave_threads, _leave_hooks):
        name = f"flowd{what.__name__.replace('_', '-')}"
        threading.Thread(target=what, args=(code,), name=name, daemon=True).start()


def _leave_threads(code: int) -> None:
    """Do what Python does at exit, which waits for threads; it ends this one if it does."""
    deadline = time.monotonic() + _THREADS
    while time.monotonic() < deadline:
        time.sleep(_POLL)
        if not _left():
            return
    left = _left()
    log(
        logging.WARNING,
        "the process ends without %s (%s): a thread that still runs cannot be cancelled",
        count_of(len(left), "thread"),
        ", ".join(left[:5]),
    )
    try:
        for child in multiprocessing.active_children():
            child.terminate()  # as its pool's thread does not end it any more
        # There is no public way.
        atexit._run_exitfuncs()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    finally:
        _end(code)


def _leave_hooks(code: int) -> None:
    """End a process whose work at exit does not end."""
    time.sleep(_THREADS + _HOOKS)
    _end(code)


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _left() -> list[str]:
    """The threads that Python would wait for."""
    return [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
