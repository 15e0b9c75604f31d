"""A worker process of several queues, which writes down what each of them does.

Usage: as `tests.system.chaos.worker`, with STREAM,STREAM… for STREAM

What a line of a job is about: stream, name, id, attempt, deliveries, key.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flowd import Claimer, Context, Queue, QueueGroup, Retry
from jobs.email import Email
from tests.system.chaos.nodes.queues import job_class, limit_of, rules
from tests.system.chaos.worker import Notes, Worker


class QueueWorker(Worker):
    """Runs the jobs of one queue and notes it.

    Args:
        folder: for the evidence.
        lease: seconds.
        stream: of the queue.
    """

    def __init__(self, folder: Path, lease: float, stream: str) -> None:
        super().__init__(folder, lease)
        self._stream = stream
        self._limited = bool(limit_of(stream))

    def delivery(self, job: Email, ctx: Context) -> tuple[object, ...]:
        """As `Worker.delivery`; a tick's job is called by its id."""
        name = job.body or ctx.id
        return self._stream, name, ctx.id, ctx.attempt, ctx.deliveries, job.to

    async def _play(self, job: Email, ctx: Context) -> None:
        if self._limited and job.subject == "flaky" and ctx.attempt == 1:
            raise Retry(after=0.0)
        await super()._play(job, ctx)


async def main(words: Sequence[str]) -> None:
    """Run until SIGTERM."""
    url, streams, folder, lease, grace, crashes, interval, concurrency = words
    workers = {
        stream: QueueWorker(Path(folder), float(lease), stream)
        for stream in streams.split(",")
    }
    first = next(iter(workers.values()))
    logger = logging.getLogger("flowd")
    logger.setLevel(logging.INFO)
    logger.addHandler(Notes(first, ("stream", "job_id")))
    log = logging.FileHandler(Path(folder) / f"log-{os.getpid()}")
    log.setFormatter(logging.Formatter("%(created).3f %(message)s"))
    log.setLevel(logging.WARNING)
    logger.addHandler(log)
    async with QueueGroup(
        Queue(
            job_class(stream),
            worker,
            url=url,
            policy=rules(stream),
            claimer=Claimer(interval=float(interval), max_crashes=int(crashes)),
            concurrency=int(concurrency),
        )
        for stream, worker in workers.items()
    ) as group:
        # Called once the next line waits, and its signal handlers are set.
        asyncio.get_running_loop().call_soon(first.ready)
        await group.run_until_stopped(grace=float(grace))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
