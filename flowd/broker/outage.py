"""Say that the server fails and why, and that it answers again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from flowd.model.event import EventBus
from flowd.model.policy import Backoff

__all__ = ["RECONNECT", "Outage"]

RECONNECT: Final = Backoff(base=0.05, max=0.5)
"""How long a loop waits before it asks a failing server again: 50 ms to 0.5 s."""

_REMIND: Final = 60.0
_CHANGE: Final = 1.0


class Outage:
    """What the loops of one process see of one server.

    Many loops fail at the same moment and for the same reason; the log has one line. It
    has one more when the reason is another than before (a second later at the earliest:
    a lost connection is followed by one that is refused), and one a minute.
    """

    def __init__(
        self,
        server: str,
        events: EventBus,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._events = events
        self._failing: dict[tuple[str, str], str] = {}
        self._clock = clock
        self._since = 0.0
        self._logged = 0.0
        self._reasons: set[str] = set()

    def report_failure(self, what: str, stream: str, error: Exception) -> None:
        """`what` (reading, settling …) of a stream fails because of `error`."""
        now, reason = self._clock(), str(error)
        quiet = now - self._logged
        if not self._failing:
            self._since = now
            self._log(now, f"{self._server} fails", what, reason)
        elif quiet >= (_REMIND if reason in self._reasons else _CHANGE):
            fails = f"{self._server} still fails after {now - self._since:.0f} s"
            self._log(now, fails, what, reason)
        self._failing[what, stream] = reason

    def _log(self, now: float, fails: str, what: str, reason: str) -> None:
        # Loops that fail for reasons of their own take turns: none of them is new.
        if not self._failing or now - self._logged >= _REMIND:
            self._reasons.clear()
        self._reasons.add(reason)
        self._logged = now
        self._events.emit(
            logging.WARNING,
            "outage",
            f"{fails}, trying again: {reason} ({what})",
            server=self._server,
            what=what,
            error=reason,
        )

    def report_recovery(self, what: str, stream: str) -> None:
        """`what` of a stream works again; the last recovery ends the outage."""
        if (what, stream) not in self._failing:
            return
        del self._failing[what, stream]
        if not self._failing:
            lasted = self._clock() - self._since
            self._events.emit(
                logging.INFO,
                "recovery",
                f"{self._server} answers again after {lasted:.1f} s",
                server=self._server,
                lasted=lasted,
            )

    def reason(self, stream: str) -> str | None:
        """What of a stream fails, and why; None if nothing does."""
        for (what, failing), error in self._failing.items():
            if failing == stream:
                return f"{what} fails: {error}"
        return None

    def clear(self, stream: str, what: str | None = None) -> None:
        """Forget the outages of a stream, or one of them: its queue ended."""
        self._failing = {
            each: error
            for each, error in self._failing.items()
            if each[1] != stream or what not in (None, each[0])
        }
