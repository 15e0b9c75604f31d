"""A middleware that keeps the events of queues."""

from __future__ import annotations

from flowd import Event, Middleware

__all__ = ["Seen"]


class Seen(Middleware):
    """Keeps the events of queues, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def named(self, name: str) -> list[Event]:
        """Those of one kind."""
        return [each for each in self.events if each.name == name]
