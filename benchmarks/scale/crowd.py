"""Many workers on one queue, and one worker with many queues."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Final

from benchmarks.jobs import crawl
from benchmarks.measure import Figures, Size, watch
from benchmarks.peer import Failed, Program, start
from benchmarks.servers import Probe, running
from flowd import Queue, QueueGroup
from jobs.crawl import Crawl

__all__ = ["balance", "spread", "until", "worker"]

_PATIENCE: Final = 60.0


def balance(workers: int, jobs: int) -> list[int]:
    """How many jobs each of so many processes handled: two at once, 50 ms each.

    Raises:
        Failed: a worker broke, or not all was done within a minute.
    """
    with running() as server, ExitStack() as stack:
        crew = [
            stack.enter_context(worker(server, queues=1, concurrency=2, pause=0.05))
            for _ in range(workers)
        ]
        for each in crew:
            each.answer()
        until(lambda: server.client.info("clients")["blocked_clients"] == workers)
        asyncio.run(_enqueue(server.url, queues=1, jobs=jobs))
        until(lambda: server.client.xlen("crawl-0") == 0)
        return [each.stop()["handled"] for each in crew]


def spread(queues: int, jobs: int, size: Size) -> Figures:
    """One process with so many queues: idle, and then with jobs in each.

    Returns how it is idle, how many connections it has, and seconds until so many jobs of
    every queue were done.

    Raises:
        Failed: it broke, or not all was done within a minute.
    """
    with running() as server:
        before = server.client.info("clients")["connected_clients"]
        with worker(server, queues=queues, concurrency=10, pause=0.0) as program:
            program.answer()
            figures = watch(program, server, size)
            now = server.client.info("clients")["connected_clients"]
            figures["connections"] = now - before
            began = time.perf_counter()
            asyncio.run(_enqueue(server.url, queues=queues, jobs=jobs))
            streams = [f"crawl-{number}" for number in range(queues)]
            until(lambda: not any(map(server.client.xlen, streams)))
            figures["seconds"] = time.perf_counter() - began
            figures["handled"] = program.stop()["handled"]
        return figures


def worker(
    server: Probe, queues: int, concurrency: int, pause: float
) -> AbstractContextManager[Program]:
    """A process with so many queues, whose handlers sleep for `pause` seconds."""
    numbers = (queues, concurrency, str(pause))
    module = (sys.executable, "-m", "benchmarks.scale.worker")
    return start([*module, *map(str, numbers)], server.url)


async def _enqueue(url: str, queues: int, jobs: int) -> None:
    async def ignore(_: Crawl) -> None:
        """These queues enqueue, and run nothing."""

    every = [
        Queue(Crawl, ignore, url=url, stream=f"crawl-{number}")
        for number in range(queues)
    ]
    async with QueueGroup(every):
        await asyncio.gather(
            *(queue.enqueue_bulk(map(crawl, range(jobs))) for queue in every)
        )


def until(holds: Callable[[], bool]) -> None:
    """Return once it holds.

    Raises:
        Failed: not within a minute.
    """
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"not all was done within {_PATIENCE:g} s")
        time.sleep(0.02)
