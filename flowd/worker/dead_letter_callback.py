"""Call the user's `on_dead_letter`, after the letter is stored."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.model.event import EventBus
from flowd.model.job import Job
from flowd.model.letter import Letter, letter_of
from flowd.worker.failure import Failure
from flowd.worker.handler import in_task

__all__ = ["DeadLetterCallback"]

J = TypeVar("J", bound=Job)


class DeadLetterCallback(Generic[J]):
    """Calls back for each dead letter of one queue, each in a task of its own."""

    def __init__(
        self,
        callback: Callable[[Letter[J]], object] | None,
        job_class: type[J],
        consumer: str,
        events: EventBus,
    ) -> None:
        self._events = events
        self._callback = callback
        self._job_class = job_class
        self._consumer = consumer
        self._calls: set[asyncio.Task[None]] = set()

    def notify(
        self, delivery: Delivery, end: outcome.DeadLetter, letter_id: bytes
    ) -> None:
        """Call back about a letter that was stored."""
        if self._callback is None:
            return
        letter = letter_of(letter_id, delivery, end, self._consumer, self._job_class)
        call = asyncio.get_running_loop().create_task(
            self._call(self._callback, letter)
        )
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def finish(self) -> None:
        """Return when every callback has returned."""
        if self._calls:
            await asyncio.wait(list(self._calls))

    async def _call(
        self, callback: Callable[[Letter[J]], object], letter: Letter[J]
    ) -> None:
        try:
            result = callback(letter)
            if inspect.isawaitable(result):
                await result
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too, which would end the loop
            if not in_task(self._calls):
                raise  # the loop is gone, and Python takes the coroutine down
            # The letter is stored, so nothing is lost by this.
            failure = Failure(error, self._job_class, letter.fields, own=(__file__,))
            self._events.emit(
                logging.ERROR,
                "callback_failed",
                "on_dead_letter failed for letter %s, which is kept: %s",
                filled=("letter", "error"),
                exception=failure.shown,
                letter=letter.id,
                error=failure.text,
            )
