"""How soon to read again while jobs come one by one, and faster than a read pays for.

A read and a settle of one job cost the server as much as those of ten. So while jobs come
faster than one in 2 ms, 4 ms pass between two reads, and the next takes all that has come.
What ends meanwhile is settled in the write of that read. Where each job enqueues the next
one, that would only slow the chain down: after a pause that brought one job, the next try is
50 ms later.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Pacing"]

_FAST: Final = 0.002
_GATHER: Final = 0.004
_RETRY: Final = 0.05


class Pacing:
    """Knows of one queue's reads when they were answered, and with how much."""

    def __init__(self) -> None:
        self._next_try = 0.0

    def pause(self, asked: float, answered: float, jobs: int) -> float:
        """Seconds to let pass before the next read.

        Args:
            asked: when a read was sent that waited for jobs (`time.monotonic`).
            answered: when its answer came.
            jobs: how many it brought.
        """
        if jobs > 1:
            return _GATHER
        if jobs == 0 or answered - asked > _FAST or answered < self._next_try:
            return 0.0
        self._next_try = answered + _RETRY
        return _GATHER
