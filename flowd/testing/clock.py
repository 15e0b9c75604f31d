"""Time for tests: it passes when it is told to."""

from __future__ import annotations

import time

__all__ = ["FakeClock"]


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now
        """Seconds since 1970."""

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds
