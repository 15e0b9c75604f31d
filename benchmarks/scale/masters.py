"""`make bench-masters`: what a job costs, on clusters of 1, 2 and 3 masters.

The model of `docs/scale.md` says that a master carries as many jobs as a server alone, so
that masters add up. This measures the cost of a job on one master, predicts from it the cost
on two and three, and runs them: a queue and a producer for each master, and one worker
process with all queues.

What is compared is CPU time a job, of all masters together, and not jobs a second: few cores
are shared by servers, worker, producer and whatever else runs. What disturbs the machine adds
to CPU time as well. So rounds are interleaved, and each figure is the least of all rounds.
What the masters use without any job (`cluster` bus, timers) is measured and subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.bench import machine, note
from benchmarks.jobs import crawl
from benchmarks.peer import start
from benchmarks.policies import KEYS, gated
from benchmarks.scale.gated import enqueue
from benchmarks.servers import binary
from benchmarks.table import markdown, replace
from flowd import Queue
from jobs.crawl import Crawl
from tests.support.cluster import Cluster
from tests.support.raw import Raw

_ROOT: Final = Path(__file__).parents[2]
_MASTERS: Final = (1, 2, 3)
_PATIENCE: Final = 300.0
_STARTED: Final = 1.0
_IDLE: Final = 3.0
"""Seconds: for an answer of the worker, behind its start, and to measure without jobs."""

_RATE: Final = 1_000
"""Jobs a second for each master, where they come one by one."""

_BUSY: Final = 0.7
"""How much of a core may be planned for."""

_WANTED: Final = (1_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which jobs come and run."""

    name: str
    jobs: int
    concurrency: int = 100
    one_by_one: bool = False
    is_gated: bool = False
    aof: bool = False

    @property
    def job(self) -> type[Crawl]:
        """The class."""
        return gated("limit 1") if self.is_gated else Crawl


_KINDS: Final = (
    Kind("a backlog, concurrency 100", 40_000),
    Kind("the same, `appendonly yes`", 40_000, aof=True),
    Kind("a backlog, concurrency 10", 20_000, concurrency=10),
    Kind("a limit of 1 for each of 100 keys", 10_000, is_gated=True),
    Kind("one by one", 3_000, one_by_one=True),
    Kind("one by one, `appendonly yes`", 3_000, one_by_one=True, aof=True),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one job, in microseconds."""

    enqueue: float
    """Of the masters, until it is stored; with what runs it where jobs come one by one."""

    run: float
    """Of the masters, until it is settled."""

    worker: float
    producer: float

    @property
    def server(self) -> float:
        """Of the masters."""
        return self.enqueue + self.run

    @classmethod
    def least(cls, costs: Iterable[Cost]) -> Cost:
        """The least of each, over rounds."""
        rows = [(each.enqueue, each.run, each.worker, each.producer) for each in costs]
        return cls(*map(min, zip(*rows, strict=True)))


class Masters:
    """A cluster of some masters, each with a queue.

    Args:
        count: of the masters.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._cluster = Cluster(binary(), masters=count, replicas=0)
        self._idle = 0.0

    def __enter__(self) -> Self:
        """Start, and see what it uses without any job."""
        self._cluster.__enter__()
        self.url = self._cluster.url
        self.streams = self._streams()
        before = self._used()
        time.sleep(_IDLE)
        self._idle = (self._used() - before) / _IDLE
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._cluster.close()

    @property
    def name(self) -> str:
        """What the masters are, as `Redis 7.0.15`."""
        with Raw(self._cluster.servers[0].url) as raw:
            return f"Redis {raw.info('redis_version')}"

    def empty(self, *, aof: bool) -> None:
        """Delete what is left, and write to disk or not."""
        for server in self._cluster.servers:
            with Raw(server.url, timeout=60.0) as raw:
                raw("FLUSHALL")
                raw("CONFIG", "SET", "appendonly", "yes" if aof else "no")
                while aof and raw.info("aof_rewrite_in_progress") != "0":
                    time.sleep(0.05)

    def clock(self) -> tuple[float, float]:
        """CPU seconds that the masters have used, and the time."""
        return self._used(), time.monotonic()

    def since(self, before: tuple[float, float], jobs: int) -> float:
        """Microseconds for each of so many jobs since then, without what is used idle."""
        used, now = self.clock()
        idle = self._idle * (now - before[1])
        return (used - before[0] - idle) / jobs * 1e6

    def _used(self) -> float:
        total = 0.0
        for server in self._cluster.servers:
            with Raw(server.url) as raw:
                total += float(raw.info("used_cpu_user"))
                total += float(raw.info("used_cpu_sys"))
        return total

    def _streams(self) -> list[str]:
        found: dict[int, str] = {}
        number = 0
        while len(found) < self.count:
            number += 1
            name = f"crawl-{number}"
            found.setdefault(self._cluster.owner(name).pid, name)
        return list(found.values())


async def _measure(masters: Masters, kind: Kind) -> Cost:
    masters.empty(aof=kind.aof)
    jobs = kind.jobs * (masters.count if kind.one_by_one else 1)
    each = jobs // masters.count
    jobs = each * masters.count
    words = (jobs, kind.concurrency, "gated" if kind.is_gated else "plain")
    module = (sys.executable, "-m", "benchmarks.scale.shared_worker")
    command = [*module, *map(str, words), *masters.streams]
    async with AsyncExitStack() as stack:
        queues = [
            await stack.enter_async_context(_producing(masters.url, kind, stream))
            for stream in masters.streams
        ]
        if kind.one_by_one:
            with start(command, masters.url) as worker:
                await asyncio.to_thread(worker.answer, _PATIENCE)
                await asyncio.sleep(_STARTED)
                before, own = masters.clock(), time.process_time()
                await asyncio.gather(*(_pace(queue, each) for queue in queues))
                own = time.process_time() - own
                took = await asyncio.to_thread(worker.answer, _PATIENCE)
                cost = masters.since(before, jobs)
            return Cost(0.0, cost, took["cpu"] / jobs * 1e6, own / jobs * 1e6)
        before, own = masters.clock(), time.process_time()
        await asyncio.gather(*(_fill(queue, each, kind) for queue in queues))
        own = time.process_time() - own
        stored = masters.since(before, jobs)
        before = masters.clock()
        with start(command, masters.url) as worker:
            await asyncio.to_thread(worker.answer, _PATIENCE)
            took = await asyncio.to_thread(worker.answer, _PATIENCE)
            run = masters.since(before, jobs)
        return Cost(stored, run, took["cpu"] / jobs * 1e6, own / jobs * 1e6)


def _producing(url: str, kind: Kind, stream: str) -> Queue[Crawl]:
    async def ignore(_: Crawl) -> None:
        """These queues enqueue, and run nothing."""

    return Queue(kind.job, ignore, url=url, stream=stream)


async def _fill(queue: Queue[Crawl], jobs: int, kind: Kind) -> None:
    job_class = kind.job
    await enqueue(
        queue, (crawl(n, job_class, f"person-{n % KEYS}") for n in range(jobs))
    )


async def _pace(queue: Queue[Crawl], jobs: int) -> None:
    began = time.monotonic()
    for number in range(jobs):
        await asyncio.sleep(began + number / _RATE - time.monotonic())
        await queue.enqueue(crawl(number))


def _costs(costs: Sequence[Sequence[Cost]]) -> str:
    """A row for each kind: measured on so many masters, with what was predicted."""
    masters = [f"{count} masters" for count in _MASTERS[1:]]
    rows = [["", "1 master", *masters, "a worker", "a producer"]]
    for kind, (one, *more) in zip(_KINDS, costs, strict=True):
        cells = [f"{each.server:.1f} ({each.server / one.server:.2f})" for each in more]
        own = (f"{one.worker:.0f}", f"{one.producer:.0f}")
        rows.append([kind.name, f"{one.server:.1f}", *cells, *own])
    return markdown(rows)


def _plan(costs: Sequence[Sequence[Cost]]) -> str:
    """How many jobs a core carries, and how many cores so many jobs a second take."""
    rows = [
        ["", "a master's core", "a worker's core", *(f"{n:,}/s" for n in _WANTED)],
    ]
    for kind, (one, *_) in zip(_KINDS, costs, strict=True):
        carries = [f"{1e6 / each:,.0f}/s" for each in (one.server, one.worker)]
        cells = [
            " + ".join(_cores(cost, wanted) for cost in (one.server, one.worker))
            for wanted in _WANTED
        ]
        rows.append([kind.name, *carries, *cells])
    return markdown(rows)


def _cores(cost: float, wanted: int) -> str:
    return str(math.ceil(wanted * cost / 1e6 / _BUSY))


def main() -> None:
    """Measure, print, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--docs", action="store_true", help="write the page")
    options = parser.parse_args()
    found: list[list[list[Cost]]] = [[[] for _ in _MASTERS] for _ in _KINDS]
    with ExitStack() as stack:
        every = [stack.enter_context(Masters(count)) for count in _MASTERS]
        for number in range(options.rounds):
            note(f"round {number + 1} of {options.rounds} ...")
            for rows, kind in zip(found, _KINDS, strict=True):
                for costs, masters in zip(rows, every, strict=True):
                    costs.append(asyncio.run(_measure(masters, kind)))
        name = every[0].name
    least = [[Cost.least(each) for each in rows] for rows in found]
    about = (
        f"{time.strftime('%Y-%m-%d')}, {machine()}, {name}, the least of"
        f" {options.rounds} interleaved rounds. CPU of a job in microseconds; in brackets"
        " the ratio to what the model predicts, which is the cost on one master:"
    )
    report = "\n\n".join(
        [
            about,
            _costs(least),
            f"Cores of masters + cores of workers, of each {_BUSY:.0%} busy:",
            _plan(least),
        ]
    )
    print(report)
    folder = _ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    record = {
        kind.name: [[asdict(each) for each in row] for row in rows]
        for kind, rows in zip(_KINDS, found, strict=True)
    }
    (folder / "masters.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    if options.docs:
        replace(_ROOT / "docs" / "scale.md", "make bench-masters", report)


if __name__ == "__main__":
    main()
