"""A worker of many queues that counts what it handles.

`python -m benchmarks.scale.worker QUEUES CONCURRENCY PAUSE`: handlers sleep for PAUSE
seconds. Prints `{"ready": true}`, and after SIGTERM how many jobs it has handled.
"""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks.contract import URL
from flowd import Queue, QueueGroup
from jobs.crawl import Crawl


async def _work(queues: int, concurrency: int, pause: float) -> None:
    handled = 0

    async def handle(_: Crawl) -> None:
        nonlocal handled
        await asyncio.sleep(pause)
        handled += 1

    group = QueueGroup(
        Queue(Crawl, handle, url=URL, stream=f"crawl-{n}", concurrency=concurrency)
        for n in range(queues)
    )
    async with group:
        group.run_all()
        print(json.dumps({"ready": True}), flush=True)
        await group.run_until_stopped()
    print(json.dumps({"handled": handled}), flush=True)


if __name__ == "__main__":
    asyncio.run(_work(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
