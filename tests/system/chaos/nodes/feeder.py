"""Producers that do not give up while nodes fail, and record the answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from threading import Event
from typing import Final, NamedTuple

from flowd import (
    BulkError,
    Duplicate,
    Durable,
    Item,
    OutcomeUnknown,
    Queue,
    ServerError,
)
from jobs.email import Email
from tests.system.chaos.nodes.queues import idle, job_class, role, rules

__all__ = ["Accepted", "feed"]

_PAUSE: Final = 0.1
_KEYS: Final = 12

# Of 100 jobs: what becomes of them.
_SUBJECTS: Final = (*["ok"] * 70, *["brief"] * 18, *["flaky"] * 9, *["bad"] * 3)


class Accepted(NamedTuple):
    """What the producer knows of a job."""

    stream: str
    name: str
    how: str
    """keyed, durable, which is keyed too, or once: without a key."""

    subject: str
    id: str | None
    """None when the outcome is unknown."""

    tried: float
    """When it was first tried, in seconds since 1970."""

    at: float
    """When it was accepted."""


async def feed(
    url: str, streams: Sequence[str], replicas: int, seed: int, stop: Event
) -> list[Accepted]:
    """Enqueue until it is to stop, and return when all that was begun is accepted.

    Args:
        url: of the nodes.
        streams: of all queues.
        replicas: of how many a durable job has to be proved.
        seed: of what becomes of the jobs.
        stop: set when no job is to be begun any more.
    """
    accepted: list[Accepted] = []
    durable = _durable(Durable(fsync=False, replicas=replicas, timeout=1.0))
    async with AsyncExitStack() as stack:
        feeders: list[Awaitable[None]] = []
        for stream in streams:
            if role(stream) == "cron":
                continue
            ways = [_Way("keyed", 1, _keyed), _Way("durable", 1, durable)]
            if role(stream) == "plain":
                ways += [*ways[1:] * 2, _Way("keyed", 5, _bulk), _Way("once", 1, _once)]
            queue = await stack.enter_async_context(
                Queue(
                    *(job_class(stream), idle),
                    url=url,
                    policy=rules(stream),
                    connect_timeout=0.5,
                )
            )
            for number, way in enumerate(ways):
                name = f"{stream}-{way.how}-{number}"
                chance = random.Random(f"{seed} {name}")
                feeder = _Feeder(name, queue, way, chance)
                feeders.append(feeder.run(accepted, stop))
        await asyncio.gather(*feeders)
    return accepted


_Enqueue = Callable[
    [Queue[Email], Sequence[Item[Email]]], Awaitable[Sequence[str | None]]
]


class _Way(NamedTuple):
    """How a producer enqueues."""

    how: str
    """As that of `Accepted`."""

    at_once: int
    """How many jobs in one call."""

    enqueue: _Enqueue


class _Feeder:
    """One producer of one queue."""

    def __init__(
        self, name: str, queue: Queue[Email], way: _Way, chance: random.Random
    ) -> None:
        self._name = name
        self._queue = queue
        self._way = way
        self._chance = chance
        self._made = 0

    async def run(self, accepted: list[Accepted], stop: Event) -> None:
        """Enqueue until it is to stop, and note what was accepted."""
        stream = self._queue.policy.stream
        while not stop.is_set():
            items = [self._item() for _ in range(self._way.at_once)]
            tried = time.time()
            ids = await self._way.enqueue(self._queue, items)
            accepted += [
                Accepted(
                    *(stream, str(item.job.body), self._way.how, item.job.subject),
                    *(job_id, tried, time.time()),
                )
                for item, job_id in zip(items, ids, strict=True)
                if not isinstance(job_id, Duplicate)
            ]
            await asyncio.sleep(_PAUSE * len(items))

    def _item(self) -> Item[Email]:
        self._made += 1
        stream = self._queue.policy.stream
        name = f"{self._name}-{self._made}"
        delayed = role(stream) == "plain" and self._chance.random() < 0.1
        return Item(
            job_class(stream)(
                to=f"k{self._chance.randrange(_KEYS)}",
                subject=self._chance.choice(_SUBJECTS),
                body=name,
            ),
            key=None if self._way.how == "once" else name,
            delay=self._chance.uniform(0.1, 1.5) if delayed else 0.0,
        )


async def _keyed(
    queue: Queue[Email], items: Sequence[Item[Email]], durable: Durable | bool = False
) -> Sequence[str]:
    """Enqueue under keys until it is accepted, as the documentation says."""
    (item,) = items
    while True:
        try:
            return [
                await queue.enqueue(
                    item.job, key=item.key, delay=item.delay, durable=durable
                )
            ]
        except ServerError:
            await asyncio.sleep(_PAUSE)


def _durable(durable: Durable) -> _Enqueue:
    async def way(queue: Queue[Email], items: Sequence[Item[Email]]) -> Sequence[str]:
        return await _keyed(queue, items, durable)

    return way


async def _bulk(queue: Queue[Email], items: Sequence[Item[Email]]) -> Sequence[str]:
    """Likewise, many in one call."""
    while True:
        try:
            return await queue.enqueue_bulk(items)
        except BulkError:
            await asyncio.sleep(_PAUSE)


async def _once(
    queue: Queue[Email], items: Sequence[Item[Email]]
) -> Sequence[str | None]:
    """Enqueue without a key: again only if nothing was stored."""
    (item,) = items
    while True:
        try:
            return [await queue.enqueue(item.job, delay=item.delay)]
        except OutcomeUnknown:
            return [None]
        except ServerError:
            await asyncio.sleep(_PAUSE)
