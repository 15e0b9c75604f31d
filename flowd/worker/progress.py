"""Write to Redis how far running jobs are: at most once a second, the latest report of each."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Mapping
from typing import Final

from flowd.broker import scripts
from flowd.broker.connection import Argument
from flowd.broker.replies import number
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.errors import FatalError, ServerError
from flowd.model.delivery import Delivery, id_range
from flowd.model.event import EventBus
from flowd.worker.in_flight import InFlight

__all__ = ["ProgressBoard"]

_PAUSE: Final = 1.0
_MOST: Final = 200
_AT_ONCE: Final = 500


class ProgressBoard:
    """The progress that handlers of one queue report; costs nothing until one of them does.

    Hooks into *settle* and *renew*.
    """

    def __init__(
        self, stream: Stream, consumer: str, in_flight: InFlight, events: EventBus
    ) -> None:
        self._stream = stream
        self._consumer = consumer
        self._in_flight = in_flight
        self._events = events
        self._reported = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pending: dict[Delivery, tuple[str, bytes]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    def report(self, delivery: Delivery, fraction: float, text: str) -> None:
        """Take a report, in any thread; a wrong value is corrected and fails no job."""
        try:
            # `max` comes first: it makes 0 of what is no number.
            share = min(max(0.0, float(fraction)), 1.0)
        except Exception:  # no number; a `__float__` of the user's may raise anything
            share = 0.0
        try:
            words = str(text)[:_MOST].encode("utf-8", "backslashreplace")
        except Exception:  # likewise a `__str__`
            words = b""
        progress = f"{share:.4g}", words
        if threading.get_ident() == self._thread:
            self._note(delivery, progress)
        else:
            self._loop.call_soon_threadsafe(self._note, delivery, progress)

    def settle_part(self) -> Part | None:
        """Delete the progress of jobs that end."""
        return self._part("settle_progress")

    def renew_part(self) -> Part | None:
        """Keep the progress of jobs that run."""
        return self._part("renew_progress")

    def _part(self, name: str) -> Part | None:
        # The worker that held a claimed delivery before may have written its progress.
        if self._reported or self._in_flight.has_claimed:
            return Part(name, keys=(self._stream.keys.progress,))
        return None

    def close(self) -> None:
        """Write nothing more."""
        self._closed = True
        if self._writing is not None:
            self._writing.cancel()

    def _note(self, delivery: Delivery, progress: tuple[str, bytes]) -> None:
        if self._closed:
            return
        self._reported = True
        self._pending[delivery] = progress
        if self._writing is None:
            # It must not inherit the context of the handler that reports first.
            self._writing = self._loop.create_task(
                self._write_pending(), context=contextvars.Context()
            )

    async def _write_pending(self) -> None:
        while self._pending:
            pending, self._pending = self._pending, {}
            try:
                await self._write(pending)
            except FatalError as error:
                self._closed = True
                text = f"cannot say how far its jobs are: {error}"
                self._events.emit(logging.WARNING, "progress_refused", text)
                return
            except ServerError:
                pass  # the next report is written; the queue's loop reports the outage
            await asyncio.sleep(_PAUSE)
        self._writing = None

    async def _write(self, pending: Mapping[Delivery, tuple[str, bytes]]) -> None:
        stream = self._stream
        held = [
            (delivery, progress)
            for delivery, progress in pending.items()
            if self._in_flight.holds(delivery)
        ]
        keys = [stream.keys.stream, stream.keys.progress]
        for at in range(0, len(held), _AT_ONCE):
            some = held[at : at + _AT_ONCE]
            first, last = id_range([delivery.entry_id for delivery, _ in some])
            args: list[Argument] = [stream.group, self._consumer, first, last]
            for delivery, progress in some:
                args += (delivery.entry_id, delivery.count, *progress)
            await scripts.PROGRESS.run(stream.connection, keys, args, number)
