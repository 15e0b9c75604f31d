"""A worker process of a queue with policies, which writes down what it does.

Usage: as `worker`, and behind it the name of one of `GATES`

A job's `to` is its key, and its `subject` a number that says whether it fails at first.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Final

from flowd import Concurrency, Context, Gate, Retry, Unique
from jobs.email import Email
from tests.support.gated import gated
from tests.system.chaos.worker import Worker, serve

__all__ = ["GATES", "LIMITS"]

GATES: Final = {
    "limit": Gate(concurrency=Concurrency(per=("to",), limit=2)),
    "ordered": Gate(concurrency=Concurrency(per=("to",), limit=1, ordered=True)),
    "unique": Gate(unique=Unique(fields=("to",))),
}
LIMITS: Final = {"limit": 2, "ordered": 1, "unique": 1}
"""How many jobs of a key may run at once under each."""


class GateWorker(Worker):
    """Runs jobs, some of which fail at first."""

    async def _play(self, job: Email, ctx: Context) -> None:
        await asyncio.sleep(random.uniform(0.002, 0.03))
        if int(job.subject) % 5 == 0 and ctx.attempt == 1:
            raise Retry(after=0.05 if int(job.subject) % 10 else 0.0)


if __name__ == "__main__":
    *words, name = sys.argv[1:]
    asyncio.run(serve(GateWorker, gated(GATES[name]), words))
