"""What each system under test is asked to do, and how it answers.

A peer is a program: `python -m benchmarks.peers.NAME COMMAND [JOBS] [CONCURRENCY]`, run
by the Python of its own environment, with the server's URL in `BENCH_URL`, and for flowd the
policy of its queue in `BENCH_POLICY`. It prints one line of JSON:

    about                      what it is: versions, imports, guarantees
    produce JOBS               enqueue one at a time
    together JOBS              enqueue from 50 coroutines at once
    bulk JOBS                  enqueue in as few round trips as it can
    work JOBS CONCURRENCY      handle so many, then end
    latency JOBS CONCURRENCY   the same, and how long each was on its way
    paced JOBS PER_SECOND      enqueue so many a second, for `latency` in another process

All but the first answer with seconds, and with CPU seconds of the process. For `work` both
run from the first call of the handler to the last, so that neither start nor end counts;
`latency` adds the median and the 99th percentile in seconds. These two say that they are
ready first. What a peer cannot do (`together` with a blocking client, `bulk`) is
answered with `{}`.

This module needs nothing but Python: each environment has one library.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.metadata import version
from threading import Event, Thread
from typing import ClassVar, Final, NamedTuple, Self, TypeAlias

__all__ = ["URL", "Guarantees", "Job", "Peer", "crawl", "handle", "job", "meter"]

URL: Final = os.environ.get("BENCH_URL", "redis://127.0.0.1:6379")

_PRODUCERS: Final = 50
_FLUSH: Final = 0.3
"""Seconds for what a worker still has to settle after its last job."""

_WARM_UP: Final = 10
"""Of so many jobs the first is not timed."""

Answer: TypeAlias = dict[str, object]


class Job(NamedTuple):
    """The job of every benchmark: four fields of about a hundred bytes."""

    url: str
    priority: int
    tags: list[str]
    assigned_to: str


def job(number: int) -> Job:
    """One job."""
    return Job(f"https://example.org/{number}", number % 10, ["a", "b"], "someone")


class Guarantees(NamedTuple):
    """What holds for a job in the configuration that is measured, without more code."""

    survives_kill: bool
    """It runs again after its worker was killed."""

    acked_after: bool
    """It is taken off the queue only once its handler has returned."""

    retries: bool
    """It runs again after its handler raised."""

    timeout: bool
    """A handler that takes too long is stopped."""

    deliveries: bool
    """How often it was delivered is counted, and limited."""

    dead_letters: bool
    """It is kept when it is given up."""


class Peer:
    """A system under test; an async context manager of what a producer needs."""

    packages: ClassVar[Sequence[str]]
    """Distributions whose versions matter, its own first."""

    imports: ClassVar[str]
    """The modules that a worker imports, as after `import`."""

    guarantees: ClassVar[Guarantees]

    blocking: ClassVar[bool] = False
    """Whether `enqueue` blocks the thread, so that coroutines gain nothing."""

    bulk: Callable[[Sequence[Job]], Awaitable[object]] | None = None
    """Enqueues many in as few round trips as it can."""

    async def __aenter__(self) -> Self:
        """Connect."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""

    async def enqueue(self, job: Job) -> object:
        """Enqueue one job."""
        raise NotImplementedError

    async def work(self, concurrency: int) -> object:
        """Run a worker until it is killed, blocking the thread or not."""
        raise NotImplementedError

    @classmethod
    def serve(cls) -> None:
        """Carry out the command on the command line."""
        command, *numbers = sys.argv[1:]
        asyncio.run(_carry_out(cls(), command, *map(int, numbers)))


class _Meter:
    """Counts the calls of the handler, in any thread, and ends the process after them."""

    def __init__(self) -> None:
        self._calls: Iterator[int] = itertools.count(1)
        self._wanted = 0
        self._waits: list[float] | None = None
        self._first = self._last = (0.0, 0.0)
        self._done = Event()

    def expect(self, jobs: int, *, timed: bool) -> None:
        """Answer and end the process when so many jobs were handled."""
        self._wanted = jobs
        self._waits = [] if timed else None
        Thread(target=self._end, daemon=True).start()
        _say({"ready": True})

    def handled(self, url: str) -> None:
        """Note one call of the handler; the first and the last stop the clock."""
        number = next(self._calls)
        if self._waits is not None:
            self._waits.append(time.monotonic() - float(url))
        if number == 1:
            self._first = _clocks()
        if number == self._wanted:
            self._last = _clocks()
            self._done.set()

    def _end(self) -> None:
        self._done.wait()
        time.sleep(_FLUSH)
        answer = _between(self._first, self._last)
        if self._waits is not None:
            waits = sorted(self._waits[len(self._waits) // _WARM_UP :])
            answer["median"] = waits[len(waits) // 2]
            answer["p99"] = waits[len(waits) * 99 // 100]
        _say(answer)
        os._exit(0)


meter: Final = _Meter()


async def crawl(url: str, priority: int, tags: list[str], assigned_to: str) -> None:
    """Do nothing with the job: the handler, where it may be a coroutine."""
    meter.handled(url)


def handle(url: str, priority: int, tags: list[str], assigned_to: str) -> None:
    """Do nothing with the job: the handler, where it is run in threads."""
    meter.handled(url)


async def _carry_out(peer: Peer, command: str, jobs: int = 0, number: int = 0) -> None:
    async with peer:
        match command:
            case "about":
                versions = {name: version(name) for name in peer.packages}
                guarantees = peer.guarantees._asdict()
                _say(
                    {
                        "versions": versions,
                        "imports": peer.imports,
                        "guarantees": guarantees,
                    }
                )
            case "produce":
                await _timed(_produce(peer, range(jobs)))
            case "together" if not peer.blocking:
                each = jobs // _PRODUCERS
                starts = range(0, each * _PRODUCERS, each)
                parts = (_produce(peer, range(n, n + each)) for n in starts)
                await _timed(asyncio.gather(*parts))
            case "bulk" if peer.bulk is not None:
                many = [job(number) for number in range(jobs)]
                await _timed(peer.bulk(many))
            case "together" | "bulk":
                _say({})
            case "work" | "latency":
                meter.expect(jobs, timed=command == "latency")
                await peer.work(number)
            case "paced":
                await _timed(_pace(peer, jobs, number))
            case _:
                sys.exit(f"{command} is no command: see {__file__}")


async def _produce(peer: Peer, numbers: Sequence[int]) -> None:
    for number in numbers:
        await peer.enqueue(job(number))


async def _pace(peer: Peer, jobs: int, per_second: int) -> None:
    began = time.monotonic()
    for number in range(jobs):
        await asyncio.sleep(began + number / per_second - time.monotonic())
        await peer.enqueue(job(number)._replace(url=repr(time.monotonic())))


async def _timed(work: Awaitable[object]) -> None:
    before = _clocks()
    await work
    _say(_between(before, _clocks()))


def _clocks() -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads of this process."""
    return time.perf_counter(), time.process_time()


def _between(first: tuple[float, float], last: tuple[float, float]) -> Answer:
    return {"seconds": last[0] - first[0], "cpu": last[1] - first[1]}


def _say(answer: Answer) -> None:
    print(json.dumps(answer), flush=True)
