"""What all pages of a dashboard share: the server, the classes, and what is under way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flowd.broker.connection import Connection
from flowd.broker.registry import QueueList
from flowd.broker.session import SessionUser
from flowd.broker.settings import Client
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.deadletter import DeadLetters
from flowd.errors import OptionError
from flowd.model.job import Job, spec_of
from flowd.ops.reports import QueueReport, reports
from flowd.producer import Producer
from flowd.web.feeds import Feeds
from flowd.web.operations import Operations

__all__ = ["Desk", "Trend"]

_LEASE: Final = 30.0
_FRESH: Final = 1.0
_SAMPLE_EVERY: Final = 2.0
_SAMPLES: Final = 90
_RATED: Final = 6
"""Over how many of the last samples a rate is taken."""

_FORGET_AFTER: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    waiting: int
    settled: int | None


@dataclass(frozen=True, slots=True)
class Trend:
    """How a queue went while the dashboard was looked at."""

    waiting: Sequence[int]
    rate: float | None
    """Deliveries that ended in a second, over the last samples; None if unknown."""


class Desk:
    """The shared part of a dashboard.

    Args:
        url: of the server; None: that of FLOWD_URL.
        client: a redis-py client, instead of `url`. Only its settings are used.
        jobs: the generated classes of the queues.

    Raises:
        OptionError: no server is named, or two classes read one queue.
    """

    def __init__(
        self,
        url: str | None,
        client: Client | None,
        jobs: Iterable[type[Job]],
    ) -> None:
        self.address = Address.of(url, client)
        self.operations = Operations()
        self.feeds = Feeds(self.address)
        self.classes: Mapping[tuple[str, str], type[Job]] = _by_queue(jobs)
        self._source = (url, client)
        self._membership = SessionUser(self.address)
        self._producer = Producer(url, redis=client)
        self._list = QueueList()
        self._seen: tuple[float, list[QueueReport]] | None = None
        self._samples: dict[tuple[str, str], deque[_Sample]] = {}

    @property
    def connection(self) -> Connection:
        """The running loop's connection to the server."""
        return self._membership.here().connection

    @property
    def producer(self) -> Producer:
        """Enqueues jobs."""
        return self._producer

    async def queues(self) -> list[Stream]:
        """Every queue that was set up; of a cluster, its list may be an old one.

        Raises:
            ServerError: as `QueueList.queues`.
        """
        return await self._list.queues(self.connection)

    @property
    def list_is_old(self) -> bool:
        """Whether the server could not say the last time which queues there are."""
        return self._list.is_old

    def job_class(self, stream: str, group: str) -> type[Job] | None:
        """The class of a queue's jobs, if it was given."""
        return self.classes.get((stream, group))

    def lease_of(self, stream: str, group: str) -> float:
        """The lease of a queue in seconds; 30 if its class is not known."""
        found = self.job_class(stream, group)
        return _LEASE if found is None else found.SPEC.policy.claim_after

    def dead_letters(self, stream: str, group: str) -> DeadLetters[Job]:
        """The dead letters of a queue; to be closed."""
        url, client = self._source
        job_class = self.job_class(stream, group)
        return DeadLetters(job_class, url, redis=client, stream=stream, group=group)

    async def reports(self) -> list[QueueReport]:
        """Every queue, not older than a second: many that look ask the server once.

        Raises:
            ServerError: as `flowd.ops.reports.reports`.
        """
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] > _FRESH:
            found = await reports(
                self.connection, self.lease_of, listed=self._list.queues
            )
            self._seen = (time.monotonic(), found)
            self._sample(found)
        return self._seen[1]

    def changed(self) -> None:
        """Something was changed: the next look asks the server again."""
        self._seen = None

    def trend(self, stream: str, group: str) -> Trend:
        """What was sampled of a queue."""
        samples = [*self._samples.get((stream, group), ())]
        return Trend([each.waiting for each in samples], _rate(samples[-_RATED:]))

    async def aclose(self) -> None:
        """Stop what is under way, and close the connections."""
        await self.operations.aclose()
        await self.feeds.aclose()
        await self._producer.aclose()
        await self._membership.leave()

    def _sample(self, found: Sequence[QueueReport]) -> None:
        """Remember what queues hold now; of queues that are gone nothing is kept."""
        now = time.monotonic()
        kept = {(each.stream, each.group) for each in found}
        for gone in self._samples.keys() - kept:
            del self._samples[gone]
        for each in found:
            if each.view is None:
                continue
            samples = self._samples.setdefault(
                (each.stream, each.group), deque(maxlen=_SAMPLES)
            )
            if samples and now - samples[-1].at > _FORGET_AFTER:
                samples.clear()  # the line would hide that nothing was seen meanwhile
            if not samples or now - samples[-1].at >= _SAMPLE_EVERY:
                samples.append(_Sample(now, each.view.waiting, each.view.settled))


def _rate(samples: Sequence[_Sample]) -> float | None:
    """Deliveries that ended in a second, from the first to the last."""
    if not samples:
        return None
    first, last = samples[0], samples[-1]
    if first.settled is None or last.settled is None or last.at <= first.at:
        return None
    return max(0.0, (last.settled - first.settled) / (last.at - first.at))


def _by_queue(jobs: Iterable[type[Job]]) -> dict[tuple[str, str], type[Job]]:
    found: dict[tuple[str, str], type[Job]] = {}
    for each in jobs:
        policy = spec_of(each).policy
        place = (policy.stream, policy.group)
        other = found.setdefault(place, each)
        if other is not each:
            raise OptionError(
                "jobs",
                f"{each.SPEC.name} and {other.SPEC.name}",
                f"both read {policy.stream} ({policy.group}): give the newer one",
            )
    return found
