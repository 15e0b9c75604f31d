"""What Prometheus is shown: what was counted, and what queues hold at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from flowd.broker.server_time import server_time
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.errors import ServerError
from flowd.metrics import table
from flowd.ops.overview import QueueView, queue_view
from flowd.ops.queries import Queries

__all__ = ["Place", "exposition", "queue_registry"]

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
    return generate_latest(registry) + generate_latest(queues)


async def queue_registry(
    places: Iterable[Place], *, within: float = 2.0
) -> CollectorRegistry:
    """The gauges of queues, read from Redis just now, as in `exposition`."""
    wanted = list(dict.fromkeys(places))
    views = await asyncio.gather(*(_view(place, within) for place in wanted))
    queues = CollectorRegistry()
    queues.register(_Gauges(dict(zip(wanted, views, strict=True))))
    return queues


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
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for (address, stream, _), view in self._views.items():
                value = float(view is not None)
                if metric is not table.UP:
                    if view is None:
                        continue
                    value = _values(view)[metric]
                family.add_metric((str(address), stream), value)
            yield family


def _values(view: QueueView) -> dict[table.Metric, float]:
    return {
        table.WAITING: view.waiting,
        table.OLDEST: view.oldest or 0.0,
        table.RUNNING: view.running,
        table.DELAYED: view.delayed,
        table.PARKED: view.parked,
        table.DEAD: view.dead,
        table.CONSUMERS: len(view.consumers or ()),
    }
