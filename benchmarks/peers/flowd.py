"""flowd, with every guarantee on; with the policy that `BENCH_POLICY` names, if it does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Self

from benchmarks.contract import URL, Guarantees, Job, Peer, meter
from benchmarks.policies import KEYS, gated
from flowd import Producer, Queue
from jobs.crawl import Crawl

POLICY = os.environ.get("BENCH_POLICY", "")


class Flowd(Peer):
    """Leases, timeout, fence and takeovers are its defaults and the schema's."""

    packages = ("flowd-jobs", "redis", "hiredis")
    imports = "flowd.queue"
    guarantees = Guarantees(
        survives_kill=True,
        acked_after=True,
        retries=True,
        timeout=True,
        deliveries=True,
        dead_letters=True,
    )

    def __init__(self) -> None:
        self._producer = Producer(URL)

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._producer.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._producer.__aexit__()

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return await self._producer.enqueue(_crawl(job))

    async def bulk(self, jobs: Sequence[Job]) -> object:
        """Enqueue many."""
        return await self._producer.enqueue_bulk(map(_crawl, jobs))

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""

        async def handle(job: Crawl) -> None:
            meter.handled(job.url)

        async with Queue(_JOB, handle, url=URL, concurrency=concurrency) as queue:
            await queue.run_until_stopped()


_JOB = gated(POLICY) if POLICY else Crawl


def _crawl(job: Job) -> Crawl:
    who = job.assigned_to
    if POLICY:
        who += f"-{int(job.url.rpartition('/')[2]) % KEYS}"
    return _JOB(url=job.url, priority=job.priority, tags=job.tags, assigned_to=who)


if __name__ == "__main__":
    Flowd.serve()
