# /// script
# dependencies = ["rq", "redis[hiredis]"]
# ///
"""RQ with the worker that does not fork, its fastest; it runs one job at a time.

Off: results (`result_ttl` 0). On: a timeout of three minutes, and failed jobs kept for a
year, among them those whose worker was killed. Retries are an option of each job.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis
from rq import Queue, SimpleWorker

from benchmarks.contract import URL, Guarantees, Job, Peer, handle


class Rq(Peer):
    """Its worker in the process; the concurrency is one, whatever is asked for."""

    packages = ("rq", "redis")
    imports = "rq"
    blocking = True
    guarantees = Guarantees(
        survives_kill=False,
        acked_after=True,
        retries=False,
        timeout=True,
        deliveries=False,
        dead_letters=True,
    )

    def __init__(self) -> None:
        self._redis = Redis.from_url(URL)
        self._queue = Queue("crawl", connection=self._redis)

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return self._queue.enqueue_call(handle, job, result_ttl=0)

    async def bulk(self, jobs: Sequence[Job]) -> None:
        """Enqueue many in a pipeline."""
        many = [Queue.prepare_data(handle, job, result_ttl=0) for job in jobs]
        self._queue.enqueue_many(many)

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        worker = SimpleWorker([self._queue], connection=self._redis)
        worker.work(logging_level="ERROR")


if __name__ == "__main__":
    Rq.serve()
