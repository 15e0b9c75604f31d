"""One task for each delivery, in a context of its own; only so many begin in one turn.

A task that is cancelled before its first step runs nothing of its coroutine, so nothing in
there can say that it has ended. A callback on each task would cost a context, a handle and
a turn of the loop a job. All tasks that were started in one turn take their first step in
the next one, so one look after that finds those that are done and did not begin.

A thousand handlers of half a millisecond that begin in one turn of the event loop hold up
all other queues for half a second. So of many that start together, only so many begin in
a turn that it takes 5 to 10 ms; the others wait for the next turns. That costs nothing
while there are few, or while they are short. Those that wait for something first go on in
turns as well (`turns`), if there are other queues that they could hold up.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from flowd.model.delivery import Delivery
from flowd.worker.turns import PacedCoroutine, Turns

__all__ = ["DeliveryTasks"]

_LONG: Final = 0.010
_SHORT: Final = 0.005
"""Seconds that one turn took: fewer are to begin in the next one, or more."""

_FIRST: Final = 64
_FEW: Final = 4
_MOST: Final = 1 << 16
"""How many may begin in one turn: at first, at least and at most."""


class DeliveryTasks:
    """Starts the tasks of one queue, on the event loop that runs.

    Args:
        process: what a task runs.
        unbegun: called with a delivery whose task has ended without running it.
        turns: of the queue.
    """

    def __init__(
        self,
        process: Callable[[Delivery], Coroutine[object, None, None]],
        unbegun: Callable[[Delivery], None],
        turns: Turns,
    ) -> None:
        self._process = process
        self._unbegun = unbegun
        self._turns = turns
        self._latest: Delivery | None = None
        """The last one that did not have to wait before it began."""

        self._is_paced = False
        """Whether handlers wait for something, and could hold up other queues then."""

        self._loop = asyncio.get_running_loop()
        # A delivery may be started by the end of another one; none inherits its context.
        self._context = contextvars.copy_context()
        self._started: list[Delivery] = []
        self._most = _FIRST
        """How many may begin in one turn."""

        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_releasing = False

    def start(self, delivery: Delivery) -> None:
        """Run a delivery in a task; not begun at once (`eager_start`): the caller reads on."""
        if not self._started:
            self._loop.call_soon(self._first_steps)
        if self._waiting or len(self._started) >= self._most:
            turn = self._loop.create_future()
            self._waiting.append(turn)
            process = self._process_later(delivery, turn)
            beginning, is_paced = 2, self._turns.has_neighbours()
        else:
            process = self._process(delivery)
            beginning, is_paced = 1, self._is_paced
            self._latest = delivery
        if is_paced and self._turns.watches():
            process = PacedCoroutine(process, self._turns, beginning)
        delivery.task = asyncio.Task(
            process, loop=self._loop, context=self._context.copy()
        )
        self._started.append(delivery)

    async def _process_later(
        self, delivery: Delivery, turn: asyncio.Future[None]
    ) -> None:
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
        self._loop.call_soon(self._end_first_turn, started, self._loop.time())

    def _end_first_turn(self, started: Sequence[Delivery], began: float) -> None:
        for delivery in started:
            if delivery.task is not None and delivery.task.cancelled():
                self._unbegun(delivery)
        if (latest := self._latest) is not None:
            self._latest = None
            waits = latest.task is not None and not latest.task.done()
            self._is_paced = (self._is_paced or waits) and self._turns.has_neighbours()
        if self._loop.time() - began > _LONG and len(started) > _FEW:
            self._begin_fewer_than(min(len(started), self._most))
        if self._waiting and not self._is_releasing:
            self._is_releasing = True
            self._release()

    def _release(self) -> None:
        """Let the next ones begin, and measure after them how long the turn took."""
        released = 0
        while self._waiting and released < self._most:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                released += 1
        self._loop.call_soon(self._end_turn, self._loop.time())

    def _end_turn(self, began: float) -> None:
        took = self._loop.time() - began
        if took > _LONG:
            self._begin_fewer_than(self._most)
        elif self._waiting and took < _SHORT:
            self._most = min(self._most * 2, _MOST)
        if self._waiting:
            self._release()
        else:
            self._is_releasing = False

    def _begin_fewer_than(self, many: int) -> None:
        self._most = max(many * 3 // 5, _FEW)
