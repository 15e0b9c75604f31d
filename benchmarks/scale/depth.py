"""What a job, a look at the queue and a page of dead letters cost, by how many there are."""

from __future__ import annotations

import asyncio
import logging
import statistics
import subprocess
import sys
import time
from typing import Final

from benchmarks.jobs import crawl
from benchmarks.peer import Peer
from benchmarks.servers import Probe, running
from flowd import Queue, Reject
from flowd.model.keys import Keys
from jobs.crawl import Crawl

__all__ = ["depth"]

_CONCURRENCY: Final = 100
_REPEATED: Final = 20_000
"""A drain of fewer jobs is short, so it is measured several times."""

_PATIENCE: Final = 600.0

_COPIES: Final = 10_000

# Within the server, because a client would take minutes.
_COPY: Final = """
local letter = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][2]
for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', unpack(letter)) end
"""


def depth(jobs: int) -> dict[str, float]:
    """With so many jobs: rate, CPU and memory of one, and seconds of two commands.

    Raises:
        Failed: a worker broke.
    """
    repeats = 5 if jobs < _REPEATED else 1
    rows = [_drain(jobs) for _ in range(repeats)]
    row = {key: statistics.median(each[key] for each in rows) for key in rows[0]}
    return {"jobs": jobs, **row, **_look(jobs)}


def _drain(jobs: int) -> dict[str, float]:
    flowd = Peer("flowd")
    with running() as server:
        flowd.ask(server.url, "bulk", jobs, within=_PATIENCE)
        stored = server.stored()
        before = server.cpu()
        took = flowd.ask(server.url, "work", jobs, _CONCURRENCY, within=_PATIENCE)
        # When the clock starts, the first batch has been read already.
        timed = jobs - _CONCURRENCY
        return {
            "rate": timed / took["seconds"],
            "cpu": took["cpu"] / timed * 1_000,
            "server_cpu": (server.cpu() - before) / jobs * 1_000,
            "stored": stored / jobs,
        }


def _look(jobs: int) -> dict[str, float]:
    """With so many jobs waiting and as many dead."""
    policy = Crawl.SPEC.policy
    dead = Keys(policy.stream, policy.group).dead
    with running() as server:
        asyncio.run(_bury_one(server.url))
        for start in range(1, jobs, _COPIES):
            server.client.eval(_COPY, 1, dead, min(_COPIES, jobs - start))
        Peer("flowd").ask(server.url, "bulk", jobs, within=_PATIENCE)
        return {
            "stats": _command(server, "stats"),
            "dlq": _command(server, "dlq", "list", "--job", "jobs.crawl:Crawl"),
        }


async def _bury_one(url: str) -> None:
    async def reject(_: Crawl) -> None:
        raise Reject("for the benchmark")

    logging.getLogger("flowd").addHandler(logging.NullHandler())
    async with Queue(Crawl, reject, url=url) as queue:
        await queue.enqueue(crawl(0))
        queue.run()
        await queue.drain()


def _command(server: Probe, *words: str) -> float:
    """Seconds that a command takes, as who calls it waits for them."""

    def once() -> float:
        began = time.perf_counter()
        subprocess.run(
            (sys.executable, "-m", "flowd", *words, "--url", server.url),
            capture_output=True,
            check=True,
        )
        return time.perf_counter() - began

    return min(once() for _ in range(3))
