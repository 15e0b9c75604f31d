"""flowd with everything on: leases, timeout, fence, takeovers, a task for each job."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Self

from benchmarks.jobs import crawl
from flowd import Queue
from jobs.crawl import Crawl

__all__ = ["Own"]


class Own:
    """Moves jobs through a queue of its own; an async context manager."""

    def __init__(self, url: str, concurrency: int = 100) -> None:
        self.stream = uuid.uuid4().hex
        self._handled = 0
        self._wanted = 0
        self._done = asyncio.Event()
        self._waits: list[float] | None = None
        self._queue = Queue(
            Crawl, self._handle, url=url, stream=self.stream, concurrency=concurrency
        )

    async def __aenter__(self) -> Self:
        """Create stream and group."""
        await self._queue.init()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._queue.aclose()

    async def enqueue(self, number: int) -> None:
        """Enqueue one job."""
        await self._queue.enqueue(crawl(number))

    async def enqueue_bulk(self, numbers: Sequence[int]) -> None:
        """Enqueue many."""
        await self._queue.enqueue_bulk(map(crawl, numbers))

    async def drain(self, jobs: int) -> None:
        """Handle so many jobs, and settle them."""
        self._wanted = jobs
        handle = self._queue.run()
        await self._done.wait()
        await handle.shutdown()

    async def latencies(self, jobs: int, pause: float) -> list[float]:
        """Seconds from the start of an enqueue to the handler, `pause` seconds apart."""
        self._waits, self._wanted = [], jobs
        handle = self._queue.run()
        for _ in range(jobs):
            await asyncio.sleep(pause)
            now = repr(time.perf_counter())
            await self._queue.enqueue(Crawl(url=now, priority=1, tags=[]))
        await self._done.wait()
        await handle.shutdown()
        return self._waits

    async def _handle(self, job: Crawl) -> None:
        if self._waits is not None:
            self._waits.append(time.perf_counter() - float(job.url))
        self._handled += 1
        if self._handled == self._wanted:
            self._done.set()
