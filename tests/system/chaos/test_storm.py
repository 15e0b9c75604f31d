"""Fifty workers get SIGTERM, at random moments; no job notices."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from jobs.email import Email
from tests.support.leases import consumers, pending
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.system.chaos.worker_pool import WorkerPool

GROUP = "senders"
STORM = 50


@pytest.mark.limit(240.0)
async def test_a_storm_of_signals_costs_no_attempt(
    redis_url: str, raw: Raw, stream: str, tmp_path: Path, make_queue: MakeQueue
) -> None:
    """Each job is done once, as the first attempt of its first counted delivery."""
    chance = random.Random(STORM)
    with WorkerPool(redis_url, stream, tmp_path, lease=60.0, grace=0.02) as pool:
        async with make_queue(lease=60.0) as queue:
            ids = await queue.enqueue_bulk(
                Email(to=str(number), subject="wait") for number in range(8)
            )
            for number in range(STORM):
                worker = pool.hire()
                ids += await queue.enqueue_bulk(
                    Email(to=f"{number}-{each}", subject="ok") for each in range(10)
                )
                await asyncio.sleep(chance.uniform(0.0, 0.05))
                worker.terminate()
            # Stopped, not awaited: some may still release when the next one reads.
            codes = Counter(worker.wait(timeout=20) for worker in pool.workers)
            last = pool.hire()
            pool.let(last)
            await queue.drain()

        assert codes == {0: STORM}
        starts = [note.words for note in pool.notes("start")]
        assert {(attempt, count) for *_, attempt, count in starts} == {("1", "1")}
        assert len(starts) > len(ids), "no signal came while a job was running"
        assert sorted(pool.settled("done")) == sorted(ids)
        assert not pending(raw, stream, GROUP)
        assert len(consumers(raw, stream, GROUP)) == 1
