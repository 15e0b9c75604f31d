"""Time for tests: it moves only when the test moves it."""

from __future__ import annotations

import time

from flowd.errors.option import wait

__all__ = ["FakeClock"]


class FakeClock:
    """A clock that moves only by `advance`.

    Args:
        now: seconds since 1970; None: the present.

    Raises:
        OptionError: `now` is no such time.
    """

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else wait("now", now)
        """Seconds since 1970."""

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Args:
            seconds: how far.

        Raises:
            OptionError: it is no time, or below 0.
        """
        self.now += wait("seconds", seconds)
