"""Call the user's `on_dead_letter` and `on_cancelled`, after the job is settled."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from flowd.errors import DecodeError
from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.model.event import EventBus
from flowd.model.job import Job, decode
from flowd.model.letter import letter_of
from flowd.worker.failure import Failure
from flowd.worker.handler import in_task
from flowd.worker.options import QueueOptions

__all__ = ["JobCallbacks"]

J = TypeVar("J", bound=Job)


class JobCallbacks(Generic[J]):
    """The callbacks of one queue, each call in a task of its own."""

    def __init__(
        self, options: QueueOptions[J], consumer: str, events: EventBus
    ) -> None:
        self._events = events
        self._on_dead_letter = options.on_dead_letter
        self._on_cancelled = options.on_cancelled
        self._job_class = options.job_class
        self._consumer = consumer
        self._calls: set[asyncio.Task[None]] = set()

    def dead_letter(
        self, delivery: Delivery, end: outcome.DeadLetter, letter_id: bytes
    ) -> None:
        """Call back about a letter that was stored."""
        if self._on_dead_letter is None:
            return
        letter = letter_of(letter_id, delivery, end, self._consumer, self._job_class)
        call = partial(self._on_dead_letter, letter)
        self._start(call, delivery, partial(self._letter_failed, letter.id))

    def cancelled(self, delivery: Delivery) -> None:
        """Call back about a job that is settled as cancelled, unless it is no job."""
        if self._on_cancelled is None:
            return
        try:
            job = decode(self._job_class, delivery.fields)
        except DecodeError:
            return
        call = partial(self._on_cancelled, job)
        self._start(call, delivery, partial(self._cleanup_failed, delivery.job_id))

    async def finish(self) -> None:
        """Return when every callback has returned."""
        if self._calls:
            await asyncio.wait(list(self._calls))

    def _start(
        self,
        call: Callable[[], object],
        delivery: Delivery,
        failed: Callable[[Failure], None],
    ) -> None:
        task = asyncio.get_running_loop().create_task(
            self._call(call, delivery, failed)
        )
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(
        self,
        call: Callable[[], object],
        delivery: Delivery,
        failed: Callable[[Failure], None],
    ) -> None:
        try:
            result = call()
            if inspect.isawaitable(result):
                await result
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too, which would end the loop
            if not in_task(self._calls):
                raise  # the loop is gone, and Python takes the coroutine down
            # The job is settled, so nothing is lost by this.
            own = (__file__,)
            failure = Failure(error, self._job_class, delivery.fields, own=own)
            failed(failure)

    def _letter_failed(self, letter_id: str, failure: Failure) -> None:
        self._events.emit(
            logging.ERROR,
            "callback_failed",
            "on_dead_letter failed for letter %s, which is kept: %s",
            filled=("letter", "error"),
            exception=failure.shown,
            letter=letter_id,
            error=failure.text,
        )

    def _cleanup_failed(self, job_id: str, failure: Failure) -> None:
        self._events.emit(
            logging.ERROR,
            "callback_failed",
            "on_cancelled failed for job %s, which is cancelled: %s",
            filled=("job", "error"),
            exception=failure.shown,
            job=job_id,
            error=failure.text,
        )
