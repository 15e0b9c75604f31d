"""Tell the user's `on_dead_letter`, after the letter is stored."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Callable
from itertools import chain
from typing import Generic, TypeVar

from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.model.event import Witnesses
from flowd.model.job import Job
from flowd.model.letter import Letter, letter_fields, read_letter
from flowd.model.redaction import without_secrets

__all__ = ["Announcer"]

J = TypeVar("J", bound=Job)


class Announcer(Generic[J]):
    """Calls back for each dead letter of one queue, each in a task of its own."""

    def __init__(
        self,
        callback: Callable[[Letter[J]], object] | None,
        job_class: type[J],
        consumer: str,
        witnesses: Witnesses,
    ) -> None:
        self._witnesses = witnesses
        self._callback = callback
        self._job_class = job_class
        self._consumer = consumer
        self._calls: set[asyncio.Task[None]] = set()

    def announce(
        self, delivery: Delivery, end: outcome.DeadLetter, letter_id: bytes
    ) -> None:
        """Call back about a letter that was stored."""
        if self._callback is None:
            return
        own = letter_fields(delivery, end, self._consumer)
        flat = [*chain.from_iterable(delivery.fields.items()), *own]
        letter = read_letter(letter_id, flat, self._job_class)
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
        except Exception:  # the letter is stored, so nothing is lost by this
            text = traceback.format_exc().rstrip()
            self._witnesses.say(
                logging.ERROR,
                "callback_failed",
                f"on_dead_letter failed for letter {letter.id}; the letter is kept",
                traceback=without_secrets(text, self._job_class, letter.fields),
                letter=letter.id,
            )
