"""End a process that has run queues, even if threads still run, or tasks do not end."""

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
from collections.abc import Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from flowd.log import log
from flowd.model.text import count_of
from flowd.worker.signals import NUMBERS, Stoppable
from flowd.worker.stacks import place_of

__all__ = ["Leaving", "leave", "run_loop", "stop_on_hang_up"]

_TASKS: Final = 2.0
_GENERATORS: Final = 0.5
_THREADS: Final = 2.0
_HOOKS: Final = 3.0
_POLL: Final = 0.05
_NAMED: Final = 5

_kept: Final[list[asyncio.Task[object]]] = []
"""Tasks that do not end. One that is destroyed runs on in its handler, which may then never
wait again: they are kept until the process is gone."""


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


def stop_on_hang_up() -> None:
    """Take SIGHUP for SIGTERM; under nohup, which has it ignored, it stays without effect.

    It comes when a terminal is closed, and from `systemctl reload` where a unit sends it to a
    process that has no workers to replace. Python's default ends the process at once.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hung_up)


def _hung_up(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def run_loop(main: Coroutine[object, object, None]) -> None:
    """Run it in a loop of its own, and end the loop, as `asyncio.run` does.

    That waits until every task has ended, and a task may swallow its cancellation. Here the
    tasks that are left have two seconds.
    """
    runner = asyncio.Runner()
    try:
        runner.run(main)
    finally:
        loop = runner.get_loop()
        if left := loop.run_until_complete(_cancel_tasks()):
            _close_without(left, loop)
        else:
            runner.close()


async def _cancel_tasks() -> set[asyncio.Task[object]]:
    """Cancel every task; returns those that have not ended in time."""
    until = time.monotonic() + _TASKS
    own = asyncio.current_task()
    while left := {each for each in asyncio.all_tasks() if each is not own}:
        if (wait := until - time.monotonic()) <= 0:
            return left
        for each in left:
            each.cancel()
        await asyncio.wait(left, timeout=wait)
    return set()


def _close_without(
    left: Collection[asyncio.Task[object]], loop: asyncio.AbstractEventLoop
) -> None:
    """Close a loop in which tasks are left."""
    log(
        logging.WARNING,
        "the process ends without %s (%s): cancelled, and not ended",
        count_of(len(left), "task"),
        ", ".join(sorted(map(place_of, left))[:_NAMED]),
    )
    _kept.extend(left)
    closing = loop.create_task(loop.shutdown_asyncgens())
    loop.run_until_complete(asyncio.wait([closing], timeout=_GENERATORS))
    loop.close()


def leave(code: int) -> None:
    """End the process with this code in a few seconds, if Python does not.

    Threads have 2 s, and what is to be done at exit (flushing logs, sending what metrics
    and traces have gathered) 3 s more.
    """
    # Both now: none can be started any more once Python has begun to end.
    for what in (_leave_hooks,) if _kept else (_leave_threads, _leave_hooks):
        name = f"flowd{what.__name__.replace('_', '-')}"
        threading.Thread(target=what, args=(code,), name=name, daemon=True).start()
    if _kept:  # Python's own end would destroy them
        _leave_threads(code)


def _leave_threads(code: int) -> None:
    """Do what Python does at exit, which waits for threads; it ends this one if it does."""
    deadline = time.monotonic() + _THREADS
    while time.monotonic() < deadline:
        time.sleep(_POLL)
        if not _left():
            if not _kept:
                return
            break
    if left := _left():
        log(
            logging.WARNING,
            "the process ends without %s (%s): a thread that still runs cannot be cancelled",
            count_of(len(left), "thread"),
            ", ".join(left[:_NAMED]),
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
