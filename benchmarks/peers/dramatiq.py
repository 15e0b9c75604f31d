# /// script
# dependencies = ["dramatiq[redis]", "hiredis"]
# ///
"""Dramatiq with its default middleware and threads.

On: retries, the time limit, the ack after the handler, jobs of a dead process given back
after a minute, dead letters for a week. Off: results (a middleware). A plain function,
because a coroutine takes a middleware and one more thread, and is slower.
"""

from __future__ import annotations

import asyncio
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.contract import URL, Guarantees, Job, Peer, handle


class Dramatiq(Peer):
    """Its worker in the process, one thread for each job that may run at once."""

    packages = ("dramatiq", "redis")
    imports = "dramatiq, dramatiq.brokers.redis"
    blocking = True
    guarantees = Guarantees(
        survives_kill=True,
        acked_after=True,
        retries=True,
        timeout=True,
        deliveries=False,
        dead_letters=True,
    )

    def __init__(self) -> None:
        self._broker = RedisBroker(url=URL)
        self._actor: Any = dramatiq.actor(handle, broker=self._broker)

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        return self._actor.send(*job)

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        dramatiq.Worker(self._broker, worker_threads=concurrency).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    Dramatiq.serve()
