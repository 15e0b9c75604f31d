# /// script
# dependencies = ["arq"]
# ///
"""arq, polling twenty times a second.

Its default is every half second, which bounds a drain more than its code does. Off:
results. On: the ack after the handler, a timeout of five minutes, five tries of a job
whose worker was killed, once its key has expired. A handler that raises is run again only
if it raises `arq.Retry`.
"""

from __future__ import annotations

from typing import Self

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker

from benchmarks.contract import URL, Guarantees, Job, Peer, meter


class Arq(Peer):
    """Its worker in the process."""

    packages = ("arq", "redis")
    imports = "arq, arq.worker"
    guarantees = Guarantees(
        survives_kill=True,
        acked_after=True,
        retries=False,
        timeout=True,
        deliveries=True,
        dead_letters=False,
    )

    _redis: ArqRedis

    async def __aenter__(self) -> Self:
        """Connect."""
        self._redis = await create_pool(RedisSettings.from_dsn(URL))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return await self._redis.enqueue_job("crawl", *job)

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        worker = Worker(
            [func(_crawl, name="crawl", keep_result=0)],
            redis_pool=self._redis,
            max_jobs=concurrency,
            poll_delay=0.05,
            log_results=False,
        )
        await worker.async_run()


async def _crawl(
    _context: object, url: str, _priority: int, _tags: list[str], _assigned_to: str
) -> None:
    meter.handled(url)


if __name__ == "__main__":
    Arq.serve()
