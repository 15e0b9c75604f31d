"""Decide, by the server's clock, whether a job may still start."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from flowd.errors import ServerError
from flowd.model.delivery import Delivery

__all__ = ["Expiry"]

_FRESH: Final = 2.0
"""Seconds for which the server's answer is good."""


class Expiry:
    """Asks for the time only if a delivery carries a deadline, and not for each of them.

    Args:
        server_time: what time it is at the server, in seconds since 1970; raises
            ServerError.
    """

    def __init__(self, server_time: Callable[[], Awaitable[float]]) -> None:
        self._server_time = server_time
        self._offset: float | None = None
        self._stale_at = 0.0

    async def late(self, delivery: Delivery) -> float | None:
        """Seconds since the delivery's deadline; None if it has none, or may start.

        Without an answer the last one counts, and without any the job may start.
        """
        deadline = delivery.deadline_ms
        if deadline is None:
            return None
        if time.monotonic() >= self._stale_at:
            try:
                now = await self._server_time()
            except ServerError:
                pass  # the queue's loop reports the outage
            else:
                # Older than its arrival, so no job expires too early.
                self._offset = now - time.monotonic()
                self._stale_at = time.monotonic() + _FRESH
        if self._offset is None:
            return None
        late = time.monotonic() + self._offset - deadline / 1000
        return late if late > 0 else None
