"""Say once that the server fails, and once that it answers again."""

from __future__ import annotations

import logging
import time
from typing import Final

from flowd.event import Witnesses
from flowd.policy import Backoff

__all__ = ["RECONNECT", "Outage"]

RECONNECT: Final = Backoff(base=0.05, max=0.5)
"""How long a loop waits before it asks a failing server again: 50 ms to 0.5 s."""


class Outage:
    """What the loops of one process see of one server.

    Many loops fail at the same moment and for the same reason; the log has one line.
    """

    def __init__(self, server: str, witnesses: Witnesses) -> None:
        self._server = server
        self._witnesses = witnesses
        self._failing: dict[tuple[str, str], str] = {}
        self._since = 0.0

    def begin(self, what: str, stream: str, error: Exception) -> None:
        """`what` (reading, settling …) of a stream cannot go on because of `error`."""
        if not self._failing:
            self._since = time.monotonic()
            self._witnesses.say(
                logging.WARNING,
                "outage",
                f"{self._server} fails, trying again: {error} ({what})",
                server=self._server,
                what=what,
                error=str(error),
            )
        self._failing[what, stream] = str(error)

    def end(self, what: str, stream: str) -> None:
        """It goes on."""
        if (what, stream) not in self._failing:
            return
        del self._failing[what, stream]
        if not self._failing:
            lasted = time.monotonic() - self._since
            self._witnesses.say(
                logging.INFO,
                "recovery",
                f"{self._server} answers again after {lasted:.1f} s",
                server=self._server,
                lasted=lasted,
            )

    def of(self, stream: str) -> str | None:
        """What of a stream cannot go on, and why; None if all of it can."""
        for (what, failing), error in self._failing.items():
            if failing == stream:
                return f"{what} fails: {error}"
        return None

    def forget(self, stream: str, what: str | None = None) -> None:
        """Nobody waits for this stream any more, or not for this of it."""
        self._failing = {
            each: error
            for each, error in self._failing.items()
            if each[1] != stream or what not in (None, each[0])
        }
