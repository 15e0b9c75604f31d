"""A metric whose queues may have labels of their own: `label = true` in a schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.registry import Collector

from flowd.metrics import table

__all__ = ["Labelled"]

M = TypeVar("M", Counter, Histogram)

Make: TypeAlias = Callable[[tuple[str, ...]], M]
"""Makes the metric with the given labels, in no registry."""


class Labelled(Collector, Generic[M]):
    """One name and one help text, and a metric of the library for each set of labels.

    The library wants all labels of a metric when it is made; which classes a process
    runs is known only when their jobs come.

    Args:
        metric: its name, help text and the labels that every queue has.
        make: makes the metric of a set of labels.
        registry: shows all of them as one metric.

    Raises:
        ValueError: the registry has this metric already.
    """

    def __init__(
        self, metric: table.Metric, make: Make[M], registry: CollectorRegistry
    ) -> None:
        self._labels = metric.labels
        self._make: Make[M] = make
        self._plain: M = make(metric.labels)
        self._by_names: dict[tuple[str, ...], M] = {(): self._plain}
        registry.register(self)

    def labels(self, *values: str, own: Mapping[str, str] | None = None) -> M:
        """The series with these values.

        Args:
            *values: of the labels that every queue has, in their order.
            own: the labels of the job's class, and their values.
        """
        if not own:
            return self._plain.labels(*values)
        names: tuple[str, ...] = tuple(own)
        found = self._by_names.get(names)
        if found is None:
            found = self._by_names[names] = self._make((*self._labels, *names))
        return found.labels(*values, *own.values())

    def describe(self) -> Iterator[Metric]:
        """Its name, so that the registry refuses a second one."""
        yield from self._plain.describe()

    def collect(self) -> Iterator[Metric]:
        """All series, whatever their labels, as one metric."""
        one, *others = [
            metric for each in [*self._by_names.values()] for metric in each.collect()
        ]
        for other in others:
            one.samples += other.samples
        yield one
