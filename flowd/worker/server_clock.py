"""Notice that the server's clock steps back, and keep working.

Leases are stamped with the server's clock. When it steps back an hour, what was stamped
before looks freshly renewed for that hour, and nothing would be taken over. Workers that
live stamp theirs anew within a quarter of a lease. So what is still stamped in the future
a lease after the step belongs to a dead worker, and its lease is ended here; the next
sweep takes it over as any other.

Delayed jobs are due when the server's clock says so, which is later by the step: a job
may have been asked for at a time of day, and nothing distinguishes those from the others.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, TypeAlias

from flowd.broker import replies, scripts
from flowd.broker import script_replies as answers
from flowd.broker.connection import Argument
from flowd.broker.server_time import server_time
from flowd.broker.stream import Stream
from flowd.model.event import EventBus
from flowd.model.timing import milliseconds

__all__ = ["ServerClock", "Stamped", "expire", "fresh"]

Stamped: TypeAlias = tuple[bytes, bytes, int]
"""What a consumer holds: entry id, consumer, delivery count."""

_STEP: Final = 1.0
_LOOKS: Final = 4
_TIMES: Final = 3
_ROWS_AT_ONCE: Final = 1_000
_EXPIRED_AT_ONCE: Final = 500


class ServerClock:
    """The server's clock as one worker sees it, compared with its own monotonic clock.

    Args:
        stream: whose leases are watched.
        lease: seconds.
        events: receives `clock_stepped`.
        now: seconds of a clock that never steps back.
    """

    def __init__(
        self,
        stream: Stream,
        lease: float,
        events: EventBus,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._lease = lease
        self._events = events
        self._now = now
        self._next = 0.0
        self._last: tuple[float, float] | None = None
        self._caught_up = 0.0
        self._renewed = 0.0
        self._seen: Counter[Stamped] = Counter()

    async def look(self) -> None:
        """Compare the clocks, unless that was done within a quarter of a lease.

        Raises:
            ServerError: as `Connection.call`.
        """
        asked = self._now()
        if asked < self._next:
            return
        server = await server_time(self._stream.connection)
        answered = self._now()
        # Never in step with the renewals.
        self._next = answered + self._lease / _LOOKS * random.uniform(1.0, 1.5)
        if self._last is not None:
            # The least that it can be, however slow the answers were.
            step = (asked - self._last[0]) - (server - self._last[1])
            if step > _STEP:
                self._notice(step, server, answered)
        self._last = answered, server
        if server < self._caught_up and answered >= self._renewed:
            await self._end_leases()

    def _notice(self, step: float, server: float, now: float) -> None:
        self._caught_up = max(self._caught_up, server + step) + _STEP
        self._renewed = now + self._lease
        self._seen.clear()
        self._events.emit(
            logging.WARNING,
            "clock_stepped",
            f"the server's clock has stepped back by {step:,.1f} s: delayed jobs are due"
            " that much later, jobs of dead workers are taken over two leases from now",
            step=step,
        )

    async def _end_leases(self) -> None:
        """End those that are stamped in the future; what was renewed may look so once."""
        ahead = set(await fresh(self._stream))
        self._seen = Counter({each: self._seen[each] + 1 for each in ahead})
        abandoned = [each for each, times in self._seen.items() if times >= _TIMES]
        if abandoned:
            await expire(self._stream, self._lease, abandoned)


async def fresh(stream: Stream) -> list[Stamped]:
    """What is held and shows no idle time.

    It was delivered or renewed within a millisecond, or is stamped in the future.

    Raises:
        ServerError: as `Connection.call`.
    """
    found: list[Stamped] = []
    first = b"-"
    while True:
        rows = await stream.connection.call(
            *("XPENDING", stream.keys.stream, stream.group, first, "+", _ROWS_AT_ONCE),
            read=answers.pending,
        )
        found += [
            (each, consumer, count) for each, consumer, idle, count in rows if idle == 0
        ]
        if len(rows) < _ROWS_AT_ONCE:
            return found
        first = b"(" + rows[-1][0]


async def expire(stream: Stream, lease: float, held: Sequence[Stamped]) -> int:
    """Let leases run out that still show no idle time; returns how many did.

    Raises:
        ServerError: as `Connection.call`. Repeating the call is safe.
    """
    ms = milliseconds(lease)
    expired = 0
    for at in range(0, len(held), _EXPIRED_AT_ONCE):
        args: list[Argument] = [stream.group, ms]
        args += chain.from_iterable(held[at : at + _EXPIRED_AT_ONCE])
        expired += await scripts.EXPIRE.run(
            stream.connection, [stream.keys.stream], args, replies.number
        )
    return expired
