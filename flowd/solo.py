"""Let a suspect run alone in its process.

A payload that kills its worker takes the neighbours' delivery counts with it, and
before long they look as guilty. So a job that two workers have died of, or seem to, runs
while nothing else of its process does: if this one dies too, it convicts one job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from flowd.delivery import Delivery
from flowd.lease import Holder

__all__ = ["Solo"]


class _Queue(Protocol):
    """A queue that makes room for a suspect of another one."""

    def make_room(self) -> None:
        """Take no more entries until `go_on`."""
        ...

    def go_on(self) -> None:
        """Take entries again."""
        ...


class Solo:
    """The one suspect of a process, for whom all its queues make room.

    Args:
        holders: of every queue that runs; they change while this lives.
    """

    def __init__(self, holders: Sequence[Holder]) -> None:
        self._holders = holders
        self._queues: list[_Queue] = []
        self._suspect: Delivery | None = None
        self._start: Callable[[], None] | None = None
        self._patience: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a suspect waits or runs: nothing else may begin."""
        return self._suspect is not None

    def join(self, queue: _Queue) -> None:
        """A queue runs from now on."""
        self._queues.append(queue)

    def part(self, queue: _Queue) -> None:
        """A queue has ended."""
        self._queues.remove(queue)
        self.look()

    def admit(
        self,
        suspect: Delivery,
        start: Callable[[], None],
        give_up: Callable[[], None],
        patience: float,
    ) -> None:
        """Start a suspect as soon as nothing else is held.

        Args:
            suspect: held, and not started.
            start: starts it.
            give_up: hands it back, because the others did not end in time.
            patience: how many seconds they have.
        """

        def too_late() -> None:
            self._start = None
            give_up()

        self._suspect, self._start = suspect, start
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(patience, too_late)
        for queue in self._queues:
            queue.make_room()
        # Not yet: what came in the same answer is held in a moment, and waited for.
        loop.call_soon(self.look)

    def look(self) -> None:
        """Something is not held any more: it may be the suspect's turn, or its end."""
        if self._suspect is None:
            return
        held = [
            each
            for holder in self._holders
            for each in holder.held.values()
            if each not in holder.apart
        ]
        if self._suspect not in held:
            self._stop_waiting()
            self._suspect = None
            for queue in self._queues:
                queue.go_on()
        elif self._start is not None and len(held) == 1:
            start = self._start
            self._stop_waiting()
            start()

    def withdraw(self, suspect: Delivery) -> bool:
        """Start it no more; False if it has started or is another."""
        if suspect is not self._suspect or self._start is None:
            return False
        self._stop_waiting()
        return True

    def _stop_waiting(self) -> None:
        self._start = None
        if self._patience is not None:
            self._patience.cancel()
