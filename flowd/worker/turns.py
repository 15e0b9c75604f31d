"""Handlers that go on after a wait: only so much of them in one turn of the event loop.

A thousand handlers that wait for the same moment, and then keep the processor busy for half
a millisecond each, go on in one turn, and hold up all other queues for half a second. Their
task therefore steps through a `PacedCoroutine`. Before each step but the first it asks
whether the handlers of its queue have had their time in this turn; if so, it waits for one
of the next turns, in order. Nothing is slowed down by that: the processor has as much to do.

Only what a handler does in its own task is seen. What it does in tasks that it makes, or in
callbacks, goes on as it comes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, MutableSet
from types import TracebackType
from typing import Final

__all__ = ["PacedCoroutine", "Turns"]

_LONG: Final = 0.010
"""Seconds that handlers may take in one turn, those of all crowded queues together."""

_SAMPLE: Final = 16
"""While steps are short, one handler of so many is watched."""

_WEIGHT: Final = 0.25
"""Of the last turn in the average."""


class Turns:
    """What the handlers of one queue may take of a turn of the event loop.

    Args:
        crowded: the queues of this loop whose handlers wait for a turn; all share the time.
        has_neighbours: whether other queues run on this loop.
        concurrency: how many handlers may go on in one turn.
    """

    def __init__(
        self,
        crowded: MutableSet[Turns],
        has_neighbours: Callable[[], bool],
        concurrency: int,
    ) -> None:
        self._crowded = crowded
        self.has_neighbours = has_neighbours
        self._short = _LONG / concurrency
        """Steps of so many seconds hold nothing up, though all are taken in one turn."""

        self._average = math.inf
        self._unwatched = 0
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._again: deque[asyncio.Future[None]] = deque()
        """Of those that were let go on in a turn that did not hold all of them."""

        self._share = _LONG
        self._used = 0.0
        self._steps = 0
        self._has_begun = False

    def watches(self) -> bool:
        """Whether the steps of the handler that begins now are to wait for their turns."""
        if self._average > self._short:
            return True
        self._unwatched += 1
        if self._unwatched < _SAMPLE:
            return False
        self._unwatched = 0
        return True

    def wait(self, *, again: bool) -> asyncio.Future[None] | None:
        """What to wait for before the next step; None: it may be taken now.

        Args:
            again: whether it has waited for this turn.
        """
        if self._used < self._share and (again or not self._is_crowded):
            return None
        turn = self._loop.create_future()
        (self._again if again else self._waiting).append(turn)
        self._crowded.add(self)
        return turn

    def note(self, seconds: float) -> None:
        """A step after a wait took so long."""
        self._used += seconds
        self._steps += 1
        if not self._has_begun:
            self._has_begun = True
            self._loop.call_soon(self._end)

    @property
    def _is_crowded(self) -> bool:
        return bool(self._again or self._waiting)

    def _end(self) -> None:
        """Let the next ones go on: twice as many as are likely to have the time."""
        self._share = _LONG / max(len(self._crowded), 1)
        many = 1
        if self._used:
            step = self._used / self._steps
            many += int(2 * self._share / step)
            if math.isinf(self._average):
                self._average = step
            self._average += _WEIGHT * (step - self._average)
        self._used, self._steps = 0.0, 0
        while self._is_crowded and many:
            turn = (self._again or self._waiting).popleft()
            if not turn.done():  # else its task was cancelled
                turn.set_result(None)
                many -= 1
        if many:
            self._crowded.discard(self)
            self._has_begun = False
        else:
            # After those that go on now.
            self._loop.call_soon(self._end)


class PacedCoroutine(Coroutine[object, None, None]):
    """A coroutine for a task, of which each step waits for its turn once it has begun.

    Args:
        coroutine: what the task runs; its frames are shown as those of the task.
        turns: of the queue.
        beginning: how many steps it takes to begin, which are not held up here.
    """

    __slots__ = ("_beginning", "_coroutine", "_has_waited", "_turns")

    def __init__(
        self, coroutine: Coroutine[object, None, None], turns: Turns, beginning: int
    ) -> None:
        self._coroutine = coroutine
        self._turns = turns
        self._beginning = beginning
        self._has_waited = False

    def send(self, value: None) -> object:
        """Take a step, or wait for the turn to take it."""
        if self._beginning:
            self._beginning -= 1
            return self._coroutine.send(value)
        if (turn := self._turns.wait(again=self._has_waited)) is not None:
            self._has_waited = True
            return next(turn.__await__())
        self._has_waited = False
        began = time.monotonic()
        try:
            return self._coroutine.send(value)
        finally:
            self._turns.note(time.monotonic() - began)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: object = None,
        tb: TracebackType | None = None,
        /,
    ) -> object:
        """Take a step with an error, at once: a handler that is cancelled is to end."""
        del val, tb  # a task gives the error itself
        self._beginning, self._has_waited = 0, False
        return self._coroutine.throw(typ)

    def close(self) -> None:
        """As of any coroutine."""
        self._coroutine.close()

    def __await__(self) -> Generator[object, None, None]:
        """As of any coroutine; a task takes the steps itself."""
        return (yield from self._coroutine.__await__())

    def __getattr__(self, name: str) -> object:
        """Its frame and what it awaits (`cr_frame`, `cr_await`), for those who show stacks."""
        return getattr(self._coroutine, name)
