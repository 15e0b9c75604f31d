# /// script
# dependencies = ["saq[redis,hiredis]", "typing-extensions"]
# ///
"""SAQ on Redis.

Off: results (`ttl` -1). On: the ack after the handler, a timeout of ten seconds, three
attempts, also of a job whose worker was killed, once its timeout is over.
"""

from __future__ import annotations

import logging
from typing import Any

from saq import Queue, Worker

from benchmarks.contract import URL, Guarantees, Job, Peer, meter


class Saq(Peer):
    """Its worker in the process."""

    packages = ("saq", "redis")
    imports = "saq, saq.queue.redis"
    guarantees = Guarantees(
        survives_kill=True,
        acked_after=True,
        retries=True,
        timeout=True,
        deliveries=True,
        dead_letters=False,
    )

    def __init__(self) -> None:
        logging.getLogger("saq").setLevel(logging.ERROR)
        self._queue: Any = Queue.from_url(URL)

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._queue.disconnect()

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        kwargs = {f"_{name}": value for name, value in job._asdict().items()}
        return await self._queue.enqueue("crawl", ttl=-1, retries=3, **kwargs)

    async def work(self, concurrency: int) -> None:
        """Run a worker until it is killed."""
        functions = [("crawl", _crawl)]
        await Worker(self._queue, functions, concurrency=concurrency).start()


# SAQ has an option named as one of the fields, `priority`.
async def _crawl(
    _context: object, *, _url: str, _priority: int, _tags: list[str], _assigned_to: str
) -> None:
    meter.handled(_url)


if __name__ == "__main__":
    Saq.serve()
