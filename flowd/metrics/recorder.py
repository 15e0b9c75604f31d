"""The middleware that counts."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, TypeAlias

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "flowd.metrics needs the extra `metrics`: pip install prometheus-client",
        name=error.name,
    ) from None

from flowd.errors import BulkError
from flowd.metrics.table import COUNTERS, DURATION, ENQUEUED, Metric
from flowd.model.context import Context
from flowd.model.event import Event
from flowd.model.item import Item
from flowd.model.job import Job
from flowd.model.middleware import Middleware, Run, Send

__all__ = ["Metrics"]

_Shown: TypeAlias = Counter | Histogram

_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class Metrics(Middleware):
    """Counts what happens and times handlers; one object for all queues of a process.

    Args:
        registry: where the metrics are shown.

    Raises:
        ValueError: the registry has these metrics already: share the object.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        """Where the metrics are."""

        counters = {
            metric: Counter(metric.name, metric.help, metric.labels, registry=registry)
            for metric in COUNTERS
        }
        self._enqueued = counters[ENQUEUED]
        self._of_events: dict[str, list[tuple[Metric, Counter]]] = defaultdict(list)
        for metric, counter in counters.items():
            for name in metric.events:
                self._of_events[name].append((metric, counter))
        self._duration = Histogram(
            DURATION.name,
            DURATION.help,
            DURATION.labels,
            buckets=_BUCKETS,
            registry=registry,
        )
        every: list[tuple[Metric, _Shown]] = [*counters.items()]
        every.append((DURATION, self._duration))
        self._begins: dict[str, list[tuple[Metric, _Shown]]] = defaultdict(list)
        for metric, shown in every:
            if metric.labels:
                self._begins[metric.begins].append((metric, shown))

    async def enqueue(
        self, stream: str, items: Iterable[Item[Job]], send: Send
    ) -> list[str]:
        """Count what was sent, also of a bulk that broke off."""
        try:
            ids = await send(items)
        except BulkError as error:
            self._enqueued.labels(stream).inc(len(error.ids))
            raise
        self._enqueued.labels(stream).inc(len(ids))
        return ids

    async def handle(self, job: Job, ctx: Context, run: Run) -> object:  # noqa: ARG002
        """Time the handler."""
        began = time.perf_counter()
        result = "raised"
        try:
            value = await run()
            result = "returned"
            return value
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        finally:
            took = time.perf_counter() - began
            self._duration.labels(ctx.stream, result).observe(took)

    def on_event(self, event: Event) -> None:
        """Count it."""
        for metric, shown in self._begins.get(event.name, ()):
            *values, last = _values(metric, event)
            for kind in metric.kinds or (last,):
                shown.labels(*values, kind)
        for metric, counter in self._of_events.get(event.name, ()):
            values = _values(metric, event)
            (counter.labels(*values) if values else counter).inc()


def _values(metric: Metric, event: Event) -> list[str]:
    """Of its labels."""
    return [
        event.stream if label == "stream" else str(event.details.get(label))
        for label in metric.labels
    ]
