# /// script
# dependencies = ["celery[redis]", "hiredis"]
# ///
"""Celery on Redis with the thread pool, which is the one that keeps to one process.

Off: results, and the chatter between workers (gossip, mingle, heartbeat), as its
documentation advises where no one needs it. The ack comes before the handler, its
default: `acks_late` would keep a job whose worker is killed, for an hour.
"""

from __future__ import annotations

from typing import Any

from celery import Celery as App

from benchmarks.contract import URL, Guarantees, Job, Peer, handle


class Celery(Peer):
    """Its worker in the process, one thread for each job that may run at once."""

    packages = ("celery", "kombu", "redis")
    imports = "celery, celery.worker, kombu.transport.redis"
    blocking = True
    guarantees = Guarantees(
        survives_kill=False,
        acked_after=False,
        retries=False,
        timeout=False,
        deliveries=False,
        dead_letters=False,
    )

    def __init__(self) -> None:
        self._app: Any = App("bench", broker=URL)
        self._app.conf.worker_redirect_stdouts = False  # the answer is printed
        self._task = self._app.task(handle, name="crawl", ignore_result=True)

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return self._task.delay(*job)

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        self._app.Worker(
            concurrency=concurrency,
            pool="threads",
            loglevel="ERROR",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        ).start()


if __name__ == "__main__":
    Celery.serve()
