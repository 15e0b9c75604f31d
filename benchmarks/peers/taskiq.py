# /// script
# dependencies = ["taskiq-redis", "hiredis"]
# ///
"""taskiq with the stream broker of taskiq-redis, the one that acknowledges.

Off: results (none is its default) and retries (a middleware). On: the ack after the
handler, and XAUTOCLAIM of what a dead worker left, after ten minutes. Entries stay in
the stream: `maxlen` would delete jobs that were never run.
"""

from __future__ import annotations

from typing import Self

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from benchmarks.contract import URL, Guarantees, Job, Peer, crawl


class Taskiq(Peer):
    """Its receiver in the process, as its documentation has it for embedding."""

    packages = ("taskiq-redis", "taskiq", "redis")
    imports = "taskiq, taskiq_redis"
    guarantees = Guarantees(
        survives_kill=True,
        acked_after=True,
        retries=False,
        timeout=False,
        deliveries=False,
        dead_letters=False,
    )

    def __init__(self) -> None:
        # From the first entry, because the jobs are enqueued before the worker starts.
        self._broker = RedisStreamBroker(URL, consumer_id="0")
        self._task = self._broker.task("crawl")(crawl)

    async def __aenter__(self) -> Self:
        """Connect."""
        await self._broker.startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._broker.shutdown()

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return await self._task.kiq(*job)

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        await run_receiver_task(
            self._broker, max_async_tasks=concurrency, max_prefetch=concurrency
        )


if __name__ == "__main__":
    Taskiq.serve()
