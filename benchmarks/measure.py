"""What is measured on one system under test, through the contract alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks.peer import Failed, Peer, Program
from benchmarks.servers import Probe
from tests.monitor import Monitor

__all__ = ["FULL", "QUICK", "SMALL", "Figures", "Size", "idle", "measure", "watch"]

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

    counted: int
    """Jobs whose commands are counted."""

    settle: float
    """Seconds after its start from which a worker counts as idle."""

    idle: float
    """Seconds for which an idle worker is watched."""


FULL: Final = Size(3.0, 5_000, 20_000, 1_000, 4_000, 10.0, 10.0)
QUICK: Final = Size(1.0, 2_000, 10_000, 200, 1_000, 10.0, 5.0)
SMALL: Final = Size(0.3, 500, 1_000, 100, 500, 3.0, 2.0)

_FEWEST: Final = 500
_MOST: Final = 100_000


def measure(peer: Peer, server: Probe, size: Size, skip: set[str]) -> Iterator[Figures]:
    """Take one round of figures; what fails is added to `skip` and passed over.

    Raises:
        Failed: after everything else was measured; says what failed first.
    """
    steps: Mapping[str, Callable[[], Figures]] = {
        "drain100": lambda: _drain(peer, server, size, 100),
        "drain10": lambda: _drain(peer, server, size, 10),
        "produce": lambda: _enqueue(peer, server, "produce", size.serial),
        "together": lambda: _enqueue(peer, server, "together", size.serial),
        "bulk": lambda: _enqueue(peer, server, "bulk", size.bulk),
        "latency": lambda: _latency(peer, server, size.timed),
        "commands": lambda: _commands(peer, server, size.counted),
    }
    failures: list[str] = []
    for name, step in steps.items():
        server.client.flushall()
        if name not in skip:
            try:
                yield step()
            except Failed as error:
                skip.add(name)
                failures.append(f"{name}: {error}")
    if failures:
        raise Failed("; ".join(failures))


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
        Failed: this is not Linux.
    """
    if not Path("/proc/self/task").exists():
        raise Failed("an idle worker is watched through /proc, which Linux has")
    time.sleep(size.settle)
    with Monitor(server.url) as monitor:
        before = _cpu_of(worker.pid)
        time.sleep(size.idle)
        used = _cpu_of(worker.pid) - before
        sent = monitor.sent().total()
    return {
        "idle_rss": _rss_of(worker.pid),
        "idle_cpu": used / size.idle * 100,
        "idle_commands": sent / size.idle,
    }


def _drain(peer: Peer, server: Probe, size: Size, concurrency: int) -> Figures:
    _fill(peer, server, _FEWEST)
    rate = _FEWEST / peer.ask(server.url, "work", _FEWEST, concurrency)["seconds"]
    server.client.flushall()
    jobs = round(min(max(rate * size.drain, _FEWEST), _MOST))
    _fill(peer, server, jobs)
    before = server.cpu()
    took = peer.ask(server.url, "work", jobs, concurrency)
    figures = {f"drain{concurrency}": jobs / took["seconds"]}
    if concurrency == 100:
        figures["cpu"] = took["cpu"] / jobs * 1_000
        figures["server_cpu"] = (server.cpu() - before) / jobs * 1_000
        figures["left"] = server.stored() / jobs
    return figures


def _fill(peer: Peer, server: Probe, jobs: int) -> None:
    if not peer.ask(server.url, "bulk", jobs):
        peer.ask(server.url, "produce", jobs)


def _enqueue(peer: Peer, server: Probe, command: str, jobs: int) -> Figures:
    took = peer.ask(server.url, command, jobs)
    return {command: jobs / took["seconds"]} if took else {}


def _latency(peer: Peer, server: Probe, jobs: int) -> Figures:
    with peer.start(server.url, "latency", jobs, 10) as worker:
        worker.answer()
        time.sleep(_STARTED)
        peer.ask(server.url, "paced", jobs)
        took = worker.answer()
    return {"median": took["median"] * 1_000, "p99": took["p99"] * 1_000}


def _commands(peer: Peer, server: Probe, jobs: int) -> Figures:
    with Monitor(server.url) as monitor:
        peer.ask(server.url, "produce", jobs)
        enqueuing = monitor.sent().total()
        peer.ask(server.url, "work", jobs, 100)
        working = monitor.sent().total()
    return {"enqueue_commands": enqueuing / jobs, "work_commands": working / jobs}


def _cpu_of(pid: int) -> float:
    """CPU seconds of all threads of a process, finer than the clock ticks of `stat`."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _rss_of(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
