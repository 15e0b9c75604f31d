"""The parent: keeps N children running, replaces them one by one, ends with them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from flowd.cli.processes.child import Child, Command
from flowd.log import log
from flowd.worker.signals import NUMBERS

__all__ = ["Slot", "Supervisor"]

_REFUSALS: Final = (2, 3)
"""Exit codes of what goes wrong each time: wrong usage, Redis refuses."""

_FIRST_PAUSE: Final = 0.5
_LAST_PAUSE: Final = 30.0
"""Seconds before a restart, at most."""

_STABLE: Final = 60.0
"""Seconds after which the pause before a restart is the first one again."""

_YOUNG: Final = 10.0
"""Seconds; one that is too large so soon would be replaced again and again."""

_PATIENCE: Final = 10.0
"""Seconds after its grace period in which a child has to end."""


@dataclass(slots=True)
class Slot:
    """A place for one child, which always has one, or soon will."""

    number: int
    child: Child | None = None
    coming: Child | None = None
    """Its replacement, as long as that is not ready."""

    pause: float = 0.0
    """Seconds before the last restart; 0 before the first."""

    rest: float = 0.0
    """Likewise, of the replacement of one that was too large at once."""

    not_before: float = 0.0
    """When a limit may start a replacement again, by the monotonic clock."""


class Supervisor:
    """Runs children until a signal, the end of a burst, or a fault that will not pass.

    Args:
        command: starts a child.
        count: how many run.
        grace: seconds that running jobs have after a signal, and in a replaced child.
        burst: whether children end by themselves, when no job is left.
    """

    def __init__(
        self, command: Command, count: int, *, grace: float, burst: bool
    ) -> None:
        self.slots: Sequence[Slot] = [Slot(each) for each in range(1, count + 1)]
        self.live: set[Child] = set()
        """All that run, also those that are replaced."""
        self.on_end: Callable[[Child], None] | None = None
        """Is called with each that has ended."""
        self._command = command
        self._grace = grace
        self._burst = burst
        self._generation = 0
        self._refused = 0
        self._stops = 0
        self._code = 0
        self._changes = asyncio.Event()
        self._first = asyncio.Event()
        self._awake = asyncio.Event()
        self._terminal = _has_terminal()

    async def run(self, open_pages: AbstractAsyncContextManager[object]) -> int:
        """Run to the end; returns the exit code.

        Args:
            open_pages: is entered before the first child starts.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in NUMBERS:
            loop.add_signal_handler(number, self.stop, number.name)
        loop.add_signal_handler(signal.SIGUSR1, self._ask_for_stacks)
        # With nohup, a closed terminal means nothing.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        async with open_pages:
            replacing = asyncio.create_task(self._replace_outdated())
            keeping = [asyncio.create_task(self._keep(each)) for each in self.slots]
            try:
                await asyncio.gather(*keeping)
            finally:
                replacing.cancel()
            while self.live:
                await asyncio.wait([each.ended for each in self.live])
        return self._code

    def stop(self, name: str) -> None:
        """Ask all children to shut down; the second time, to release their jobs at once."""
        self._stops += 1
        what = (
            "finishing running jobs"
            if self._stops == 1
            else "releasing running jobs now"
        )
        many = "process" if len(self.live) == 1 else "processes"
        log(logging.INFO, "%s: %s in %d %s", name, what, len(self.live), many)
        for child in self.live:
            child.stop(self._grace if self._stops == 1 else 0.0, self._stops, name)
        self._first.set()
        self._wake()

    def renew(self) -> None:
        """Replace all children, one by one."""
        self._generation += 1
        log(logging.INFO, "replacing %d processes, one by one", len(self.slots))
        self._wake()
        self._changes.set()

    def _hang_up(self) -> None:
        if self._stops:
            return
        if self._terminal and not _has_terminal():
            self.stop("SIGHUP")
        else:
            self.renew()

    def _ask_for_stacks(self) -> None:
        """Let every child log where its handlers stand."""
        for child in self.live:
            if child.loaded:  # until then the signal would end it
                child.signal(signal.SIGUSR1)

    def _wake(self) -> None:
        """End every pause before a restart."""
        self._awake.set()
        self._awake = asyncio.Event()

    def _reap(self) -> None:
        for child in self.live:
            child.reap()

    def _start(self, slot: Slot) -> Child | None:
        """Start one; None if the system does not let it."""
        try:
            child = Child(self._command, slot.number, self._generation, self._on_change)
        except OSError as error:
            log(logging.ERROR, "process %d does not start: %s", slot.number, error)
            return None
        self.live.add(child)
        child.ended.add_done_callback(lambda _: self._account(child))
        child.reap()  # a signal of its end may have come before it was here
        log(logging.INFO, "%s starts", child)
        return child

    def _account(self, child: Child) -> None:
        self.live.discard(child)
        if self.on_end is not None:
            self.on_end(child)
        code = child.ended.result()
        if not self._stops or self._code or child.killed:
            return
        if code == -signal.SIGTERM and not child.loaded:
            return  # it had no handler for the signal yet
        self._code = 128 - code if code < 0 else code
        if self._code:
            log(logging.WARNING, "%s %s", child, _ending(code))

    def _on_change(self) -> None:
        self._changes.set()
        if any(child.loaded for child in self.live):
            self._first.set()

    async def _keep(self, slot: Slot) -> None:
        """Let there always be a child in this place."""
        if slot.number > 1:
            # What is wrong with the command line is said once, by the first.
            await self._first.wait()
        while not self._stops:
            if slot.child is None:
                slot.child = self._start(slot)
            if (child := slot.child) is not None:
                code = await asyncio.shield(child.ended)
                if slot.child is not child:
                    continue  # it was replaced
                slot.child, slot.coming = slot.coming, None
                if self._is_the_end(slot, child, code):
                    return
            if slot.child is None:
                await self._pause(slot, child)

    def _is_the_end(self, slot: Slot, child: Child, code: int) -> bool:
        """Whether nothing is to be started in its place; says why it ended."""
        if self._stops:
            return True
        if self._burst and code == 0:
            return slot.child is None
        if code in _REFUSALS and not child.ready:
            log(logging.ERROR, "%s ended at its start with %d; all end", child, code)
            self._code = code
            self.stop(f"exit code {code}")
            return True
        log(logging.WARNING, "%s %s", child, _ending(code))
        return False

    async def _pause(self, slot: Slot, child: Child | None) -> None:
        """Wait before a restart, longer each time that it did not last."""
        lasted = child is not None and time.monotonic() - child.began >= _STABLE
        slot.pause = _longer(0.0 if lasted else slot.pause)
        log(logging.INFO, "process %d starts again in %g s", slot.number, slot.pause)
        with suppress(TimeoutError):
            async with asyncio.timeout(slot.pause):
                await self._awake.wait()

    async def _replace_outdated(self) -> None:
        """Replace what is to be replaced, one at a time."""
        while True:
            await self._changes.wait()
            self._changes.clear()
            while not self._stops and (slot := self._outdated()) is not None:
                await self._replace(slot)

    def _outdated(self) -> Slot | None:
        """The one that has run longest, so that each has its turn."""
        now = time.monotonic()
        found: list[tuple[float, Slot]] = []
        for slot in self.slots:
            child = slot.child
            if child is None or child.ended.done():
                continue
            old = child.generation < self._generation != self._refused
            if old or (child.retire and slot.not_before <= now):
                found.append((child.began, slot))
        return min(found, key=itemgetter(0))[1] if found else None

    async def _replace(self, slot: Slot) -> None:
        """Start another, and stop the one that is there when that is ready."""
        old, generation = slot.child, self._generation
        assert old is not None
        log(logging.INFO, "replacing %s: %s", old, old.retire or "SIGHUP")
        new = slot.coming = self._start(slot)
        while (
            new is not None
            and not (new.ready or new.ended.done() or old.ended.done())
            and generation == self._generation
        ):
            await self._changes.wait()
            self._changes.clear()
        if old.ended.done():
            return  # its keeper has taken the new one, ready or not
        slot.coming = None
        if new is None or (new.ended.done() and not new.ready):
            self._keep_old(slot, old)
        elif new.ready:
            slot.child = new
            self._let_rest(slot, old)
            await self._retire(old)
        else:
            await self._retire(new)  # SIGHUP came again: its code may be old

    def _keep_old(self, slot: Slot, old: Child) -> None:
        if self._stops:
            return
        log(logging.ERROR, "the replacement of %s was never ready: it stays", old)
        if old.generation < self._generation:
            self._refused = self._generation
        if old.retire:
            self._put_off(slot, _LAST_PAUSE)

    def _let_rest(self, slot: Slot, old: Child) -> None:
        """Put off the next replacement, if the one before it was too large at once."""
        soon = old.large_after is not None and old.large_after < _YOUNG
        slot.rest = _longer(slot.rest) if soon else 0.0
        if soon:
            log(
                logging.WARNING,
                "%s was above --max-rss %.1f s after its start: raise that limit;"
                " process %d is replaced again in %g s at the earliest",
                old,
                old.large_after,
                slot.number,
                slot.rest,
            )
            self._put_off(slot, slot.rest)

    def _put_off(self, slot: Slot, pause: float) -> None:
        """Let no limit start a replacement there for so many seconds."""
        slot.not_before = time.monotonic() + pause
        asyncio.get_running_loop().call_later(pause, self._changes.set)

    async def _retire(self, child: Child) -> None:
        """Let it finish its jobs and end; kill it if it does not."""
        child.stop(self._grace, 1)
        done, _ = await asyncio.wait([child.ended], timeout=self._grace + _PATIENCE)
        if not done:
            log(
                logging.WARNING,
                "%s does not end %g s after its grace: killing it",
                child,
                _PATIENCE,
            )
            child.kill()
            await asyncio.wait([child.ended])


def _longer(pause: float) -> float:
    """The pause that follows one of so many seconds; 0 for none."""
    return min(pause * 2, _LAST_PAUSE) if pause else _FIRST_PAUSE


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _has_terminal() -> bool:
    """Whether this process has a terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
