"""Metrics of several processes as one: what they counted is added up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from flowd.cli.listen import counting, places
from flowd.cli.processes.messages import Family
from flowd.metrics.scrape import queue_registry, text_of
from flowd.model.job import Job
from flowd.queue import Queue

__all__ = ["Part", "ProcessMetrics", "added", "exposed"]

Part: TypeAlias = tuple[str | None, Sequence[Family]]
"""A process and its metrics; None for one that is about to end, or has ended."""

_LABEL: Final = "flowd_process"
_ADDED: Final = frozenset({"counter", "histogram", "summary"})


class ProcessMetrics:
    """The metrics of this process, in the form in which they are sent.

    Args:
        queues: do not run yet; each gets a `Metrics` if it has none.

    Raises:
        OptionError: one of the queues runs already.
        UsageError: there are several `Metrics`.
    """

    def __init__(self, queues: Sequence[Queue[Job]]) -> None:
        self._registry = counting(queues).registry
        self._places = places(queues)

    def counted(self) -> list[Family]:
        """What was counted since the start of the process."""
        return _families(self._registry)

    async def queues(self) -> list[Family]:
        """What the queues hold, read from Redis."""
        return _families(await queue_registry(self._places))


def added(parts: Iterable[Part]) -> list[Family]:
    """The metrics of all; counters and histograms are sums.

    A gauge of one process says nothing when added to another's. So it gets the process as
    a label, `flowd_process`, and one of a process that ends is left out.
    """
    sums: dict[str, _Sum] = {}
    for process, found in parts:
        for family in found:
            name, kind = family["name"], family["kind"]
            if kind not in _ADDED and process is None:
                continue
            # New code may have made another kind of metric of a name: the old one goes.
            if name not in sums or sums[name].kind != kind:
                sums[name] = _Sum(family)
            sums[name].add(family, None if kind in _ADDED else process)
    return [each.family() for each in sums.values()]


def exposed(found: Iterable[Family]) -> bytes:
    """The text for Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Families(found))
    return text_of(registry)


def _families(registry: CollectorRegistry) -> list[Family]:
    return [
        {
            "name": metric.name,
            "kind": metric.type,
            "help": metric.documentation,
            "samples": [
                (each.name, each.labels, each.value) for each in metric.samples
            ],
        }
        for metric in registry.collect()
    ]


class _Sum:
    """One metric of several processes."""

    def __init__(self, family: Family) -> None:
        self.kind = family["kind"]
        self._like = family
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def add(self, family: Family, process: str | None) -> None:
        for name, labels, value in family["samples"]:
            if process is not None:
                labels = labels | {_LABEL: process}  # noqa: PLW2901 - the same sample
            key = (name, tuple(sorted(labels.items())))
            self._values[key] = self._values.get(key, 0.0) + value

    def family(self) -> Family:
        return {
            "name": self._like["name"],
            "kind": self.kind,
            "help": self._like["help"],
            "samples": [
                (name, dict(labels), value)
                for (name, labels), value in self._values.items()
            ],
        }


class _Families(Collector):
    """Families, as Prometheus collects them."""

    def __init__(self, found: Iterable[Family]) -> None:
        self._found = list(found)

    def collect(self) -> Iterator[Metric]:
        for family in self._found:
            metric = Metric(family["name"], family["help"], family["kind"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, labels, value)
            yield metric
