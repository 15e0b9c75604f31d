# /// script
# dependencies = ["streaq"]
# ///
"""streaQ.

Off: results (`ttl` 0) and a log line for each job. On: the ack after the handler, three
tries, also of a job whose worker was killed, after a minute. A handler that raises is run
again only if it raises `StreaqRetry`; a timeout is an option, with none by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from streaq import Worker

from benchmarks.contract import URL, Guarantees, Job, Peer, crawl


class Streaq(Peer):
    """Its worker in the process."""

    packages = ("streaq", "coredis")
    imports = "streaq"
    guarantees = Guarantees(
        survives_kill=True,
        acked_after=True,
        retries=False,
        timeout=False,
        deliveries=True,
        dead_letters=False,
    )

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._worker, self._task = _worker(concurrency=1)

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._stack.enter_async_context(self._worker)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._stack.aclose()

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return await self._task.enqueue(*job)

    async def bulk(self, jobs: Sequence[Job]) -> None:
        """Enqueue many in a pipeline."""
        await self._worker.enqueue_many([self._task.enqueue(*job) for job in jobs])

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        worker, _ = _worker(concurrency)
        await worker.run_async()


def _worker(concurrency: int) -> tuple[Any, Any]:
    worker: Any = Worker(redis_url=URL, concurrency=concurrency)
    return worker, worker.task(crawl, name="crawl", ttl=0, silent=True)


if __name__ == "__main__":
    Streaq.serve()
