# /// script
# dependencies = ["huey", "redis[hiredis]"]
# ///
"""Huey with threads and a blocking pop.

Off: results and the scheduler of periodic tasks. On: three retries. A job is popped
before it runs, so one whose worker is killed is gone.
"""

from __future__ import annotations

from huey import RedisHuey
from huey.consumer import Consumer

from benchmarks.contract import URL, Guarantees, Job, Peer, handle


class Huey(Peer):
    """Its consumer in the process, one thread for each job that may run at once."""

    packages = ("huey", "redis")
    imports = "huey, huey.consumer"
    blocking = True
    guarantees = Guarantees(
        survives_kill=False,
        acked_after=False,
        retries=True,
        timeout=False,
        deliveries=False,
        dead_letters=False,
    )

    def __init__(self) -> None:
        self._huey = RedisHuey("bench", url=URL, results=False)
        self._task = self._huey.task(retries=3)(handle)

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return self._task(*job)

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        Consumer(self._huey, workers=concurrency, periodic=False).run()


if __name__ == "__main__":
    Huey.serve()
