"""One run: jobs, faults of workers and faults of nodes together, until all is done."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final, NamedTuple

from flowd import DeadLetters, Queue
from jobs.email import Email
from tests.support.cluster import Cluster
from tests.support.gated import leftovers
from tests.support.leases import pending
from tests.support.raw import Raw, Reply
from tests.support.sentinels import Sentinels
from tests.support.waiting import wait_until_blocking
from tests.system.chaos.fault_injector import WorkerFaults
from tests.system.chaos.nodes.cluster_faults import ClusterFaults
from tests.system.chaos.nodes.feeder import Accepted, feed
from tests.system.chaos.nodes.history import History, Letter, Workers, history
from tests.system.chaos.nodes.node_faults import NodeFaults, Nodes
from tests.system.chaos.nodes.queues import (
    GROUP,
    idle,
    job_class,
    limit_of,
    name_queues,
    role,
    rules,
)
from tests.system.chaos.nodes.sentinel_faults import SentinelFaults
from tests.system.chaos.plan import CONCURRENCY, GRACE, LEASE, plan
from tests.system.chaos.worker_pool import WorkerPool

__all__ = ["PLACES", "Place", "play"]

_WORKERS: Final = 3
_DRAINING: Final = 120.0
_PROBES: Final = 20.0
_WARM: Final = 20

# For each ten seconds. One worker is spared, so a queue stands still because of its node.
_WORKER_FAULTS: Final = {"kill": 2, "term": 1, "freeze": 1}


class Place(NamedTuple):
    """Nodes to run on, that are there."""

    url: str
    streams: Sequence[str]
    faults: Nodes
    replicas: int
    """How many have to have a durable job, so that no fault loses it."""


@contextmanager
def _cluster(program: Path, min_replicas: int) -> Generator[Place]:
    """3 masters with a replica each."""
    with Cluster(program, *_refusing(min_replicas)) as cluster:
        streams = name_queues(cluster.owner)
        yield Place(cluster.url, streams, ClusterFaults(cluster, streams), 1)


@contextmanager
def _sentinel(program: Path, min_replicas: int) -> Generator[Place]:
    """1 primary, 2 replicas, 3 sentinels."""
    with Sentinels(program, *_refusing(min_replicas)) as sentinels:
        streams = name_queues(lambda _: 0)
        yield Place(sentinels.url, streams, SentinelFaults(sentinels, streams), 2)


PLACES: Final = {"cluster": _cluster, "sentinel": _sentinel}
"""On what a run can be, by name: makes it from the server's program, and from
`min-replicas-to-write`."""


def play(place: Place, folder: Path, seed: int, seconds: float) -> History:
    """Enqueue and hurt for so many seconds, then wait until all is quiet.

    Raises:
        AssertionError: the nodes do not recover from a fault, or a job is never accepted.
    """
    stop = Event()
    with (
        ThreadPoolExecutor(2) as threads,
        ExitStack() as stack,
        WorkerPool(
            *(place.url, ",".join(place.streams), folder),
            lease=LEASE,
            grace=GRACE,
            interval=10.0,
            concurrency=CONCURRENCY,
            program="nodes.worker",
        ) as pool,
    ):
        stack.callback(stop.set)  # or the threads would be waited for without an end
        workers = WorkerFaults(pool, _WORKERS, spared=1)
        feeding = threads.submit(_feed, place, seed, stop)
        _wait(lambda: _is_warm(pool, place.streams), workers, feeding)
        faults = NodeFaults(place.faults, place.streams, seed)
        hurting = threads.submit(faults.play, seconds)
        tens = max(1, round(seconds / 10))
        counts = {kind: tens * number for kind, number in _WORKER_FAULTS.items()}
        workers.play(plan(seed, seconds, counts))
        _wait(hurting.done, workers, feeding)
        hurting.result()
        until = time.time()
        stop.set()
        _wait(feeding.done, workers, within=_DRAINING)
        with suppress(AssertionError):  # what is left is counted
            _wait(lambda: _is_quiet(place), workers, within=_DRAINING)
        stuck = _stuck(pool, place, workers)
        workers.dismiss()
        fates = Workers(workers.died, workers.endings, stuck)
        return history(
            *(feeding.result(), pool.notes(), asyncio.run(_letters(place)), fates),
            *(faults.done, _left(place), until),
        )


def _feed(place: Place, seed: int, stop: Event) -> list[Accepted]:
    return asyncio.run(feed(place.url, place.streams, place.replicas, seed, stop))


def _wait(
    holds: Callable[[], bool],
    workers: WorkerFaults,
    *running: Future[list[Accepted]],
    within: float = 3_600.0,
) -> None:
    """Go on until it holds, or until something that has to run ends."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        for each in running:
            if each.done():
                each.result()
        workers.step()


def _is_warm(pool: WorkerPool, streams: Sequence[str]) -> bool:
    """Whether every queue has done some work."""
    if not all(map(pool.ready, pool.workers)):
        return False
    done = Counter(note.words[0] for note in pool.notes("ran"))
    return all(done[each] >= _WARM for each in streams if role(each) == "plain")


def _stuck(pool: WorkerPool, place: Place, workers: WorkerFaults) -> list[str]:
    """Which worker does not fill the slots of a queue, when there is enough for all."""
    queues = [each for each in place.streams if role(each) != "cron"]
    _wait(lambda: all(map(pool.ready, pool.workers)), workers, within=_PROBES)
    before = len(pool.notes("start"))
    asyncio.run(_probe(place, queues, CONCURRENCY * len(pool.workers)))

    def stuck() -> list[str]:
        running = Counter(
            (note.pid, note.words[0]) for note in pool.notes("start")[before:]
        )
        return [
            f"process {each.pid} on {stream}: {running[each.pid, stream]} run"
            for each in pool.workers
            for stream in queues
            if running[each.pid, stream] < CONCURRENCY
        ]

    with suppress(AssertionError):
        wait_until_blocking(lambda: not stuck(), within=_PROBES)
    found = stuck()
    for worker in pool.workers:
        pool.let(worker)
    with suppress(AssertionError):
        wait_until_blocking(lambda: _is_quiet(place), within=_PROBES)
    return found


async def _probe(place: Place, streams: Sequence[str], number: int) -> None:
    """Enqueue jobs that wait, each with a key of its own."""
    for stream in streams:
        queue = Queue(job_class(stream), idle, url=place.url, policy=rules(stream))
        async with queue:
            await queue.enqueue_bulk(
                job_class(stream)(
                    to=f"probe-{each}", subject="wait", body=f"probe-{each}"
                )
                for each in range(number)
            )


def _is_quiet(place: Place) -> bool:
    """Whether no job waits, runs or is delayed, but for those of the schedule."""
    return not any(
        number
        for what, number in _left(place).items()
        if role(what.split()[-1]) != "cron"
    )


def _left(place: Place) -> dict[str, int]:
    """What Redis holds, by what it is and the queue; ticks come without an end."""
    left: dict[str, int] = {}
    with Raw(place.url) as raw:
        for stream in place.streams:
            if role(stream) != "cron":
                left[f"entries of {stream}"] = _number(raw("XLEN", stream))
            left[f"pending entries of {stream}"] = len(pending(raw, stream, GROUP))
            delayed = f"{{{stream}}}:delayed"
            left[f"delayed jobs of {stream}"] = _number(raw("ZCARD", delayed))
            left[f"bodies of {stream}"] = _number(raw("HLEN", f"{delayed}:jobs"))
            if limit_of(stream):
                left[f"keys of the gate of {stream}"] = len(leftovers(raw, stream))
    return left


async def _letters(place: Place) -> list[Letter]:
    found: list[Letter] = []
    for stream in place.streams:
        async with DeadLetters(Email, place.url, stream=stream) as letters:
            async for each in letters.list():
                name = dict(each.fields).get(b"body", b"?").decode()
                found.append(Letter(stream, name, each.job_id, each.reason))
    return found


def _refusing(min_replicas: int) -> Sequence[str]:
    """The options of a server that takes no writes without so many replicas."""
    if not min_replicas:
        return ()
    number = str(min_replicas)
    return ("--min-replicas-to-write", number, "--min-replicas-max-lag", "2")


def _number(reply: Reply) -> int:
    assert isinstance(reply, int)
    return reply
