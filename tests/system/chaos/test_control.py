"""Schedules, pauses, cancels and expiries under faults, judged by what was written down."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

import pytest

from flowd import Queue, ServerError
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import policy
from tests.support.raw import Raw
from tests.support.waiting import wait_until
from tests.system.chaos.control_worker import JOB, STEPS
from tests.system.chaos.fault_injector import FaultInjector
from tests.system.chaos.plan import FEW_FAULTS, plan
from tests.system.chaos.worker_pool import Note, WorkerPool

T = TypeVar("T")

SEED: Final = int(os.environ.get("FLOWD_CHAOS_SEED", "13"))
SECONDS: Final = float(os.environ.get("FLOWD_CONTROL_CHAOS_SECONDS", "6"))
LEASE: Final = 1.0


@dataclass
class Orders:
    """What was asked for, and what was answered."""

    accepted: set[str] = field(default_factory=set[str])
    gone: dict[str, float] = field(default_factory=dict[str, float])
    """When a cancel was confirmed of jobs that waited."""

    unsure: set[str] = field(default_factory=set[str])
    """Jobs of which no worker may have said how they ended: those that may expire, that run
    and are to be cancelled, or of whose cancel an answer was lost."""


def started_after_its_end(
    orders: Orders, notes: Sequence[Note], thawed: Mapping[int, Sequence[float]]
) -> list[str]:
    """Jobs that ran after it was said that they are cancelled.

    A worker that was frozen behind its read starts what it has lost, until it notices.
    """
    return [
        note.words[1]
        for note in notes
        if note.what == "start"
        and note.at > orders.gone.get(note.words[1], float("inf"))
        and not any(note.at - LEASE < at <= note.at for at in thawed.get(note.pid, ()))
    ]


def lost(orders: Orders, notes: Sequence[Note]) -> set[str]:
    """Accepted jobs that have not ended in any way."""
    ended = {note.words[1] for note in notes if note.what == "ran"}
    ended |= {
        note.words[1]
        for note in notes
        if note.what == "said" and note.words[0] in ("expired", "cancelled")
    }
    return orders.accepted - ended - orders.gone.keys() - orders.unsure


def ticks(notes: Sequence[Note]) -> dict[str, list[float]]:
    """When the ticks were that ran, by the names of their schedules."""
    ids = {note.words[1] for note in notes if note.what == "ran"}
    found: defaultdict[str, list[float]] = defaultdict(list)
    for each in sorted(ids):
        if each.startswith("cron:"):
            _, name, moment = each.split(":", 2)
            found[name].append(datetime.fromisoformat(moment).timestamp())
    return {name: sorted(moments) for name, moments in found.items()}


def settled_twice(notes: Sequence[Note]) -> list[str]:
    """Jobs that were done more than once."""
    done = Counter(
        note.words[1]
        for note in notes
        if note.what == "said" and note.words[0] == "done"
    )
    return [job_id for job_id, count in done.items() if count > 1]


def test_faults_of_control_are_found() -> None:
    """The oracle sees a cancelled job that runs, one that is lost, and a tick that is twice."""
    orders = Orders({"a", "b", "c"}, {"a": 2.0}, {"c"})
    start = Note(1, 3.0, "start", ["n", "a", "1", "1"])
    assert started_after_its_end(orders, [start], {}) == ["a"]
    assert not started_after_its_end(orders, [start], {1: [2.5]})
    assert not started_after_its_end(orders, [start._replace(at=1.0)], {})
    assert lost(orders, []) == {"b"}
    assert not lost(orders, [Note(1, 1.0, "said", ["expired", "b", "1", "1"])])
    said = Note(1, 1.0, "said", ["done", "b", "1", "1"])
    assert settled_twice([said, said]) == ["b"]
    ran = Note(1, 1.0, "ran", ["n", "cron:one:1970-01-01T00:00:05+00:00", "1", "1"])
    assert ticks([ran, ran]) == {"one": [5.0]}


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer."""
    while True:
        try:
            return await ask()
        except ServerError:
            await asyncio.sleep(0.02)


async def give_orders(queue: Queue[Email], orders: Orders, ends: float) -> None:
    """Enqueue, cancel, pause and resume at random, and let some jobs expire."""
    chance, names, number = random.Random(SEED), list[str](), 0
    while time.monotonic() < ends:
        match chance.choice(("enqueue", "enqueue", "cancel", "pause", "resume")):
            case "enqueue":
                for _ in range(chance.randrange(1, 8)):
                    number += 1
                    subject = chance.choice(("ok", "brief", "flaky"))
                    job, key = JOB(to=f"{number}", subject=subject), f"{number}"
                    delay = chance.choice((0.0, 0.0, 0.3))
                    expires = chance.choice((60.0, 60.0, 0.2))
                    add = partial(queue.enqueue, job, delay=delay, expires=expires)
                    job_id = await insist(partial(add, key=key))
                    names.append(job_id)
                    orders.accepted.add(job_id)
                    if expires < LEASE:
                        orders.unsure.add(job_id)
            case "cancel" if names:
                await cancel(queue, orders, chance.choice(names[-20:]))
            case "pause":
                await insist(queue.pause)
            case _:
                await insist(queue.resume)
        await asyncio.sleep(chance.uniform(0.0, 0.06))
    await insist(queue.resume)


async def cancel(queue: Queue[Email], orders: Orders, job_id: str) -> None:
    """Cancel a job once; without an answer it may be gone."""
    try:
        match await queue.cancel(job_id):
            case "cancelled":
                orders.gone[job_id] = time.time()
            case "cancelling":
                orders.unsure.add(job_id)
            case "not_found":
                pass
    except ServerError:
        orders.unsure.add(job_id)


@pytest.mark.limit(240.0)
async def test_orders_and_ticks_hold_under_every_fault(
    own_server: Server, tmp_path: Path, stream: str
) -> None:
    """What was cancelled never runs, each tick runs once and none is missing, none is lost."""
    print(f"FLOWD_CHAOS_SEED={SEED}")
    orders = Orders()
    pool = WorkerPool(
        *(own_server.url, stream, tmp_path), lease=LEASE, program="control_worker"
    )
    url, rules = own_server.url, policy(stream)
    with pool:
        injector = FaultInjector(pool, own_server, workers=3)
        async with Queue(JOB, print, url=url, policy=rules) as queue:
            faults = asyncio.create_task(
                asyncio.to_thread(injector.play, plan(SEED, SECONDS, FEW_FAULTS))
            )
            await give_orders(queue, orders, time.monotonic() + SECONDS)
            await faults
            ended = time.time()
            # Ticks go on; what was enqueued by now is to end.
            while missing(orders, pool.notes(), ended):
                await asyncio.to_thread(injector.step)
                assert time.time() < ended + 60.0, missing(orders, pool.notes(), ended)
        with Raw(url) as raw:
            await wait_until(lambda: left(raw, stream) == [])
            assert raw("XLEN", f"{{{stream}}}:senders:dlq") == 0
        await asyncio.to_thread(injector.dismiss)

    notes = pool.notes()
    assert started_after_its_end(orders, notes, injector.thawed) == []
    assert settled_twice(notes) == []
    for name, moments in ticks(notes).items():
        steps = {later - sooner for sooner, later in pairwise(moments)}
        assert steps == {float(STEPS[name])}, f"{name}: {moments}"


def left(raw: Raw, stream: str) -> list[object]:
    """What of the jobs is in Redis, apart from ticks."""
    delayed = raw("HLEN", f"{{{stream}}}:delayed:jobs")
    found: list[object] = [delayed] if delayed else []
    names = [fields[b"to"] for _, fields in raw.entries(stream)]
    return found + [name for name in names if name != b"nightly"]


def missing(orders: Orders, notes: Sequence[Note], until: float) -> list[object]:
    """Jobs that have not ended yet, and schedules whose ticks until then have not."""
    ran = ticks(notes)
    behind = [
        name
        for name, step in STEPS.items()
        if max(ran.get(name, ()), default=0.0) <= until - step
    ]
    return [*lost(orders, notes), *behind]
