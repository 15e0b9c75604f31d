"""One task for each delivery, in a context of its own.

A task that is cancelled before its first step runs nothing of its coroutine, so nothing in
there can say that it has ended. A callback on each task would cost a context, a handle and
a turn of the loop a job. All tasks that were started in one turn take their first step in
the next one, so one look after that finds those that are done and did not begin.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Sequence

from flowd.model.delivery import Delivery

__all__ = ["DeliveryTasks"]


class DeliveryTasks:
    """Starts the tasks of one queue, on the event loop that runs.

    Args:
        process: what a task runs.
        unbegun: called with a delivery whose task has ended without running it.
    """

    def __init__(
        self,
        process: Callable[[Delivery], Coroutine[object, object, None]],
        unbegun: Callable[[Delivery], None],
    ) -> None:
        self._process = process
        self._unbegun = unbegun
        self._loop = asyncio.get_running_loop()
        # A delivery may be started by the end of another one; none inherits its context.
        self._context = contextvars.copy_context()
        self._started: list[Delivery] = []

    def start(self, delivery: Delivery) -> None:
        """Run a delivery in a task; not begun at once (`eager_start`): the caller reads on."""
        delivery.task = asyncio.Task(
            self._process(delivery), loop=self._loop, context=self._context.copy()
        )
        if not self._started:
            self._loop.call_soon(self._first_steps)
        self._started.append(delivery)

    def _first_steps(self) -> None:
        """Every task of this list takes its first step before what is called soon from now."""
        started, self._started = self._started, []
        self._loop.call_soon(self._look, started)

    def _look(self, started: Sequence[Delivery]) -> None:
        for delivery in started:
            if delivery.task is not None and delivery.task.cancelled():
                self._unbegun(delivery)
