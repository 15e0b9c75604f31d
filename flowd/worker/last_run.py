"""The run of a queue in this process, as its `Queue` remembers it."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from flowd.model.job import Job
from flowd.worker.handle import QueueHandle

__all__ = ["LastRun"]

J = TypeVar("J", bound=Job)


class LastRun(Generic[J]):
    """The run of a queue, which promotes the jobs that this process delays.

    An object of its own, so that senders do not keep the queue alive.
    """

    def __init__(self) -> None:
        self.handle: QueueHandle[J] | None = None
        """Of the last run; None before the first, and once the queue is closed."""

    @property
    def active(self) -> QueueHandle[J] | None:
        """The run, unless it has ended."""
        return None if self.handle is None or self.handle.ended else self.handle

    def here(self) -> QueueHandle[J] | None:
        """The run, if it is one of this event loop."""
        if self.handle is None or self.handle.loop is not asyncio.get_running_loop():
            return None
        return self.handle

    def due_in(self, delay: float) -> None:
        """As `Promoter.due_in`."""
        if (handle := self.here()) is not None:
            handle.due_in(delay)
