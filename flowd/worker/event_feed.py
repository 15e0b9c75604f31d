"""Publish the events of a queue for `flowd tail`; costs nothing without a subscriber.

The maintain script answers at least every 2 seconds whether a client listens.
It publishes what the log gets: no fields of jobs, and no secrets.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

from flowd.broker.connection import Connection
from flowd.broker.scripts import Part
from flowd.model.event import Event, EventBus

__all__ = ["EventFeed"]

_MOST: Final = 1_000
_LONGEST: Final = 500


class EventFeed:
    """Publishes the events of one queue, those of one turn together.

    Hooks into *maintain*. It is not part of the path: nothing waits for it, and events that
    cannot be published are dropped.

    Args:
        connection: which is used for it.
        channel: where to; a message is lines of JSON.
        consumer: the name of this worker, in every message.
        events: its event bus, to which the feed subscribes.
    """

    def __init__(
        self, connection: Connection, channel: str, consumer: str, events: EventBus
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._consumer = consumer
        self._events = events
        self._followed = False
        self._lines: list[str] = []
        self._left_out = 0
        self._busy = False
        self._closed = False

    def maintain_part(self) -> Part:
        """Ask how many clients follow the queue."""
        return Part("maintain_event_feed", args=(self._channel,))

    def maintained(self, answer: int) -> None:
        """So many follow the queue now."""
        followed = answer > 0 and not self._closed
        if followed and not self._followed:
            self._events.subscribe([self._on_event])
        elif self._followed and not followed:
            self._events.unsubscribe([self._on_event])
        self._followed = followed

    def close(self) -> None:
        """Publish the events that are held, and none after them."""
        self._closed = True
        self.maintained(0)
        if self._lines:
            self._publish()

    def _on_event(self, event: Event) -> None:
        if len(self._lines) >= _MOST:
            self._left_out += 1
            return
        self._add(event.name, event.job_id, event.attempt, event.text)
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _add(self, name: str, job_id: str, attempt: int, text: str) -> None:
        said = {
            "event": name,
            "job": job_id[:_LONGEST],
            "attempt": attempt,
            "consumer": self._consumer,
            "text": text[:_LONGEST],
        }
        self._lines.append(json.dumps(said, separators=(",", ":")))

    def _publish(self) -> None:
        if self._left_out:
            text = f"{self._left_out} events were left out: too many at once"
            self._add("left_out", "", 0, text)
            self._left_out = 0
        lines, self._lines = self._lines, []
        if lines:
            message = "\n".join(lines)
            published = self._connection.call("PUBLISH", self._channel, message)
            published.add_done_callback(self._published)

    def _published(self, published: asyncio.Future[object]) -> None:
        self._busy = False
        if published.cancelled() or published.exception() is not None:
            # The next maintenance says whether a client still follows.
            self.maintained(0)
            self._lines.clear()
        elif self._lines:
            self._busy = True
            self._publish()
