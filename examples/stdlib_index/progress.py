"""Progress of the demo: one moving line on a terminal, a plain line a second elsewhere."""

from __future__ import annotations

import sys
import time

WIDTH = 40


class Progress:
    """How many of `total` jobs are done."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._shown_at = 0.0

    def show(self, done: int) -> None:
        """Show where the demo is."""
        now = time.monotonic()
        if not self._live and now - self._shown_at < 1.0:
            return
        self._shown_at = now
        rate = done / (now - self._started + 0.001)
        text = f"{done:>5} of {self._total} files, {rate:.0f}/s"
        if self._live:
            bar = "#" * (WIDTH * done // self._total)
            print(f"\r[{bar:<{WIDTH}}] {text}  ", end="", flush=True)
        else:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Say something that stays."""
        print(f"\r{text:<{WIDTH + 32}}" if self._live else text, flush=True)

    def end(self) -> None:
        """Leave the moving line."""
        if self._live:
            print()
