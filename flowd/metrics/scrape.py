"""What Prometheus is shown: what was counted, and what queues hold at this moment."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Final, TypeAlias, cast

from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from flowd.broker.server_time import server_time
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.errors import ServerError
from flowd.metrics import table
from flowd.model.version import flowd_version
from flowd.ops.consumers import ConsumerState
from flowd.ops.overview import QueueView, queue_view
from flowd.ops.queries import Queries

__all__ = [
    "Place",
    "depths",
    "exposition",
    "queue_registry",
    "server_exposition",
    "text_of",
]

Place: TypeAlias = tuple[Address, str, str]
"""Server, stream and group of a queue."""

_LEASE: Final = 30.0


async def exposition(
    registry: CollectorRegistry, places: Iterable[Place], *, within: float = 2.0
) -> bytes:
    """The text that `/metrics` shows; a server that is away raises nothing.

    Args:
        registry: what was counted.
        places: the queues to be looked at; one that is named twice is shown once.
        within: seconds that Redis may take. A queue without an answer by then shows
            only `flowd_queue_up`, as 0.
    """
    queues = await queue_registry(places, within=within)
    return text_of(registry) + text_of(queues)


async def server_exposition(
    address: Address, places: Iterable[Place], *, up: bool, within: float = 2.0
) -> bytes:
    """The text that `flowd exporter` shows: whether a server answers, and its queues.

    Args:
        address: the server's.
        places: its queues.
        up: whether it answered when it was asked which queues it has.
        within: as in `exposition`.
    """
    own = CollectorRegistry()
    server = Gauge(*_of(table.SERVER_UP), registry=own)
    server.labels(str(address)).set(up)
    info = Gauge(*_of(table.INFO), registry=own)
    info.labels(flowd_version(), platform.python_version()).set(1)
    return await exposition(own, places, within=within)


def _of(metric: table.Metric) -> tuple[str, str, tuple[str, ...]]:
    return metric.name, metric.help, metric.labels


def text_of(registry: Collector) -> bytes:
    """The text of metrics for Prometheus, without when each was created.

    That is a series more for each counter, which nothing reads.
    """
    return generate_latest(_Lasting(registry))


class _Lasting(CollectorRegistry):
    """The metrics of another registry, without their `_created` samples."""

    def __init__(self, of: Collector) -> None:
        super().__init__()
        self._of = of

    def collect(self) -> Iterator[Metric]:
        for metric in self._of.collect():
            samples = [
                each for each in metric.samples if not each.name.endswith("_created")
            ]
            kept = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            kept.samples = samples
            yield kept


async def depths(
    places: Iterable[Place], *, within: float = 2.0
) -> dict[str, int | None]:
    """How many jobs wait or run, by stream; None of a queue that cannot be seen."""
    views = await _views(places, within)
    return {
        stream: None if view is None else view.waiting + view.running
        for (_, stream, _), view in views.items()
    }


async def queue_registry(
    places: Iterable[Place], *, within: float = 2.0
) -> CollectorRegistry:
    """The gauges of queues, read from Redis just now, as in `exposition`."""
    queues = CollectorRegistry()
    queues.register(_Gauges(await _views(places, within)))
    return queues


async def _views(
    places: Iterable[Place], within: float
) -> dict[Place, QueueView | None]:
    """What each queue holds, all asked at once; None of one that does not answer."""
    wanted = list(dict.fromkeys(places))
    views = await asyncio.gather(*(_view(place, within) for place in wanted))
    return dict(zip(wanted, views, strict=True))


async def _view(place: Place, within: float) -> QueueView | None:
    address, stream, group = place
    async with connected(address) as connection:
        try:
            async with asyncio.timeout(within):
                queries = Queries(connection, stream, group)
                now = await server_time(queries.connection)
                return await queue_view(queries, now, lease=_LEASE, runs=0)
        except (ServerError, TimeoutError):
            return None


class _Gauges(Collector):
    """What was read, as Prometheus collects it."""

    def __init__(self, views: Mapping[Place, QueueView | None]) -> None:
        self._views = views

    def collect(self) -> Iterator[Metric]:
        for metric in table.GAUGES:
            made = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
            family = made(metric.name, metric.help, labels=metric.labels)
            for (address, stream, group), view in self._views.items():
                place = (str(address), stream, group)
                for kinds, value in _values(metric, view).items():
                    family.add_metric([*place, *kinds], value)
            yield family


def _values(
    metric: table.Metric, view: QueueView | None
) -> Mapping[tuple[str, ...], float]:
    """The value of each kind of a metric; one without kinds has the empty one."""
    if metric is table.UP:
        return {(): float(view is not None)}
    if view is None:
        return {}
    if metric is table.REMOVED:
        known = {(each.how, each.state): each.jobs for each in view.removed}
        every = product(("cancelled", "deleted"), metric.kinds)
        return {kinds: known.get(kinds, 0) for kinds in every}
    if metric is table.DELAYED:
        return {(kind,): getattr(view.delays, kind) for kind in metric.kinds}
    if metric is table.WORKERS:
        states = Counter(each.state for each in view.consumers or ())
        return {(kind,): states[cast("ConsumerState", kind)] for kind in metric.kinds}
    return {(): _PLAIN[metric](view)}


_PLAIN: Final[Mapping[table.Metric, Callable[[QueueView], float]]] = {
    table.WAITING: lambda view: view.waiting,
    table.OLDEST: lambda view: view.oldest or 0.0,
    table.RUNNING: lambda view: view.running,
    table.PARKED: lambda view: view.parked,
    table.DEAD: lambda view: view.dead,
    table.SLOTS: lambda view: view.slots,
    table.BUSY: lambda view: view.busy,
}
