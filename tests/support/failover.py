"""Keyed jobs without an end, and what became of them when servers fail."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Self

from flowd import Durable, FlowdError, Queue, QueueGroup
from jobs.email import Email
from tests.support.email_job import email, policy
from tests.support.waiting import wait_until

__all__ = ["Load"]

_PRODUCERS = 3
_PATIENCE = 30.0


class Load:
    """Producers and a worker of each queue, for as long as the context lasts.

    Args:
        url: the server's.
        streams: of the queues.
        durable: as for `enqueue`.

    Attributes:
        accepted: the jobs whose `enqueue` returned, by stream.
        runs: how often each job ran.
        pauses: by stream, the longest time without a job that ran, in seconds.
    """

    def __init__(
        self, url: str, *streams: str, durable: Durable | bool = False
    ) -> None:
        self.accepted: dict[str, list[str]] = {each: [] for each in streams}
        self.runs: Counter[str] = Counter()
        self.pauses = dict.fromkeys(streams, 0.0)
        self._last = dict.fromkeys(streams, 0.0)
        self._durable = durable
        self._stop = asyncio.Event()
        self._stack = AsyncExitStack()
        self.queues = [self._queue(url, each) for each in streams]

    def _queue(self, url: str, stream: str) -> Queue[Email]:
        async def run(job: Email) -> None:
            now = time.monotonic()
            self.pauses[stream] = max(self.pauses[stream], now - self._last[stream])
            self._last[stream] = now
            self.runs[job.to] += 1

        return Queue(Email, run, url=url, policy=policy(stream, lease=5.0))

    async def _produce(self, queue: Queue[Email], number: int) -> None:
        stream, at = queue.policy.stream, 0
        while not self._stop.is_set():
            at += 1
            key = f"{stream}-{number}-{at}"
            with suppress(FlowdError):
                delay = 0.2 if at % 4 == 0 else 0.0
                await queue.enqueue(
                    email(key), key=key, delay=delay, durable=self._durable
                )
                self.accepted[stream].append(key)
            await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        """Return once every queue runs its jobs."""
        group = await self._stack.enter_async_context(QueueGroup(self.queues))
        group.run_all()
        self._stack.push_async_callback(group.drain)
        self._producing = [
            asyncio.create_task(self._produce(queue, number))
            for queue in self.queues
            for number in range(_PRODUCERS)
        ]
        await wait_until(
            lambda: all(len(e) > 20 for e in self.accepted.values()), within=_PATIENCE
        )
        self.measure()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Produce no more, and return once all jobs have run."""
        self._stop.set()
        await asyncio.gather(*self._producing)
        await self._stack.__aexit__(None, None, None)

    def stop(self) -> None:
        """Produce no more from now on."""
        self._stop.set()

    def measure(self) -> None:
        """Measure pauses from now on."""
        now = time.monotonic()
        for stream in self.pauses:
            self.pauses[stream], self._last[stream] = 0.0, now

    async def runs_on(self, *streams: str) -> None:
        """Return when each of these queues has run something after this call."""
        before = {each: self._last[each] for each in streams}
        await wait_until(
            lambda: all(self._last[each] > last for each, last in before.items()),
            within=_PATIENCE,
        )

    async def works(self) -> None:
        """Return when of each queue something that is accepted from now on has run."""
        before = {stream: len(keys) for stream, keys in self.accepted.items()}
        await wait_until(lambda: self._went_on(before), within=_PATIENCE)
        wanted = [keys[-1] for keys in self.accepted.values()]
        await wait_until(lambda: all(map(self.runs.get, wanted)), within=_PATIENCE)

    def lost(self) -> Sequence[str]:
        """What was accepted and never ran."""
        return [k for keys in self.accepted.values() for k in keys if not self.runs[k]]

    def twice(self) -> Sequence[str]:
        """What ran more than once."""
        return [key for key, times in self.runs.items() if times > 1]

    def _went_on(self, before: dict[str, int]) -> bool:
        return all(len(self.accepted[each]) > n + 20 for each, n in before.items())
