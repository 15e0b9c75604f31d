"""Shows on standard error how far a long command is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

__all__ = ["counter"]

_EVERY: Final = 5.0


@contextmanager
def counter(total: int) -> Generator[Callable[[int], object]]:
    """A function to call with how many more jobs were looked at.

    On a terminal, and where rich is installed, it moves a bar; else there is a line
    every five seconds.

    Args:
        total: how many there are, about.
    """
    if sys.stderr.isatty() and find_spec("rich") is not None:
        with _bar(total) as advance:
            yield advance
    else:
        yield _Lines(total)


class _Lines:
    """A line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._next = time.monotonic() + _EVERY

    def __call__(self, more: int) -> None:
        self._done += more
        if (now := time.monotonic()) >= self._next:
            self._next = now + _EVERY
            line = f"{self._done:,} of about {self._total:,} jobs"
            print(line, file=sys.stderr, flush=True)


@contextmanager
def _bar(total: int) -> Generator[Callable[[int], object]]:
    import rich.progress  # noqa: PLC0415 - it may not be installed
    from rich.console import Console  # noqa: PLC0415

    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with rich.progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("jobs", total=total)
        yield lambda more: bar.advance(task, more)
