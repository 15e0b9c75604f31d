"""SIGTERM and SIGINT: the first begins a shutdown, the second ends it now.

A process has one handler for each, and others may want it: a web server around the
queues, a program that saves its state. So what was there before is called as well, at
once; only Python's own ways to die are not, as the shutdown is to come first. A forked child
gets what was there before: a signal for it must neither be lost nor reach its parent.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final, Protocol, TypeAlias

from flowd.errors.option import wait
from flowd.log import log

__all__ = ["NUMBERS", "Stoppable", "until_stopped"]

NUMBERS: Final = (signal.SIGTERM, signal.SIGINT)
"""The signals that begin a shutdown."""

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None


class Stoppable(Protocol):
    """Something that runs until it is stopped."""

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the shutdown."""
        ...

    async def wait(self) -> None:
        """Return when it has ended."""
        ...


async def until_stopped(
    running: Stoppable, grace: float | None, *, jobs: bool = True
) -> None:
    """Wait for the end of `running`, which a signal may bring about.

    A signal is for all that are waited for, whichever came first or ends first, and for
    the handler that was there before. What that handler raises is raised when the last of
    them has ended. Outside the main thread no signal can be received; then only the end is
    waited for. Without `jobs` it is one that runs none, and the log speaks of none.
    """
    if grace is not None:
        grace = wait("grace", grace)
    received = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal received
        received += 1
        name = number.name
        first = "finishing running jobs" if jobs else "stopping"
        again = "releasing running jobs now" if jobs else "stopping"
        what = first if received == 1 else again
        running.stop(grace if received == 1 else 0.0)
        extra = {"event": "signal", "signal": name}
        log(logging.INFO, "%s: %s", name, what, extra=extra)

    if threading.current_thread() is not threading.main_thread():
        await running.wait()
        return
    _here.add(on_signal)
    try:
        await running.wait()
    finally:
        raised = _here.remove(on_signal)
    if raised is not None:
        raise raised


class _Signals:
    """What this process does with the signals while anything is waited for."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[signal.Signals], None]] = []
        self._before: dict[signal.Signals, _Handler] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakeup: _Wakeup | None = None
        self._raised: BaseException | None = None
        self._masks = threading.local()

    def add(self, on_signal: Callable[[signal.Signals], None]) -> None:
        """Call it for each signal from now on, in the running loop."""
        if not self._callbacks:
            self._loop = asyncio.get_running_loop()
            self._wakeup = _Wakeup(self._loop)
            for number in NUMBERS:
                self._before[number] = signal.signal(number, self._received)
                signal.siginterrupt(number, False)  # as the loops do
        self._callbacks.append(on_signal)

    def remove(
        self, on_signal: Callable[[signal.Signals], None]
    ) -> BaseException | None:
        """Call it no more; returns, for the last one, what the former handlers raised."""
        self._callbacks.remove(on_signal)
        if self._callbacks:
            return None
        self._restore()
        if self._wakeup is not None:
            self._wakeup.close()
        raised, self._raised = self._raised, None
        self._loop = self._wakeup = None
        return raised

    def _forget(self) -> None:
        signal.set_wakeup_fd(-1)
        for number, before in self._before.items():
            self._before[number] = _without_loop(before)
        self._restore()
        if self._wakeup is not None:
            self._wakeup.abandon()
        self._callbacks.clear()
        self._loop = self._wakeup = self._raised = None

    def _received(self, number: int, frame: FrameType | None) -> None:
        before = self._before.get(signal.Signals(number))
        if self._loop is None:
            # A host has put this back after its own, which came later and stayed longer.
            signal.signal(number, before if before is not None else signal.SIG_DFL)
            signal.raise_signal(number)
            return
        with suppress(RuntimeError):  # the loop is closed: nothing is left to stop
            self._loop.call_soon_threadsafe(self._call_back, signal.Signals(number))
        if callable(before) and not _is_pythons(before):
            try:
                before(number, frame)
            except BaseException as error:  # SystemExit, as a rule
                self._raised = error

    def _call_back(self, number: signal.Signals) -> None:
        for on_signal in tuple(self._callbacks):
            on_signal(number)

    def _restore(self) -> None:
        for number, before in self._before.items():
            # What has been put in its place meanwhile is another's.
            if signal.getsignal(number) == self._received and before is not None:
                signal.signal(number, before)

    def before_fork(self) -> None:
        """Let no signal come to the child before it is the child's."""
        mask = (
            signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
            if self._callbacks
            else None
        )
        self._masks.former = mask

    def after_in_parent(self) -> None:
        """Let them come."""
        mask: set[int] | None = getattr(self._masks, "former", None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def after_in_child(self) -> None:
        """Forget the parent's loop, and what would wake it."""
        interrupts: list[int] = []
        if self._callbacks:
            self._forget()
            # A KeyboardInterrupt that is raised in here would be dropped.
            default = signal.default_int_handler
            interrupts = [n for n in NUMBERS if signal.getsignal(n) is default]
            for number in interrupts:
                signal.signal(number, signal.SIG_DFL)
        self.after_in_parent()
        for number in interrupts:
            signal.signal(number, signal.default_int_handler)


class _Wakeup:
    """Makes a signal end the loop's wait, if nothing else of the loop does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        mine = self._write.fileno()
        former = signal.set_wakeup_fd(mine, warn_on_full_buffer=False)
        if former != -1:
            signal.set_wakeup_fd(former, warn_on_full_buffer=False)
        loop.add_reader(self._read, self._drain)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while self._read.recv(4096):
                pass

    def close(self) -> None:
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, self._write.fileno()):
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        if not self._loop.is_closed():
            self._loop.remove_reader(self._read)
        self.abandon()

    def abandon(self) -> None:
        """Close this process's own ends; the loop is another's."""
        self._read.close()
        self._write.close()


def _is_pythons(handler: _Handler) -> bool:
    """Whether it is Python's own for Ctrl-C, or what `asyncio.run` puts in its place."""
    return handler is signal.default_int_handler or (
        isinstance(handler, functools.partial)
        and isinstance(getattr(handler.func, "__self__", None), asyncio.Runner)
    )


def _without_loop(handler: _Handler) -> _Handler:
    """What does the same in a process that has not the loop."""
    if _is_pythons(handler):
        return signal.default_int_handler
    owner = getattr(handler, "__self__", None)
    module = getattr(handler, "__module__", None)
    if isinstance(owner, asyncio.AbstractEventLoop) or module == "asyncio.unix_events":
        return signal.SIG_DFL  # a callback of the loop, which only the loop can call
    return handler


_here: Final = _Signals()
os.register_at_fork(
    before=_here.before_fork,
    after_in_parent=_here.after_in_parent,
    after_in_child=_here.after_in_child,
)
