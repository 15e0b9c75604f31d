"""A worker process that counts what it holds, and says so once a second (Linux).

Usage: python -m tests.system.chaos.sampled URL STREAM
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from pathlib import Path
from statistics import median_low
from typing import Final, NamedTuple, Self

from flowd import Claimer, Context, Queue, Reject
from jobs.email import Email
from tests.support.email_job import policy

__all__ = ["Sample"]

_LOOKS: Final = 20
_PAUSE: Final = 0.05


class Sample(NamedTuple):
    """What a process holds at one moment."""

    descriptors: int
    tasks: int
    threads: int
    kilobytes: int
    """Of memory that is resident."""

    jobs: int
    """How many have run by then."""

    @classmethod
    def take(cls, jobs: int) -> Self:
        """Of this process."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            len(list(Path("/proc/self/fd").iterdir())),
            len(asyncio.all_tasks()),
            threading.active_count(),
            pages * os.sysconf("SC_PAGE_SIZE") // 1024,
            jobs,
        )

    @classmethod
    def parse(cls, line: str) -> Self:
        """What `print` made of one."""
        return cls(*map(int, line.split()))


class _Work:
    """Runs jobs: some fail at first, some are refused."""

    def __init__(self) -> None:
        self.jobs = 0

    async def __call__(self, job: Email, ctx: Context) -> None:
        self.jobs += 1
        await asyncio.sleep(0.005)
        if job.subject == "flaky" and ctx.attempt == 1:
            raise ValueError("not yet")
        if job.subject == "bad":
            raise Reject("bad")


async def _say(work: _Work) -> None:
    """Say the median of what was seen: what a job or a call needs comes and goes."""
    while True:
        looks: list[Sample] = []
        for _ in range(_LOOKS):
            await asyncio.sleep(_PAUSE)
            looks.append(Sample.take(work.jobs))
        print(*map(median_low, zip(*looks, strict=True)), flush=True)


async def main() -> None:
    """Run until SIGTERM."""
    # What is lost or refused here is meant to be, and needs no line for each.
    logging.getLogger("flowd").addHandler(logging.NullHandler())
    url, stream = sys.argv[1:]
    work = _Work()
    async with Queue(
        Email,
        work,
        url=url,
        policy=policy(stream, lease=2.0, backoff=0.5),
        claimer=Claimer(interval=1.0),
    ) as queue:
        saying = asyncio.create_task(_say(work))
        try:
            await queue.run_until_stopped()
        finally:
            saying.cancel()


if __name__ == "__main__":
    asyncio.run(main())
