"""The limits after which a child is replaced, and what checks them."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowd.model.event import Event
from flowd.model.job import Job
from flowd.model.middleware import Middleware
from flowd.queue import Queue

__all__ = ["Limits", "resident"]

_CHECK_EVERY: Final = 1.0
_ENDINGS: Final = frozenset({"done", "retry", "dead_letter"})
_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a process is to be replaced; None means never."""

    jobs: int | None = None
    """After so many attempts have ended."""

    rss: int | None = None
    """Above so many bytes of resident memory, checked every second."""

    age: float | None = None
    """After so many seconds."""

    def __bool__(self) -> bool:
        return (self.jobs, self.rss, self.age) != (None, None, None)

    def count(
        self, queues: Sequence[Queue[Job]], retire: Callable[[str], None]
    ) -> None:
        """Count the jobs of queues that do not run yet, if there is a limit of them."""
        if self.jobs is not None:
            counting = _Counting(self.jobs, retire)
            for queue in queues:
                queue.add_middleware(counting)

    async def watch(
        self, retire: Callable[[str], None], too_large: Callable[[str, float], None]
    ) -> None:
        """Return when the process is too old or too large, and has said so.

        Args:
            retire: gets the reason.
            too_large: likewise, and after how many seconds it was above the limit.
        """
        began = time.monotonic()
        while self.rss is not None or self.age is not None:
            age = time.monotonic() - began
            if self.age is not None and age >= self.age:
                retire(f"--max-age: it has run for {age:.0f} s")
                return
            if self.rss is not None and (size := resident()) > self.rss:
                too_large(f"--max-rss: it has {size / 2**20:.0f} MiB", age)
                return
            left = _CHECK_EVERY if self.age is None else self.age - age
            await asyncio.sleep(left if self.rss is None else min(left, _CHECK_EVERY))


class _Counting(Middleware):
    """Counts attempts that have ended; one object for all queues of a process."""

    def __init__(self, most: int, retire: Callable[[str], None]) -> None:
        self._most = most
        self._retire = retire
        self._count = 0

    def on_event(self, event: Event) -> None:
        """Count it, if it is the end of an attempt."""
        if event.name in _ENDINGS:
            self._count += 1
            if self._count == self._most:
                self._retire(f"--max-jobs: it has run {self._count}")


def resident() -> int:
    """The process's resident memory in bytes; where there is no /proc, its highest."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else highest * 1024
