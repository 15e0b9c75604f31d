"""What a worker reads beyond its free slots, while its handlers are short.

With few slots and short handlers, a worker would spend most of its time on the way to the
server and back. So while the stream is full, it reads as many jobs more as begin within 2 ms
at the present pace, 100 with its slots at most. They are held, their leases are renewed, and
each starts as soon as a handler ends. Of handlers that take long, none begins in that time, and
nothing is read ahead.

No other worker starves: handlers that suddenly take long keep such a job for 50 ms, or for half
a second where something holds up the event loop. Then it is released, and for ten seconds
nothing is read ahead.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from flowd.model.delivery import Delivery
from flowd.model.job import Job
from flowd.worker.in_flight import InFlight
from flowd.worker.options import QueueOptions

__all__ = ["ReadAhead"]

J = TypeVar("J", bound=Job)

_AHEAD: Final = 0.002
"""Seconds in which what is read ahead begins, at the present pace."""

_WINDOW: Final = 0.002
"""Seconds over which the pace is taken, at least."""

_MOST: Final = 100
"""How many jobs a queue may have with its slots."""

_PATIENCE: Final = 0.05
"""Seconds that one may wait for a slot."""

_LATE: Final = 0.01
_HELD_UP: Final = 0.5
"""Seconds by which the event loop is late if it was held up, and that one may wait then."""

_AFTER_RELEASE: Final = 10.0
"""Seconds without reading ahead, once handlers were too long."""


class ReadAhead:
    """The deliveries of one queue that are held and wait for a slot.

    Args:
        options: of the queue.
        in_flight: what it holds.
    """

    def __init__(self, options: QueueOptions[J], in_flight: InFlight) -> None:
        self._concurrency = options.concurrency
        # Many slots make large batches by themselves; larger ones leave the server idle.
        self._most = max(_MOST - options.concurrency, 0)
        # One slot keeps the order of its jobs. A gate counts those that it has let in.
        gate = options.job_class.SPEC.gate
        self._never = options.concurrency == 1 or gate is not None
        self._lease = options.lease
        self._in_flight = in_flight
        self._start: Callable[[Delivery], None]
        self._release: Callable[[Delivery], None]
        self._queue: asyncio.Task[object] | None = None
        self._waiting: deque[Delivery] = deque()
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self.most = 0
        """How many may wait."""

        self.emptied: Callable[[], None] = lambda: None
        """Called when none waits any more."""

        self._ended = 0
        self._counted_from = 0.0
        self._not_before = 0.0

    def open(
        self, start: Callable[[Delivery], None], release: Callable[[Delivery], None]
    ) -> None:
        """Belong to this task: once it is cancelled, with its loop, nothing starts.

        Args:
            start: called with a delivery when there is a slot for it.
            release: called with a delivery that is not to start here.
        """
        self._queue = asyncio.current_task()
        self._start, self._release = start, release

    def more_than(self, done: int) -> bool:
        """Whether `done` endings are too few to settle, as more handlers end in a moment."""
        return bool(self._waiting) and done < self._batch

    def room(self) -> int:
        """How many more may be read."""
        return max(self.most - len(self._waiting), 0)

    @property
    def wants(self) -> bool:
        """Whether there is room for so many that a read pays."""
        return 0 < self._batch <= self.room()

    @property
    def _batch(self) -> int:
        return (self._concurrency + self.most) // 2

    def measure(self, *, flowing: bool) -> None:
        """Measure, after a read, how fast handlers end; it sets how many are read ahead.

        Args:
            flowing: whether there is more in the stream.
        """
        now = time.monotonic()
        if not flowing or self._never or now < self._not_before:
            self.most, self._counted_from = 0, 0.0
        elif not self._counted_from:
            self._ended, self._counted_from = 0, now
        elif (seconds := now - self._counted_from) >= _WINDOW:
            self.most = min(int(self._ended / seconds * _AHEAD), self._most)
            self._ended, self._counted_from = 0, now

    def takes(self, delivery: Delivery) -> bool:
        """Let a delivery that is held wait; False: it is not to wait here."""
        if self._never:
            return False
        self._waiting.append(delivery)
        if self._alarm is None:
            self._watch(delivery.began + _PATIENCE)
        return True

    def handler_done(self) -> None:
        """A handler has ended: start those that wait in the slots that are free."""
        self._ended += 1
        if not self._waiting:
            return
        if self._queue is not None and self._queue.cancelling():
            return
        while self._waiting and self._in_flight.free_slots > 0:
            delivery = self._waiting.popleft()
            delivery.began = now = time.monotonic()
            if now - delivery.held_since > self._lease:
                # The process stood still: another worker may run it by now.
                self._release(delivery)
            else:
                self._start(delivery)
        if not self._waiting:
            self.emptied()

    def withdraw(self, delivery: Delivery) -> bool:
        """Start it no more; False if it does not wait."""
        if delivery not in self._waiting:
            return False
        self._waiting.remove(delivery)
        if not self._waiting:
            self.emptied()
        return True

    def release_all(self) -> None:
        """Leave all to other workers."""
        while self._waiting:
            self._release(self._waiting.popleft())
        self.emptied()

    def close(self) -> None:
        """Leave all to other workers, because the queue stops."""
        self.release_all()
        if self._alarm is not None:
            self._alarm.cancel()

    def _watch(self, until: float) -> None:
        wait = until - time.monotonic()
        self._alarm = self._loop.call_later(wait, self._look, until)

    def _look(self, due: float) -> None:
        """Release what was read ahead and did not begin: its handlers take long now."""
        self._alarm = None
        if not self._waiting:
            return
        now = time.monotonic()
        waited = now - self._waiting[0].began
        # Where the loop or the process was held up, that is not the handlers' time.
        late = now - due > _LATE and waited < _HELD_UP
        if waited < _PATIENCE or late:
            self._watch((now if late else self._waiting[0].began) + _PATIENCE)
            return
        self._not_before = now + _AFTER_RELEASE
        self.most = 0
        self.release_all()
