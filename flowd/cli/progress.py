"""The progress of a command: a bar on a terminal, or a line now and then for a log.

The bar is drawn by rich, of the extra `cli`; lines are printed where a command asks for them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

from flowd.cli.output import is_drawn

__all__ = ["Advance", "progress"]

_LINE_EVERY: Final = 5.0


class Advance(Protocol):
    """Called with how many more things were done."""

    def __call__(self, count: int = 1, /) -> object:
        """Count them."""
        ...


@contextmanager
def progress(what: str, total: int, *, lines: bool = False) -> Generator[Advance]:
    """A function to call with how many more of `total` things were done: it moves a bar.

    The bar is on standard error, so that what is printed can go elsewhere.

    Args:
        what: is done, in a word.
        total: how many there are, about.
        lines: print a line every five seconds where no bar can be drawn.
    """
    if is_drawn(sys.stderr):
        with _bar(what, total) as advance:
            yield advance
    elif lines:
        yield _Lines(what, total)
    else:
        yield lambda _=1, /: None


class _Lines:
    """A line now and then, for a log."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._next = time.monotonic() + _LINE_EVERY

    def __call__(self, count: int = 1, /) -> None:
        self._done += count
        if (now := time.monotonic()) >= self._next:
            self._next = now + _LINE_EVERY
            line = f"{self._what}: {self._done:,} of about {self._total:,} jobs"
            print(line, file=sys.stderr, flush=True)


@contextmanager
def _bar(what: str, total: int) -> Generator[Advance]:
    import rich.progress  # noqa: PLC0415 - rich may not be installed
    from rich.console import Console  # noqa: PLC0415

    bar = rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        # Lines that are printed meanwhile keep their length, as all others do.
        console=Console(stderr=True, soft_wrap=True),
        transient=True,
        # Else rich would send to the terminal what is printed into a file.
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )
    task = bar.add_task(what, total=total)

    def advance(count: int = 1, /) -> None:
        bar.start()
        bar.advance(task, count)

    try:
        yield advance
    finally:
        bar.stop()
