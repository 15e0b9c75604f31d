"""All faults at once: no job is lost, and none is settled twice.

The schedule comes from a seed, which a failure prints; `FLOWD_CHAOS_SEED` and
`FLOWD_CHAOS_SECONDS` choose another one and a longer run.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from flowd import BulkError, DeadLetters, Item, Queue
from flowd.server import Server
from jobs.email import Email
from tests.chaos.crew import Crew, pause, resume, until
from tests.raw import Raw
from tests.runtime.expire import pending
from tests.runtime.faults import Bench, policy

GROUP = "senders"
SEED = int(os.environ.get("FLOWD_CHAOS_SEED", "7"))
SECONDS = float(os.environ.get("FLOWD_CHAOS_SECONDS", "5"))
JOBS = 400
SUBJECTS = ["ok"] * 90 + ["flaky"] * 7 + ["bad"] * 3


@pytest.mark.limit(60.0 + 3 * SECONDS)
async def test_nothing_is_lost_and_nothing_is_settled_twice(
    own_server: Server, stream: str, tmp_path: Path
) -> None:
    """Every accepted job is done or a dead letter, in one of the two, once."""
    chance = random.Random(SEED)
    print(f"FLOWD_CHAOS_SEED={SEED}")
    url = own_server.url
    jobs = [Email(to=str(n), subject=chance.choice(SUBJECTS)) for n in range(JOBS)]
    with Crew(url, stream, tmp_path, max_crashes=50) as crew:
        for _ in range(3):
            crew.hire()
        async with Queue(Email, Bench(), url=url, policy=policy(stream)) as queue:
            feeding = asyncio.ensure_future(_feed(queue, jobs))
            await asyncio.to_thread(_disturb, crew, own_server, chance)
            accepted = await feeding
        for worker in crew.workers:
            resume(worker)
        await asyncio.to_thread(_quiet, own_server, stream)
        dead = await _dead(url, stream)
        done = crew.settled("done")

        assert len(set(accepted)) == JOBS
        ran = {note.words[1] for note in crew.notes("ran")}
        assert set(accepted) == ran | dead
        assert not ran & dead
        settled = Counter(done) + Counter(crew.settled("dead_letter"))
        assert not [job_id for job_id, times in settled.items() if times > 1]
        bad = {i for i, job in zip(accepted, jobs, strict=True) if job.subject == "bad"}
        assert dead == bad


async def _feed(queue: Queue[Email], jobs: list[Email]) -> list[str]:
    """Enqueue under keys, again and again, until each was accepted."""
    ids: list[str] = []
    for start in range(0, len(jobs), 20):
        items = [Item(job, key=job.to) for job in jobs[start : start + 20]]
        while True:
            try:
                ids += await queue.enqueue_bulk(items)
                break
            except BulkError:
                await asyncio.sleep(0.05)
        await asyncio.sleep(SECONDS * 20 / len(jobs))
    return ids


def _disturb(crew: Crew, server: Server, chance: random.Random) -> None:
    """Hurt workers, connections and the server, at random, for a while."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        victim = chance.choice(crew.workers)
        match chance.choice(["kill", "kill", "term", "freeze", "clients", "server"]):
            case "kill":
                victim.kill()
            case "term":
                victim.terminate()
            case "freeze":
                pause(victim)
                time.sleep(chance.uniform(0.5, 1.5))
                resume(victim)
            case "clients":
                with Raw(server.url) as raw:
                    raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            case _:
                server.kill()
                server.start()
        for worker in [each for each in crew.workers if each.poll() is not None]:
            crew.workers.remove(worker)
            crew.hire()
        time.sleep(chance.uniform(0.05, 0.2))


def _quiet(server: Server, stream: str) -> None:
    """Wait until nothing is left to do."""
    with Raw(server.url) as raw:
        until(lambda: raw("XLEN", stream) == 0, within=40.0)
        until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 0)
        until(lambda: raw("XLEN", stream) == 0, within=40.0)
        assert not pending(raw, stream, GROUP)
        assert raw("HLEN", f"{{{stream}}}:delayed:jobs") == 0


async def _dead(url: str, stream: str) -> set[str]:
    async with DeadLetters(Email, url, stream=stream) as letters:
        ids = [letter.job_id async for letter in letters.list()]
    assert len(ids) == len(set(ids))
    return set(ids)
