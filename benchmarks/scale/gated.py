"""What a job of a queue with policies costs the server: by keys, and by jobs that are parked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

from benchmarks.jobs import crawl
from benchmarks.policies import gated
from benchmarks.servers import Probe, running
from flowd import Queue
from jobs.crawl import Crawl

__all__ = ["by_keys", "by_parked", "enqueue"]

_CONCURRENCY: Final = 100
_JOBS: Final = 20_000
_CALL: Final = 10_000
_FULL: Final = "full"
_Gated: Final = gated("limit 1")


def by_keys(keys: int) -> dict[str, float]:
    """Server CPU in µs of a job, of which so many keys have the same number of each."""
    count = max(_JOBS, keys)
    with running() as server:
        used = asyncio.run(_drained(server, count, keys))
    return {"count": keys, "keys": used}


def by_parked(parked: int) -> dict[str, float]:
    """The same for 100 keys, while so many jobs of another key are parked."""
    with running() as server:
        used = asyncio.run(_drained(server, _JOBS, 100, parked=parked))
    return {"count": parked, "parked": used}


async def _drained(server: Probe, count: int, keys: int, *, parked: int = 0) -> float:
    done, all_done = 0, asyncio.Event()

    async def work(job: Crawl) -> None:
        nonlocal done
        if job.assigned_to == _FULL:
            await asyncio.Event().wait()
        done += 1
        if done == count:
            all_done.set()

    url, slots = server.url, _CONCURRENCY + 1
    async with Queue(_Gated, work, url=url, concurrency=slots) as queue:
        await enqueue(queue, (crawl(n, _Gated, _FULL) for n in range(parked)))
        before = server.cpu()
        jobs = (crawl(n, _Gated, f"person-{n % keys}") for n in range(count))
        await enqueue(queue, jobs)
        handle = queue.run()
        await all_done.wait()
        used = server.cpu() - before
        await handle.shutdown(0.0)
        return used / count * 1e6


async def enqueue(queue: Queue[Crawl], jobs: Iterable[Crawl]) -> None:
    """Enqueue all, so many in a call."""
    rest = iter(jobs)
    while some := list(islice(rest, _CALL)):
        await queue.enqueue_bulk(some)
