"""OpenTelemetry metrics, as a middleware.

    queue = Queue(Email, send, middleware=[Metering()])

Names and attributes follow the semantic conventions for messaging; what these have no name
for begins with `flowd.`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

try:
    from opentelemetry import metrics
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "flowd.metering needs the extra `otel`: pip install opentelemetry-api",
        name=error.name,
    ) from None

from flowd import conventions
from flowd.conventions import ERROR, Attributes
from flowd.errors import BulkError
from flowd.model.context import Context
from flowd.model.event import Event, EventName
from flowd.model.item import Item
from flowd.model.job import Job
from flowd.model.middleware import Middleware, Run, Send
from flowd.model.timing import WAIT_BOUNDS

__all__ = ["Metering"]

_DURATIONS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
"""As the conventions advise."""

_SETTLED: Final[Mapping[EventName, str]] = {
    "done": "done",
    "retry": "retried",
    "release": "released",
    "dead_letter": "dead_lettered",
    "cancelled": "cancelled",
    "expired": "expired",
}


class Metering(Middleware):
    """Counts and times jobs; one object for all queues and producers of a process.

    Args:
        meter_provider: receives the measurements; None means the global one.
        url: of the server, for `server.address` and `server.port`; None: without them.

    Raises:
        ModuleNotFoundError: on import, if opentelemetry-api is not installed.
        OptionError: `meter_provider` is none, or the URL is none that `Queue` takes.
    """

    def __init__(
        self,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        url: str | None = None,
    ) -> None:
        self._server = conventions.server_of(url)
        conventions.check_provider(
            "meter_provider", meter_provider, metrics.MeterProvider
        )
        meter = metrics.get_meter("flowd", meter_provider=meter_provider)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages",
            "{message}",
            "Jobs that this process enqueued.",
        )
        self._operation = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "Duration of an enqueue, of one job or in bulk.",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            "{message}",
            "Jobs that were given to a handler, each attempt anew.",
        )
        self._process = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of a handler.",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._wait = meter.create_histogram(
            "flowd.job.wait.duration",
            "s",
            "Time in the queue, from when a job could first run, or again, to its handler's start.",
            explicit_bucket_boundaries_advisory=WAIT_BOUNDS,
        )
        self._settled = meter.create_counter(
            "flowd.job.settled",
            "{job}",
            "What became of jobs that this process had: flowd.job.outcome is done, retried,"
            " released, dead_lettered, cancelled or expired.",
        )

    async def enqueue(
        self, stream: str, items: Iterable[Item[Job]], send: Send
    ) -> list[str]:
        """Count what was sent, also of a bulk that broke off, and time the call."""
        own = self._server | conventions.of_enqueue(stream)
        passed: list[Attributes] = []
        began = time.perf_counter()
        stored, failed = 0, Attributes()
        try:
            ids = await send(_noted(items, passed))
            stored = len(ids)
            return ids
        except Exception as error:
            stored = len(error.ids) if isinstance(error, BulkError) else 0
            failed = {ERROR: conventions.failure_of(error)}
            raise
        finally:
            took = time.perf_counter() - began
            self._operation.record(took, own | failed)
            self._count_sent(own, passed[:stored])

    def _count_sent(self, own: Attributes, labels: list[Attributes]) -> None:
        """Jobs of one class without labels are one measurement."""
        if any(labels):
            for each in labels:
                self._sent.add(1, {**own, **each})
        elif labels:
            self._sent.add(len(labels), own)

    async def handle(self, job: Job, ctx: Context, run: Run) -> object:
        """Time the handler, and how long its job was in the queue."""
        own = self._server | conventions.of_attempt(ctx) | conventions.labels(job)
        self._consumed.add(1, own)
        waited = time.time() - ctx.queued_at.timestamp()
        self._wait.record(max(0.0, waited), own)
        failed = Attributes()
        began = time.perf_counter()
        try:
            return await run()
        except BaseException as error:
            if kind := conventions.error_of(error, ctx):
                failed[ERROR] = kind
            raise
        finally:
            self._process.record(time.perf_counter() - began, own | failed)

    def on_event(self, event: Event) -> None:
        """Count what became of a job."""
        outcome = _SETTLED.get(event.name)
        if outcome is None:
            return
        own = self._server | {
            "messaging.system": "flowd",
            "messaging.destination.name": event.stream,
            "messaging.consumer.group.name": event.group,
            "flowd.job.outcome": outcome,
        }
        if event.name == "dead_letter":
            own["flowd.job.reason"] = str(event.details.get("reason"))
        self._settled.add(1, own)


def _noted(items: Iterable[Item[Job]], passed: list[Attributes]) -> Iterator[Item[Job]]:
    """The items; `passed` takes the labels of each, in the order of their ids."""
    for item in items:
        passed.append(conventions.labels(item.job))
        yield item
