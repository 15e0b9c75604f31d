"""Say once that the server fails, and once that it answers again."""

from __future__ import annotations

import logging
import time
from typing import Final

from flowd.policy import Backoff

__all__ = ["RECONNECT", "Outage"]

RECONNECT: Final = Backoff(base=0.05, max=0.5)
"""How long a loop waits before it asks a failing server again: 50 ms to 0.5 s."""

_log: Final = logging.getLogger("flowd")


class Outage:
    """What the loops of one process see of one server.

    Many loops fail at the same moment and for the same reason; the log has one line.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._failing: set[tuple[str, str]] = set()
        self._since = 0.0

    def begin(self, what: str, stream: str, error: Exception) -> None:
        """`what` (reading, settling …) of a stream cannot go on because of `error`."""
        if not self._failing:
            self._since = time.monotonic()
            _log.warning(
                "%s fails, trying again: %s",
                self._server,
                error,
                extra={"event": "outage", "server": self._server, "error": str(error)},
            )
        self._failing.add((what, stream))

    def end(self, what: str, stream: str) -> None:
        """It goes on."""
        if (what, stream) not in self._failing:
            return
        self._failing.discard((what, stream))
        if not self._failing:
            lasted = time.monotonic() - self._since
            _log.info(
                "%s answers again after %.1f s",
                self._server,
                lasted,
                extra={"event": "recovery", "server": self._server, "lasted": lasted},
            )

    def forget(self, stream: str, what: str | None = None) -> None:
        """Nobody waits for this stream any more, or not for this of it."""
        self._failing = {
            each
            for each in self._failing
            if each[1] != stream or what not in (None, each[0])
        }
