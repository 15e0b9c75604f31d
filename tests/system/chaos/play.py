"""One run: jobs and faults together, until nothing is left to do."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowd import DeadLetters
from flowd.embedded import Server
from jobs.email import Email
from tests.support.leases import consumers, pending
from tests.support.raw import Raw, RawError, Reply
from tests.support.waiting import wait_until_blocking
from tests.system.chaos.fault_injector import FaultInjector
from tests.system.chaos.feeder import feed
from tests.system.chaos.history import Accepted, Fates, History, Left, history
from tests.system.chaos.plan import CONCURRENCY, GRACE, LEASE, Fault, Wish
from tests.system.chaos.worker_pool import WorkerPool

__all__ = ["Outcome", "play"]

_STREAM: Final = "chaos"
_GROUP: Final = "senders"
_WORKERS: Final = 4
_PATIENCE: Final = 240.0
_RECOVERY: Final = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run."""

    history: History
    faults: Counter[str]
    """How often what went wrong."""

    suicides: int
    """How many workers their jobs have killed."""

    seconds: float
    draining: float

    def innocent(self) -> list[str]:
        """The ids of jobs that are dead letters for what others have done."""
        guilty = {"kill": "crashed", "bad": "rejected", "fail": "failed"}
        reasons = {
            wish.name.encode(): guilty.get(wish.subject)
            or ("innocent" if wish.subject else "undecodable")
            for wish, *_ in self.history.accepted
        }
        return [
            job_id
            for job_id, letters in self.history.left.dead.items()
            for reason, fields in letters
            if reason != reasons.get(fields.get(b"to", b""))
        ]


def play(
    server: Server,
    folder: Path,
    wishes: Sequence[Wish],
    faults: Sequence[Fault],
    seconds: float,
    *,
    workers: int = _WORKERS,
    patient: bool = True,
) -> Outcome:
    """Enqueue and hurt for so many seconds, then wait until all is quiet.

    Who is `patient` also waits until dead consumers were forgotten, for 25 leases.
    """
    with (
        ThreadPoolExecutor(1) as threads,
        WorkerPool(
            *(server.url, _STREAM, folder),
            lease=LEASE,
            grace=GRACE,
            interval=10.0,
            concurrency=CONCURRENCY,
        ) as pool,
    ):
        injector = FaultInjector(pool, server, workers)
        wait_until_blocking(lambda: all(map(pool.ready, pool.workers)))
        began = time.monotonic()
        feeding = threads.submit(_feed, server.url, wishes, seconds)
        injector.play(faults)
        ended = time.monotonic()
        while not (feeding.done() and _is_quiet(server)):
            injector.step()
            if time.monotonic() > ended + _PATIENCE:
                break
        drained = time.monotonic()
        stuck = _stuck(pool, server)
        left = _remaining(server, pool, patient)
        injector.dismiss()
        fates = Fates(injector.died, injector.thawed, injector.endings, stuck)
    return Outcome(
        history(feeding.result(), pool.notes(), fates, left),
        injector.done,
        injector.suicides,
        ended - began,
        drained - ended,
    )


def _feed(url: str, wishes: Sequence[Wish], seconds: float) -> list[Accepted]:
    feeding = feed(url, _STREAM, wishes, seconds)
    return asyncio.run(asyncio.wait_for(feeding, seconds + _PATIENCE))


def _stuck(pool: WorkerPool, server: Server) -> list[int]:
    """Who does not fill all its slots, when there is enough to do for all."""
    wait_until_blocking(lambda: all(map(pool.ready, pool.workers)))
    before = len(pool.notes("start"))
    with Raw(server.url) as raw:
        for number in range(CONCURRENCY * len(pool.workers)):
            raw("XADD", _STREAM, "*", "to", f"probe-{number}", "subject", "wait")

    def stuck() -> list[int]:
        running = Counter(note.pid for note in pool.notes("start")[before:])
        return [each.pid for each in pool.workers if running[each.pid] < CONCURRENCY]

    with suppress(AssertionError):
        wait_until_blocking(lambda: not stuck(), within=_RECOVERY)
    found = stuck()
    for worker in pool.workers:
        pool.let(worker)
    with suppress(AssertionError):  # what is left is counted
        wait_until_blocking(lambda: _is_quiet(server))
    return found


def _is_quiet(server: Server) -> bool:
    """Whether no job waits, runs or is delayed; asked at once, for jobs move."""
    left = "return redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])"
    try:
        with Raw(server.url) as raw:
            return raw("EVAL", left, 2, _STREAM, f"{{{_STREAM}}}:delayed") == 0
    except (OSError, RawError):
        return False


def _remaining(server: Server, pool: WorkerPool, patient: bool) -> Left:
    """What Redis holds."""
    with Raw(server.url) as raw:

        def strangers() -> list[str]:
            alive = [f"-{each.pid}-" for each in pool.workers]
            return [
                name
                for name in consumers(raw, _STREAM, _GROUP)
                if not any(each in name for each in alive)
            ]

        # They are looked for every ten leases, and have to be silent for as long.
        with suppress(AssertionError):
            wait_until_blocking(
                lambda: not (patient and strangers()), within=25 * LEASE
            )
        return Left(
            _number(raw("XLEN", _STREAM)),
            len(pending(raw, _STREAM, _GROUP)),
            _number(raw("ZCARD", f"{{{_STREAM}}}:delayed")),
            _number(raw("HLEN", f"{{{_STREAM}}}:delayed:jobs")),
            strangers() if patient else (),
            asyncio.run(_dead(server.url)),
        )


async def _dead(url: str) -> dict[str, list[tuple[str, dict[bytes, bytes]]]]:
    dead: defaultdict[str, list[tuple[str, dict[bytes, bytes]]]] = defaultdict(list)
    async with DeadLetters(Email, url, stream=_STREAM) as letters:
        async for letter in letters.list():
            dead[letter.job_id].append((letter.reason, dict(letter.fields)))
    return dead


def _number(reply: Reply) -> int:
    assert isinstance(reply, int)
    return reply
