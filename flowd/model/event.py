"""Events of queues and jobs, for the log, for metrics and for middleware."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from traceback import format_exc
from typing import Literal, TypeAlias

from flowd.log import Raised, is_wanted, log
from flowd.model.delivery import Delivery
from flowd.model.text import printable

__all__ = ["Event", "EventBus", "EventName", "Listener"]

EventName: TypeAlias = Literal[
    "callback_failed",
    "cancelled",
    "clock_stepped",
    "cron_refused",
    "cron_tick",
    "dead_letter",
    "deleted",
    "done",
    "ended",
    "expired",
    "gate_healed",
    "group_created",
    "group_recreated",
    "lease_lost",
    "loop_lag",
    "lost",
    "middleware_failed",
    "newer_version",
    "outage",
    "progress_refused",
    "reaped",
    "recovery",
    "release",
    "removed",
    "retry",
    "started",
    "stuck",
    "takeover",
]
"""The names of events; docs/reference/log-events.md says what each means and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a job or a queue; `str(event)` is its line in the log."""

    name: EventName
    level: int
    """The level of `logging`."""

    text: str
    """What happened, without the names of the queue and the job."""

    stream: str = ""
    """The queue; empty if it concerns the whole process, as `outage` does."""

    group: str = ""
    job_id: str = ""
    """The job; empty if it concerns the queue."""

    attempt: int = 0
    details: Mapping[str, object]
    """The values in the text by name, as `after` and `error` of a retry."""

    traceback: str = ""
    """The traceback of an exception in user code, without secrets; logged below the line."""

    exception: BaseException | None = field(default=None, compare=False)
    """The exception of a handler; without its frames if its job has secrets."""

    template: str = ""
    """The template of `text` for `%`; constant for all events of the same kind."""

    arguments: tuple[object, ...] = ()
    """The values for `template`."""

    @property
    def place(self) -> str:
        """The queue, the job and the attempt, as the line begins."""
        job = f"{printable(self.job_id)} attempt {self.attempt} " if self.job_id else ""
        return f"{self.stream} {job}" if self.stream else job

    def __str__(self) -> str:
        return f"{self.place}{printable(self.text)}"


Listener: TypeAlias = Callable[[Event], None]
"""Receives events, as `Middleware.on_event`."""


class EventBus:
    """Sends events to the log, and then to the subscribed listeners.

    Args:
        stream: of the queue in which it happens.
        group: likewise.
    """

    def __init__(self, stream: str = "", group: str = "") -> None:
        self._stream = stream
        self._group = group
        self._listening: Counter[Listener] = Counter()

    @classmethod
    def to(cls, stream: str, group: str, listeners: Iterable[Listener]) -> EventBus:
        """One of a queue that has these listeners.

        Args:
            stream: of the queue.
            group: likewise.
            listeners: who gets its events.
        """
        bus = cls(stream, group)
        bus.subscribe(listeners)
        return bus

    def subscribe(self, listeners: Iterable[Listener]) -> None:
        """Add listeners; one that subscribes twice gets each event once, and has to
        unsubscribe twice.
        """
        self._listening.update(listeners)

    def unsubscribe(self, listeners: Iterable[Listener]) -> None:
        """Remove listeners."""
        self._listening -= Counter(listeners)

    def is_enabled(self, level: int) -> bool:
        """Whether an event of this level reaches the log or a listener."""
        return bool(self._listening) or is_wanted(level)

    def emit(
        self,
        level: int,
        name: EventName,
        text: str,
        delivery: Delivery | None = None,
        *,
        filled: tuple[str, ...] = (),
        traceback: str = "",
        exception: BaseException | None = None,
        **details: object,
    ) -> None:
        """Send an event; almost free if neither the log nor a listener wants it.

        Args:
            level: as `Event` says.
            name: likewise.
            text: what happened; with `filled`, a template for `%`.
            delivery: the job it happened to.
            filled: the names of the details that go into the template, in order.
            traceback: as `Event` says.
            exception: likewise.
            details: likewise.
        """
        if not self.is_enabled(level):
            return
        arguments = tuple(details[each] for each in filled)
        if delivery is not None:
            details["deliveries"] = delivery.ordinal
        event = Event(
            name=name,
            level=level,
            text=text % arguments if filled else text,
            stream=self._stream,
            group=self._group,
            job_id="" if delivery is None else delivery.job_id,
            attempt=0 if delivery is None else delivery.attempt,
            details=details,
            traceback=traceback,
            exception=exception,
            template=text if filled else "",
            arguments=arguments,
        )
        _write(event)
        for listener in list(self._listening):
            try:
                listener(event)
            except KeyboardInterrupt:
                raise
            except BaseException:  # a listener must not stop what it watches
                _write(_failed(event, listener))


def _write(event: Event) -> None:
    """Write the event as one line in the log."""
    if not is_wanted(event.level):
        return
    extra: dict[str, object] = {"event": event.name, **event.details}
    if event.stream:
        extra |= {"stream": event.stream, "group": event.group}
    if event.job_id:
        extra |= {"job_id": event.job_id, "attempt": event.attempt}
    template, arguments = _message(event)
    log(event.level, template, *arguments, raised=_raised(event), extra=extra)


def _message(event: Event) -> tuple[str, tuple[object, ...]]:
    """The constant template and its arguments: error trackers group by the template."""
    if event.template:
        shown = (
            printable(each) if isinstance(each, str) else each
            for each in event.arguments
        )
        return f"%s{event.template}", (event.place, *shown)
    below = f"\n{event.traceback}" if event.traceback else ""
    return "%s%s", (event, below)


def _raised(event: Event) -> Raised:
    # Not the error itself, which `logging` would ask whether it is true.
    error = event.exception
    return None if error is None else (type(error), error, error.__traceback__)


def _failed(event: Event, listener: Listener) -> Event:
    name = getattr(listener, "__qualname__", repr(listener))
    return Event(
        name="middleware_failed",
        level=logging.ERROR,
        text=f"{name} failed on the event {event.name}; the job is not affected",
        stream=event.stream,
        group=event.group,
        details={"middleware": name},
        traceback=format_exc().rstrip(),
    )
