"""Tell Redis how far running jobs are: at most once a second, and what was said last."""

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
    """What the handlers of one queue say; costs nothing until one of them does.

    Hooks into *settle* and *renew*.
    """

    def __init__(
        self, stream: Stream, consumer: str, in_flight: InFlight, events: EventBus
    ) -> None:
        self._stream = stream
        self._consumer = consumer
        self._in_flight = in_flight
        self._events = events
        self._said = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._unsaid: dict[Delivery, tuple[str, bytes]] = {}
        self._saying: asyncio.Task[None] | None = None
        self._refused = False

    def report(self, delivery: Delivery, fraction: float, text: str) -> None:
        """Take note, in any thread, of whatever a handler may take for progress."""
        try:
            # `max` comes first: it makes 0 of what is no number.
            share = min(max(0.0, float(fraction)), 1.0)
        except Exception:  # no number, or one with a `__float__` of its own
            share = 0.0
        try:
            words = str(text)[:_MOST].encode("utf-8", "backslashreplace")
        except Exception:
            words = b""
        said = f"{share:.4g}", words
        if threading.get_ident() == self._thread:
            self._note(delivery, said)
        else:
            self._loop.call_soon_threadsafe(self._note, delivery, said)

    def settle_part(self) -> Part | None:
        """Forget what was said of jobs that end."""
        return self._part("settle_progress")

    def renew_part(self) -> Part | None:
        """Keep what was said of jobs that run."""
        return self._part("renew_progress")

    def _part(self, name: str) -> Part | None:
        # What was claimed may have been written of by the consumer before.
        if self._said or self._in_flight.has_claimed:
            return Part(name, keys=(self._stream.keys.progress,))
        return None

    def close(self) -> None:
        """Say nothing more."""
        self._refused = True
        if self._saying is not None:
            self._saying.cancel()

    def _note(self, delivery: Delivery, said: tuple[str, bytes]) -> None:
        if self._refused:
            return
        self._said = True
        self._unsaid[delivery] = said
        if self._saying is None:
            # Of whichever handler is the first to speak, it inherits nothing.
            self._saying = self._loop.create_task(
                self._say(), context=contextvars.Context()
            )

    async def _say(self) -> None:
        while self._unsaid:
            unsaid, self._unsaid = self._unsaid, {}
            try:
                await self._write(unsaid)
            except FatalError as error:
                self._refused = True
                said = f"cannot say how far its jobs are: {error}"
                self._events.emit(logging.WARNING, "progress_refused", said)
                return
            except ServerError:
                pass  # it is said again when there is more to say
            await asyncio.sleep(_PAUSE)
        self._saying = None

    async def _write(self, unsaid: Mapping[Delivery, tuple[str, bytes]]) -> None:
        stream = self._stream
        held = [
            (delivery, said)
            for delivery, said in unsaid.items()
            if self._in_flight.holds(delivery)
        ]
        keys = [stream.keys.stream, stream.keys.progress]
        for at in range(0, len(held), _AT_ONCE):
            some = held[at : at + _AT_ONCE]
            first, last = id_range(delivery.entry_id for delivery, _ in some)
            args: list[Argument] = [stream.group, self._consumer, first, last]
            for delivery, said in some:
                args += (delivery.entry_id, delivery.count, *said)
            await scripts.PROGRESS.run(stream.connection, keys, args, number)
