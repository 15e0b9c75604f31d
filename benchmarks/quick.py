"""`make bench-quick`: flowd and raw redis-py, on one server, in one run.

Every figure is the median of interleaved rounds, and every ratio the median of the
ratios of its rounds. Absolute numbers are this machine's; the ratios are what to keep.
With the name of a file, the table is written there as JSON as well.
"""

from __future__ import annotations

import asyncio
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, Self, TypeAlias

from benchmarks.generate import SCHEMAS, generate
from benchmarks.measure import QUICK, idle
from benchmarks.own import Own
from benchmarks.peer import Failed, Peer, seconds_to_import
from benchmarks.raw import Raw
from benchmarks.servers import Probe, running
from flowd.embedded import Server
from tests.support.monitor import Monitor

_ROUNDS: Final = 5
_JOBS: Final = 20_000
_SERIAL: Final = 2_000
_PRODUCERS: Final = 50
_TIMED: Final = 200
_PAUSE: Final = 0.005
"""Two hundred jobs a second."""

Figures: TypeAlias = Mapping[str, float]


class _Side(Protocol):
    """What is compared."""

    stream: str

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    async def enqueue(self, number: int) -> None: ...
    async def enqueue_bulk(self, numbers: Sequence[int]) -> None: ...
    async def drain(self, jobs: int) -> None: ...
    async def latencies(self, jobs: int, pause: float) -> list[float]: ...


class _Row(NamedTuple):
    """One measurement, taken on both sides."""

    measure: Callable[[_Side, Probe], Awaitable[Figures]]
    concurrency: int = 100


async def _drain(side: _Side, server: Probe) -> Figures:
    await side.enqueue_bulk(range(_JOBS))
    seconds, cpu = await _timed(side.drain(_JOBS))
    left: int = server.client.memory_usage(side.stream, samples=0)
    return {
        "drain (jobs/s)": _JOBS / seconds,
        "CPU of 1,000 jobs (s)": cpu / _JOBS * 1_000,
        "bytes left by a job": left / _JOBS,
    }


async def _serial(side: _Side, _: Probe) -> Figures:
    async def work() -> None:
        for number in range(_SERIAL):
            await side.enqueue(number)

    seconds, _cpu = await _timed(work())
    return {"enqueue, one at a time (jobs/s)": _SERIAL / seconds}


async def _together(side: _Side, _: Probe) -> Figures:
    async def produce(first: int) -> None:
        for number in range(_JOBS // 2 // _PRODUCERS):
            await side.enqueue(first + number)

    producers = (produce(number) for number in range(_PRODUCERS))
    seconds, _cpu = await _timed(asyncio.gather(*producers))
    return {f"enqueue, {_PRODUCERS} at a time (jobs/s)": _JOBS // 2 / seconds}


async def _bulk(side: _Side, _: Probe) -> Figures:
    seconds, _cpu = await _timed(side.enqueue_bulk(range(_JOBS)))
    return {"enqueue_bulk (jobs/s)": _JOBS / seconds}


async def _latency(side: _Side, _: Probe) -> Figures:
    waits = sorted(await side.latencies(_TIMED, _PAUSE))
    return {
        "enqueue to handler, median (ms)": waits[_TIMED // 2] * 1_000,
        "enqueue to handler, p99 (ms)": waits[_TIMED * 99 // 100] * 1_000,
    }


async def _commands(side: _Side, server: Probe) -> Figures:
    with Monitor(server.url) as monitor:
        for number in range(_SERIAL):
            await side.enqueue(number)
        await side.drain(_SERIAL)
        return {"commands for a job": monitor.sent().total() / _SERIAL}


async def _timed(work: Awaitable[object]) -> tuple[float, float]:
    """Seconds on the clock, and of this process."""
    began, cpu = time.perf_counter(), time.process_time()
    await work
    return time.perf_counter() - began, time.process_time() - cpu


_ROWS: Final = (
    _Row(_drain, concurrency=100),
    _Row(_drain, concurrency=10),
    _Row(_serial),
    _Row(_together),
    _Row(_bulk),
    _Row(_latency),
    _Row(_commands),
)


async def _round(server: Probe) -> dict[str, tuple[float, float]]:
    """Every row on both sides, one after the other."""
    table: dict[str, tuple[float, float]] = {}
    for row in _ROWS:
        async with Raw(server.url) as raw:
            theirs = await row.measure(raw, server)
        async with Own(server.url, row.concurrency) as own:
            ours = await row.measure(own, server)
        for what, figure in theirs.items():
            name = (
                f"{what}, concurrency {row.concurrency}"
                if row.measure is _drain
                else what
            )
            table[name] = (figure, ours[what])
    return table


def _imports() -> tuple[float, float]:
    """Milliseconds to import redis.asyncio, and what a worker imports of flowd."""
    return (
        seconds_to_import("redis.asyncio") * 1_000,
        seconds_to_import("flowd.queue") * 1_000,
    )


def main() -> None:
    """Measure and print."""
    rounds: list[dict[str, tuple[float, float]]] = []
    for _ in range(_ROUNDS):
        with Server("--appendonly", "no") as server:
            probe = Probe(server)
            table = asyncio.run(_round(probe))
            probe.client.close()
        rounds.append(table | {"import (ms)": _imports()})
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {_ROUNDS} rounds\n"
    )
    print(f"{'':44}{'raw':>10}{'flowd':>10}{'ratio':>8}")
    result: dict[str, dict[str, float]] = {}
    for what in rounds[0]:
        raw = statistics.median(each[what][0] for each in rounds)
        own = statistics.median(each[what][1] for each in rounds)
        ratio = statistics.median(each[what][1] / each[what][0] for each in rounds)
        result[what] = {"raw": raw, "flowd": own, "ratio": ratio}
        digits = 0 if raw > 200 else 4
        print(f"{what:44}{raw:10,.{digits}f}{own:10,.{digits}f}{ratio:8.2f}")
    try:
        with running() as probe:
            figures = idle(Peer("flowd"), probe, QUICK)
    except Failed as error:
        print(f"idle worker: {error}")
    else:
        result["idle worker"] = figures
        print(
            "idle worker: {idle_rss:.1f} MB, {idle_cpu:.2f} % CPU, "
            "{idle_commands:.1f} commands/s".format(**figures)
        )
    new, same = generate(SCHEMAS)
    result["flowd-gen"] = {"all new": new, "nothing changed": same}
    print(
        f"flowd-gen, {SCHEMAS} schemas of ten fields: all new {new / SCHEMAS:.3f} s "
        f"each, nothing changed {same:.2f} s"
    )
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
