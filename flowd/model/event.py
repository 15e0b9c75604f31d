"""What happens to queues and jobs: one shape for the log, for metrics and for users."""

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
    "clock_stepped",
    "dead_letter",
    "deleted",
    "done",
    "ended",
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
    "retry",
    "started",
    "stuck",
    "takeover",
]
"""What may happen; docs/monitoring.md says what each means and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; as text, it is its line in the log."""

    name: EventName
    level: int
    """How grave it is, as `logging` counts."""

    text: str
    """What happened, without the place."""

    stream: str = ""
    """The queue; empty if it concerns the whole process, as `outage` does."""

    group: str = ""
    job_id: str = ""
    """The job; empty if it concerns the queue."""

    attempt: int = 0
    details: Mapping[str, object]
    """The numbers and names in the text, as `after` and `error` of a retry."""

    traceback: str = ""
    """Of what somebody's own code raised, without secrets; in the log, below the line."""

    exception: BaseException | None = field(default=None, compare=False)
    """What a handler raised; without its frames if its job has secrets."""

    template: str = ""
    """What `text` was made of by `%`; the same for all events that read alike."""

    arguments: tuple[object, ...] = ()
    """What `template` was filled with."""

    @property
    def place(self) -> str:
        """The queue, the job and the attempt, as the line begins."""
        job = f"{printable(self.job_id)} attempt {self.attempt} " if self.job_id else ""
        return f"{self.stream} {job}" if self.stream else job

    def __str__(self) -> str:
        return f"{self.place}{printable(self.text)}"


Listener: TypeAlias = Callable[[Event], None]
"""Told what happens, as `Middleware.on_event`."""


class EventBus:
    """Those who are told what happens: the log first, then whoever listens.

    Args:
        stream: of the queue in which it happens.
        group: likewise.
    """

    def __init__(self, stream: str = "", group: str = "") -> None:
        self._stream = stream
        self._group = group
        self._listening: Counter[Listener] = Counter()

    def subscribe(self, listeners: Iterable[Listener]) -> None:
        """Tell these too; one that comes twice is told once, and must leave twice."""
        self._listening.update(listeners)

    def unsubscribe(self, listeners: Iterable[Listener]) -> None:
        """Tell these no longer."""
        self._listening -= Counter(listeners)

    def is_enabled(self, level: int) -> bool:
        """Whether anybody is told of what is as grave as this."""
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
        """Tell all that something happened; costs next to nothing if nobody cares.

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
            details["deliveries"] = delivery.deliveries
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
    """The listener that is always there: one line in the log."""
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
    """The line as a constant and what fills it: error trackers group by the constant."""
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
