"""The middleware that counts."""

from __future__ import annotations

import asyncio
import platform
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "flowd.metrics needs the extra `metrics`: pip install prometheus-client",
        name=error.name,
    ) from None

from flowd.errors import BulkError
from flowd.errors.option import instance
from flowd.metrics.labelled import Labelled
from flowd.metrics.table import COUNTERS, DURATION, ENQUEUED, INFO, WAIT, Metric
from flowd.model.context import Context
from flowd.model.event import Event
from flowd.model.item import Item
from flowd.model.job import Job
from flowd.model.labels import labels_of
from flowd.model.middleware import Middleware, Run, Send
from flowd.model.timing import WAIT_BOUNDS
from flowd.model.version import flowd_version

__all__ = ["Metrics"]

_Shown: TypeAlias = Counter | Labelled[Counter] | Labelled[Histogram]

_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class Metrics(Middleware):
    """Counts what happens and times handlers; one object for all queues of a process.

    Args:
        registry: where the metrics are shown.

    Raises:
        OptionError: it is no registry.
        ValueError: the registry has these metrics already: share the object.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        rule = "must be a CollectorRegistry of prometheus_client"
        instance("registry", registry, CollectorRegistry, rule, shown=False)
        self.registry = registry
        """Where the metrics are."""

        counters = {
            metric: Counter(metric.name, metric.help, metric.labels, registry=registry)
            for metric in COUNTERS
            if metric is not ENQUEUED
        }
        self._of_events: dict[str, list[tuple[Metric, Counter]]] = defaultdict(list)
        for metric, counter in counters.items():
            for name in metric.events:
                self._of_events[name].append((metric, counter))
        self._enqueued = Labelled(ENQUEUED, _enqueued, registry)
        self._duration = Labelled(DURATION, _duration, registry)
        self._wait = Labelled(WAIT, _wait, registry)
        info = Gauge(INFO.name, INFO.help, INFO.labels, registry=registry)
        info.labels(flowd_version(), platform.python_version()).set(1)
        # The group of a stream, for what is counted where only the stream is known.
        self._groups: dict[str, str] = {}
        every: list[tuple[Metric, _Shown]] = [*counters.items()]
        every += [(ENQUEUED, self._enqueued)]
        every += [(DURATION, self._duration), (WAIT, self._wait)]
        self._begins: dict[str, list[tuple[Metric, _Shown]]] = defaultdict(list)
        for metric, shown in every:
            if metric.labels:
                self._begins[metric.begins].append((metric, shown))

    async def enqueue(
        self, stream: str, items: Iterable[Item[Job]], send: Send
    ) -> list[str]:
        """Count what was sent, also of a bulk that broke off."""
        stored = 0
        sent: list[Mapping[str, str]] = []
        try:
            ids = await send(self._noted(stream, items, sent))
            stored = len(ids)
            return ids
        except BulkError as error:
            stored = len(error.ids)
            raise
        finally:
            if stored:
                self._count(stream, stored, sent)

    def _noted(
        self, stream: str, items: Iterable[Item[Job]], sent: list[Mapping[str, str]]
    ) -> Iterator[Item[Job]]:
        """The items; a producer knows the group of a stream from their class.

        `sent` takes the labels of each, in the order of their ids.
        """
        for item in items:
            spec = type(item.job).SPEC
            if stream not in self._groups:
                self._groups[stream] = spec.policy.group
            if spec.labels:
                sent.append(labels_of(item.job))
            yield item

    def _count(self, stream: str, stored: int, sent: list[Mapping[str, str]]) -> None:
        group = self._groups[stream]
        if not sent:
            self._enqueued.labels(stream, group).inc(stored)
        for own in sent[:stored]:
            self._enqueued.labels(stream, group, own=own).inc()

    async def handle(self, job: Job, ctx: Context, run: Run) -> object:
        """Time the handler, and how long its job was in the queue."""
        began = time.perf_counter()
        group = self._groups.get(ctx.stream, "")
        waited = time.time() - ctx.queued_at.timestamp()
        own = labels_of(job)
        self._wait.labels(ctx.stream, group, own=own).observe(max(0.0, waited))
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
            self._duration.labels(ctx.stream, group, result, own=own).observe(took)

    def on_event(self, event: Event) -> None:
        """Count it."""
        if event.name == "started":
            self._groups[event.stream] = event.group
        for metric, shown in self._begins.get(event.name, ()):
            values = _values(metric, event)
            if not metric.kinds:
                shown.labels(*values)
            for kind in metric.kinds:
                shown.labels(*values[:-1], kind)
        for metric, counter in self._of_events.get(event.name, ()):
            values = _values(metric, event)
            (counter.labels(*values) if values else counter).inc()


def _enqueued(labels: tuple[str, ...]) -> Counter:
    return Counter(ENQUEUED.name, ENQUEUED.help, labels, registry=None)


def _duration(labels: tuple[str, ...]) -> Histogram:
    name, text = DURATION.name, DURATION.help
    return Histogram(name, text, labels, buckets=_BUCKETS, registry=None)


def _wait(labels: tuple[str, ...]) -> Histogram:
    name, text = WAIT.name, WAIT.help
    return Histogram(name, text, labels, buckets=WAIT_BOUNDS, registry=None)


def _values(metric: Metric, event: Event) -> list[str]:
    """Of its labels."""
    own = {"queue": event.stream, "group": event.group}
    return [
        own[label] if label in own else str(event.details.get(label))
        for label in metric.labels
    ]
