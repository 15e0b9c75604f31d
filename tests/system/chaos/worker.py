"""A worker process that writes down what it does, outside Redis.

Usage: python -m tests.system.chaos.worker URL STREAM FOLDER LEASE GRACE MAX_CRASHES INTERVAL
       CONCURRENCY

A job says in its `subject` what becomes of it. `FOLDER/evidence` gets a line for each
thing that happens, in one write, so that a SIGKILL never leaves half of one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flowd import Claimer, Context, Queue, Reject
from jobs.email import Email
from tests.support.email_job import policy


class Worker:
    """Runs jobs and notes it."""

    def __init__(self, folder: Path, lease: float) -> None:
        self._go = folder / f"go-{os.getpid()}"
        self._ready = folder / f"ready-{os.getpid()}"
        self._lease = lease
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._evidence = os.open(folder / "evidence", flags)

    def note(self, *words: object) -> None:
        """Write down one line."""
        line = " ".join(map(str, (os.getpid(), f"{time.time():.6f}", *words)))
        os.write(self._evidence, f"{line}\n".encode())

    def ready(self) -> None:
        """Say that signals are minded from now on."""
        self._ready.touch()

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one job as its subject says."""
        what = self.delivery(job, ctx)
        self.note("start", *what)
        try:
            await self._play(job, ctx)
        except asyncio.CancelledError:
            self.note("cancelled", *what)
            raise
        except Exception:
            self.note("raised", *what)
            raise
        self.note("ran", *what)

    def delivery(self, job: Email, ctx: Context) -> tuple[object, ...]:
        """Which delivery of which job it is, as each line of it says."""
        return job.to, ctx.id, ctx.attempt, ctx.deliveries

    async def _play(self, job: Email, ctx: Context) -> None:
        match job.subject:
            case "wait":
                while not self._go.exists():  # noqa: ASYNC110 - another process says so
                    await asyncio.sleep(0.01)
            case "compute":
                end = time.monotonic() + 3 * self._lease
                while time.monotonic() < end:
                    time.sleep(0.01)  # noqa: ASYNC251 - a handler that computes
            case "brief":
                await asyncio.sleep(0.1 * self._lease)
            case "slow":
                # In steps: while the process is frozen, nothing is done.
                for _ in range(15):
                    await asyncio.sleep(0.1 * self._lease)
            case "flaky" if ctx.attempt < 3:
                raise ValueError("not yet")
            case "fail":
                raise ValueError("never")
            case "bad":
                raise Reject("bad")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                await asyncio.sleep(0.005)


class Notes(logging.Handler):
    """Notes what flowd logs of each job, and of signals.

    Args:
        worker: writes it down.
        fields: of a log record, which name the job.
    """

    def __init__(self, worker: Worker, fields: Sequence[str] = ("job_id",)) -> None:
        super().__init__(logging.INFO)
        self._worker = worker
        self._fields = fields

    def emit(self, record: logging.LogRecord) -> None:
        """Write down event and job, with attempt and deliveries, or the signal."""
        said = vars(record)
        if "job_id" in said:
            job = [said[field] for field in self._fields]
            counts = said.get("attempt", 0), said.get("deliveries", 0)
            self._worker.note("said", said["event"], *job, *counts)
        elif said.get("event") == "signal":
            self._worker.note("signal", said["signal"])


async def serve(
    make_worker: Callable[[Path, float], Worker],
    job_class: type[Email],
    words: Sequence[str],
) -> None:
    """Run until SIGTERM.

    Args:
        make_worker: from the folder and the lease.
        job_class: of the queue.
        words: as in the usage above.
    """
    url, stream, folder, lease, grace, crashes, interval, concurrency = words
    worker = make_worker(Path(folder), float(lease))
    async with Queue(
        job_class,
        worker,
        url=url,
        policy=policy(stream, lease=float(lease), max_retries=5, backoff=0.05),
        claimer=Claimer(interval=float(interval), max_crashes=int(crashes)),
        concurrency=int(concurrency),
    ) as queue:
        # Called once the next line waits, and its signal handlers are set.
        asyncio.get_running_loop().call_soon(worker.ready)
        await queue.run_until_stopped(grace=float(grace))


def noted_worker(folder: Path, lease: float) -> Worker:
    """A worker that notes as well what flowd says of its jobs."""
    worker = Worker(folder, lease)
    logger = logging.getLogger("flowd")
    logger.setLevel(logging.INFO)
    logger.addHandler(Notes(worker))
    return worker


if __name__ == "__main__":
    asyncio.run(serve(noted_worker, Email, sys.argv[1:]))
