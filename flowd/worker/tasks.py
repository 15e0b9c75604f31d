"""One task for each delivery, in a context of its own; only so many begin at once.

A task that is cancelled before its first step runs nothing of its coroutine, so nothing in
there can say that it has ended. A callback on each task would cost a context, a handle and
a turn of the loop a job. All tasks that were started in one turn take their first step in
the next one, so one look after that finds those that are done and did not begin.

A thousand handlers of half a millisecond that begin in one turn of the loop, or wake up in
one, hold up all other queues for half a second. So while many run, a timer looks at each
5 ms how much time of a processor the event loop took. If it was more than that, fewer
handlers begin until the next look; the others wait.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Final

from flowd.model.delivery import Delivery

__all__ = ["DeliveryTasks"]

_WINDOW: Final = 0.005
"""Seconds in which only so many handlers begin."""

# Between the two nothing changes, and there is always enough to do until the next look.
_LONG: Final = 0.010
_SHORT: Final = 0.0065
"""Seconds that the event loop worked between two looks: fewer are to begin, or more."""

_MANY: Final = 32
"""So many that run can make the loop late; fewer are not watched."""

_FIRST: Final = 64
_MOST: Final = 1 << 16


class DeliveryTasks:
    """Starts the tasks of one queue, on the event loop that runs.

    Args:
        process: what a task runs.
        unbegun: called with a delivery whose task has ended without running it.
        running: what has a slot.
    """

    def __init__(
        self,
        process: Callable[[Delivery], Coroutine[object, object, None]],
        unbegun: Callable[[Delivery], None],
        running: Collection[Delivery],
    ) -> None:
        self._process = process
        self._unbegun = unbegun
        self._running = running
        self._loop = asyncio.get_running_loop()
        # A delivery may be started by the end of another one; none inherits its context.
        self._context = contextvars.copy_context()
        self._started: list[Delivery] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._most = _FIRST
        """How many may begin in a window."""

        self._begun = 0
        """How many began in this window."""

        self._window = 0.0
        """When it ends (the loop's clock)."""

        self._worked = 0.0
        """The time of a processor that the thread had taken at the last look, in seconds."""

        self._timer: asyncio.TimerHandle | None = None

    def start(self, delivery: Delivery) -> None:
        """Run a delivery in a task; not begun at once (`eager_start`): the caller reads on."""
        if not self._started:
            self._loop.call_soon(self._first_steps)
            if self._timer is None:
                self._open_window()
        if self._waiting or self._begun >= self._most:
            process = self._process_later(delivery)
        else:
            process = self._process(delivery)
        self._begun += 1
        delivery.task = asyncio.Task(
            process, loop=self._loop, context=self._context.copy()
        )
        self._started.append(delivery)

    def close(self) -> None:
        """Let none begin any more that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _process_later(self, delivery: Delivery) -> None:
        turn = self._loop.create_future()
        self._waiting.append(turn)
        if self._timer is None:
            self._watch()
        try:
            await turn
        except asyncio.CancelledError:
            self._unbegun(delivery)
            raise
        delivery.began = time.monotonic()
        await self._process(delivery)

    def _first_steps(self) -> None:
        """Every task of this list takes its first step before what is called soon from now."""
        started, self._started = self._started, []
        self._loop.call_soon(self._look, started)

    def _look(self, started: Sequence[Delivery]) -> None:
        for delivery in started:
            if delivery.task is not None and delivery.task.cancelled():
                self._unbegun(delivery)
        if self._timer is None and len(self._running) >= _MANY:
            self._watch()

    def _open_window(self) -> None:
        now = self._loop.time()
        if now >= self._window:
            self._window, self._begun = now + _WINDOW, 0

    def _watch(self) -> None:
        self._window = self._loop.time() + _WINDOW
        self._worked = time.thread_time()
        self._timer = self._loop.call_at(self._window, self._next_window)

    def _next_window(self) -> None:
        """Adapt to how much the loop has worked, and let the next begin."""
        took = time.thread_time() - self._worked
        if took > _LONG:
            self._most = max(self._most * 3 // 5, 1)
        elif self._waiting and took < _SHORT:
            self._most = min(self._most * 3 // 2 + 1, _MOST)
        self._begun = 0
        while self._waiting and self._begun < self._most:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                self._begun += 1
        if self._waiting or len(self._running) >= _MANY:
            self._watch()
        else:
            self._timer = None
