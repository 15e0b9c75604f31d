# /// script
# dependencies = ["pydocket", "hiredis"]
# ///
"""docket (pydocket).

Off: results and the state of finished jobs (`execution_ttl` 0). On: the ack after the
handler, leases that are renewed, jobs of a dead worker given to another after five
minutes. Retries and timeouts are dependencies of a task, with none by default. A worker
whose slots are full looks again after 10 ms, not after 250 as by default, which would
bound a drain at concurrency 10 to 40 jobs a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Self

from docket import Docket, Worker

from benchmarks.contract import URL, Guarantees, Job, Peer, crawl


class Pydocket(Peer):
    """Its worker in the process."""

    packages = ("pydocket", "redis")
    imports = "docket"
    guarantees = Guarantees(
        survives_kill=True,
        acked_after=True,
        retries=False,
        timeout=False,
        deliveries=False,
        dead_letters=False,
    )

    def __init__(self) -> None:
        # redis-py's pool has 100 connections, and a worker may need one for each job.
        url = f"{URL}?max_connections=1000"
        self._docket = Docket("bench", url, execution_ttl=timedelta(0))

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._docket.__aenter__()
        self._docket.register(crawl)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._docket.__aexit__(None, None, None)

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return await self._docket.add(crawl)(*job)

    async def bulk(self, jobs: Sequence[Job]) -> None:
        """Enqueue many."""
        await self._docket.add_many(self._docket.call(crawl)(*job) for job in jobs)

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        worker = Worker(
            self._docket,
            concurrency=concurrency,
            minimum_check_interval=timedelta(milliseconds=10),
        )
        async with worker:
            await worker.run_forever()


if __name__ == "__main__":
    Pydocket.serve()
