"""What a job of a queue with policies costs the server: by keys, and by jobs that are parked."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable
from functools import cache
from itertools import islice
from typing import Final

from benchmarks.jobs import crawl
from benchmarks.servers import Probe, running
from flowd import Concurrency, Gate, Queue
from jobs.crawl import Crawl

__all__ = ["by_keys", "by_parked", "gated"]

_CONCURRENCY: Final = 100
_JOBS: Final = 20_000
_CALL: Final = 10_000
_FULL: Final = "full"

_GATE: Final = Gate(concurrency=Concurrency(per=("assigned_to",), limit=1))


@cache
def gated() -> type[Crawl]:
    """The job of every benchmark, one at once for each person."""
    spec = dataclasses.replace(Crawl.SPEC, gate=_GATE)
    return type("Crawl", (Crawl,), {"SPEC": spec, "__slots__": ()})


_Gated: Final = gated()


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
        await _enqueue(queue, (_job(number, _FULL) for number in range(parked)))
        before = server.cpu()
        jobs = (_job(number, f"person-{number % keys}") for number in range(count))
        await _enqueue(queue, jobs)
        handle = queue.run()
        await all_done.wait()
        used = server.cpu() - before
        await handle.shutdown(0.0)
        return used / count * 1e6


async def _enqueue(queue: Queue[Crawl], jobs: Iterable[Crawl]) -> None:
    rest = iter(jobs)
    while some := list(islice(rest, _CALL)):
        await queue.enqueue_bulk(some)


def _job(number: int, person: str) -> Crawl:
    plain = crawl(number)
    return _Gated(
        url=plain.url, priority=plain.priority, tags=plain.tags, assigned_to=person
    )
