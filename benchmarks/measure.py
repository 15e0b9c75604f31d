"""What is measured on one system under test, through the contract alone.

Each measurement takes a peer, an empty server and a size, and raises `Failed` when the
peer cannot do it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks.peer import Failed, Peer, Program
from benchmarks.servers import Probe
from tests.support.monitor import Monitor

__all__ = ["FULL", "MEASURES", "QUICK", "SMALL", "Figures", "Size", "idle", "watch"]

Figures: TypeAlias = dict[str, float]

_STARTED: Final = 2.0
"""Seconds after which a worker that said it was ready waits for jobs."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    drain: float
    """Seconds that a drain is to take; the number of jobs follows."""

    serial: int
    """Jobs to enqueue one at a time, and from many coroutines."""

    bulk: int
    """Jobs to enqueue at once."""

    timed: int
    """Jobs on whose way the clock is kept."""

    single: int
    """Jobs that come one by one, 1,000 a second."""

    counted: int
    """Jobs whose commands are counted."""

    settle: float
    """Seconds after its start from which a worker counts as idle."""

    idle: float
    """Seconds for which an idle worker is watched."""


FULL: Final = Size(3.0, 5_000, 20_000, 1_000, 5_000, 4_000, 10.0, 10.0)
QUICK: Final = Size(1.0, 2_000, 10_000, 200, 2_000, 1_000, 10.0, 5.0)
SMALL: Final = Size(0.3, 500, 1_000, 100, 500, 500, 3.0, 2.0)

_LATENCY_RATE: Final = 200
_SINGLE_RATE: Final = 1_000

_FEWEST: Final = 500
_MOST: Final = 100_000


def idle(peer: Peer, server: Probe, size: Size) -> Figures:
    """Watch a worker that has nothing to do.

    Raises:
        Failed: it did not start, or `watch` cannot see it.
    """
    with peer.start(server.url, "work", _MOST, 10) as worker:
        worker.answer()
        return watch(worker, server, size)


def watch(worker: Program, server: Probe, size: Size) -> Figures:
    """Watch a worker that was just started and has nothing to do.

    Raises:
        Failed: it has ended meanwhile, or this is not Linux.
    """
    if not Path("/proc/self/task").exists():
        raise Failed("an idle worker is watched through /proc, which Linux has")
    time.sleep(size.settle)
    with Monitor(server.url) as monitor:
        before = _cpu_of(worker.pid)
        time.sleep(size.idle)
        used = _cpu_of(worker.pid) - before
        sent = monitor.sent().total()
    worker.check()
    return {
        "idle_rss": _rss_of(worker.pid),
        "idle_cpu": used / size.idle * 100,
        "idle_commands": sent / size.idle,
    }


def _drain100(peer: Peer, server: Probe, size: Size) -> Figures:
    return _drain(peer, server, size, 100)


def _drain10(peer: Peer, server: Probe, size: Size) -> Figures:
    return {"drain10": _drain(peer, server, size, 10)["drain10"]}


def _drain(peer: Peer, server: Probe, size: Size, concurrency: int) -> Figures:
    _fill(peer, server, _FEWEST)
    rate = _FEWEST / peer.ask(server.url, "work", _FEWEST, concurrency)["seconds"]
    server.client.flushall()
    jobs = round(min(max(rate * size.drain, _FEWEST), _MOST))
    empty = server.cpu()
    _fill(peer, server, jobs)
    before = server.cpu()
    took = peer.ask(server.url, "work", jobs, concurrency)
    return {
        f"drain{concurrency}": jobs / took["seconds"],
        "cpu": took["cpu"] / jobs * 1_000,
        "server_cpu": (server.cpu() - before) / jobs * 1_000,
        "fill_cpu": (before - empty) / jobs * 1_000,
        "left": server.stored() / jobs,
    }


def _fill(peer: Peer, server: Probe, jobs: int) -> None:
    if not peer.ask(server.url, "bulk", jobs):
        peer.ask(server.url, "produce", jobs)


def _enqueue(peer: Peer, server: Probe, size: Size) -> Figures:
    figures: Figures = {}
    for command, jobs in (
        ("produce", size.serial),
        ("together", size.serial),
        ("bulk", size.bulk),
    ):
        if took := peer.ask(server.url, command, jobs):
            figures[command] = jobs / took["seconds"]
    return figures


def _latency(peer: Peer, server: Probe, size: Size) -> Figures:
    jobs = size.timed
    with peer.start(server.url, "latency", jobs, 10) as worker:
        worker.answer()
        time.sleep(_STARTED)
        peer.ask(server.url, "paced", jobs, _LATENCY_RATE)
        took = worker.answer()
    return {"median": took["median"] * 1_000, "p99": took["p99"] * 1_000}


def _one_by_one(peer: Peer, server: Probe, size: Size) -> Figures:
    jobs = size.single
    with peer.start(server.url, "work", jobs, 100) as worker:
        worker.answer()
        time.sleep(_STARTED)
        before = server.cpu()
        peer.ask(server.url, "paced", jobs, _SINGLE_RATE)
        took = worker.answer()
    return {
        "single_cpu": took["cpu"] / jobs * 1_000,
        "single_server_cpu": (server.cpu() - before) / jobs * 1_000,
    }


def _commands(peer: Peer, server: Probe, size: Size) -> Figures:
    jobs = size.counted
    with Monitor(server.url) as monitor:
        peer.ask(server.url, "produce", jobs)
        enqueuing = monitor.sent().total()
        peer.ask(server.url, "work", jobs, 100)
        working = monitor.sent().total()
    return {"enqueue_commands": enqueuing / jobs, "work_commands": working / jobs}


def _import(peer: Peer, server: Probe, _: Size) -> Figures:
    imports: str = peer.ask(server.url, "about")["imports"]
    if not imports:  # a compiled program has none
        return {}
    return {"import": peer.seconds_to_import(imports) * 1_000}


MEASURES: Final[Mapping[str, Callable[[Peer, Probe, Size], Figures]]] = {
    "drain at 100": _drain100,
    "drain at 10": _drain10,
    "enqueue": _enqueue,
    "latency": _latency,
    "one by one": _one_by_one,
    "commands": _commands,
    "import": _import,
    "idle": idle,
}
"""What it is called when it fails, and the measurement."""


def _cpu_of(pid: int) -> float:
    """CPU seconds of all threads of a process, finer than the clock ticks of `stat`."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _rss_of(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
