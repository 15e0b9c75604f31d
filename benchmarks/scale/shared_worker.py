"""A worker of the queues of several masters, and what of a processor it takes.

`python -m benchmarks.scale.shared_worker JOBS CONCURRENCY GATED STREAM ...`: handlers do
nothing. Prints `{"ready": true}`, and after so many jobs the CPU seconds of the process
between the first and the last.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from benchmarks.contract import URL
from benchmarks.policies import gated
from flowd import Queue, QueueGroup
from jobs.crawl import Crawl

_SETTLING = 0.3


async def _work(jobs: int, concurrency: int, job: type[Crawl], *streams: str) -> None:
    handled, began = 0, 0.0
    done = asyncio.Event()

    async def handle(_: Crawl) -> None:
        nonlocal handled, began
        began = began or time.process_time()
        handled += 1
        if handled == jobs:
            done.set()

    group = QueueGroup(
        Queue(job, handle, url=URL, stream=each, concurrency=concurrency)
        for each in streams
    )
    async with group:
        group.run_all()
        print(json.dumps({"ready": True}), flush=True)
        await done.wait()
        await asyncio.sleep(_SETTLING)
        used = time.process_time() - began
    print(json.dumps({"cpu": used}), flush=True)


if __name__ == "__main__":
    _, _jobs, _concurrency, _gated, *_streams = sys.argv
    _class = gated("limit 1") if _gated == "gated" else Crawl
    asyncio.run(_work(int(_jobs), int(_concurrency), _class, *_streams))
