"""Limits, order and uniqueness under faults, judged by what handlers wrote down."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from flowd import Duplicate, Queue, ServerError
from flowd.embedded import Server
from flowd.model.keys import Keys
from tests.support.email_job import policy
from tests.support.gated import gated, leftovers
from tests.support.raw import Raw
from tests.support.waiting import wait_until
from tests.system.chaos.fault_injector import FaultInjector
from tests.system.chaos.gate_worker import GATES, LIMITS
from tests.system.chaos.overlaps import Attempt, attempts, overlaps
from tests.system.chaos.plan import FEW_FAULTS, plan
from tests.system.chaos.worker_pool import Note, WorkerPool

SEED: Final = int(os.environ.get("FLOWD_CHAOS_SEED", "11"))
SECONDS: Final = float(os.environ.get("FLOWD_GATE_CHAOS_SECONDS", "5"))
JOBS: Final = 300
KEYS: Final = 6


def test_overlaps_are_found() -> None:
    """The oracle sees two at once, and none where a lease was lost."""
    runs = [Attempt("a", "1", 0.0, 2.0), Attempt("a", "2", 1.0, 3.0)]
    assert overlaps(runs, 1)
    assert not overlaps(runs, 2)
    notes = [
        Note(1, 0.0, "start", ["a", "x", "1", "1"]),
        Note(2, 1.0, "start", ["a", "x", "1", "3"]),
        Note(2, 2.0, "ran", ["a", "x", "1", "3"]),
        Note(2, 3.0, "start", ["a", "y", "1", "1"]),
        Note(3, 3.5, "start", ["a", "x", "1", "2"]),
        Note(1, 4.0, "ran", ["a", "x", "1", "1"]),
        Note(3, 4.1, "cancelled", ["a", "x", "1", "2"]),
        Note(2, 5.0, "ran", ["a", "y", "1", "1"]),
    ]
    assert not overlaps(attempts(notes, {}), 1)
    notes[4] = Note(3, 3.5, "start", ["a", "x", "1", "4"])
    assert overlaps(attempts(notes, {}), 1)


@pytest.mark.limit(240.0)
@pytest.mark.parametrize("name", GATES)
async def test_policies_hold_under_every_fault(
    own_server: Server, tmp_path: Path, stream: str, name: str
) -> None:
    """No key runs more than its limit; every accepted job ends; nothing is left."""
    print(f"FLOWD_CHAOS_SEED={SEED}")
    job, accepted = gated(GATES[name]), set[str]()
    pool = WorkerPool(
        *(own_server.url, stream, tmp_path), program="gate_worker", extra=(name,)
    )
    rules = policy(stream)
    with pool:
        async with Queue(job, print, url=own_server.url, policy=rules) as queue:

            async def feed(number: int) -> None:
                each = job(to=f"k{number % KEYS}", subject=str(number))
                while True:
                    try:
                        job_id = await queue.enqueue(each, key=f"{number}")
                    except ServerError:
                        continue
                    if not isinstance(job_id, Duplicate):
                        accepted.add(job_id)
                    return

            async def feed_all() -> None:
                for number in range(JOBS):
                    await feed(number)
                    if name == "unique":
                        await asyncio.sleep(SECONDS / JOBS)

            if name != "unique":
                await feed_all()
            injector = FaultInjector(pool, own_server, workers=3)
            feeding = asyncio.create_task(feed_all() if name == "unique" else _none())
            faults = plan(SEED, SECONDS, FEW_FAULTS)
            await asyncio.to_thread(injector.play, faults)
            await feeding
            draining = asyncio.create_task(queue.drain())
            while not draining.done():
                await asyncio.to_thread(injector.step)
            await draining
            with Raw(own_server.url) as raw:
                await wait_until(lambda: leftovers(raw, stream) == [])
                dead = raw("XLEN", Keys(stream, "senders").dead)
                assert raw("XLEN", stream) == 0
            await asyncio.to_thread(injector.dismiss)

    notes = pool.notes()
    runs = attempts(notes, injector.died)
    ended = {note.words[1] for note in notes if note.what == "ran"}
    assert dead == 0
    assert accepted - ended == set()
    assert len(accepted) == JOBS or name == "unique"
    assert not overlaps(runs, LIMITS[name])
    if name == "ordered":
        check_order(notes)


async def _none() -> None:
    """Nothing more to enqueue."""


def check_order(notes: Sequence[Note]) -> None:
    """Of a key, no job starts before the one ahead of it has run to its end once."""
    first_start: dict[str, float] = {}
    first_ran: dict[str, float] = {}
    order: defaultdict[str, list[str]] = defaultdict(list)
    for note in notes:
        key, job, *_ = note.words
        if note.what == "start" and job not in first_start:
            first_start[job] = note.at
            order[key].append(job)
        if note.what == "ran":
            first_ran.setdefault(job, note.at)
    for jobs in order.values():
        for before, behind in pairwise(jobs):
            assert first_ran[before] <= first_start[behind]
