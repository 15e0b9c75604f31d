"""Pauses, cancels and schedules at random: every job is accounted for."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter

import pytest

from flowd import Context, Queue
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.ops.cron import schedules
from flowd.ops.queries import Queries
from jobs.email import Email
from tests.support.email_job import policy
from tests.support.events import Seen
from tests.support.raw import Raw
from tests.support.scheduled import every, scheduled

ROUNDS = 60
WORKERS = 3


@pytest.mark.limit(120.0)
async def test_random_orders_lose_and_repeat_nothing(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What was cancelled while it waited never runs, each tick runs once, all else is done.

    FLOWD_SEED repeats a run.
    """
    seed = int(os.environ.get("FLOWD_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    print(f"FLOWD_SEED={seed}")
    starts: Counter[str] = Counter()
    done: set[str] = set()
    gone: set[str] = set()
    broken: list[str] = []
    seen = Seen()

    async def work(job: Email, ctx: Context) -> None:
        starts[ctx.id] += 1
        if ctx.id in gone:
            broken.append(ctx.id)
        await asyncio.sleep(chance.uniform(0.0, 0.05))
        if job.to == "fails" and ctx.attempt == 1:
            raise ValueError("no")
        done.add(ctx.id)

    job_class = scheduled(every(1, "one"), every(1, "two", overlap="skip"))
    # No worker dies: a job whose lease ran out would start twice.
    rules = policy(stream, lease=60.0, backoff=0.05)
    queues = [
        Queue(job_class, work, url=redis_url, policy=rules, middleware=[seen])
        for _ in range(WORKERS)
    ]
    for queue in queues:
        await queue.init()
        queue.run()
    ids: list[str] = []
    marked: set[str] = set()
    for _ in range(ROUNDS):
        queue = chance.choice(queues)
        match chance.choice(("enqueue", "enqueue", "cancel", "pause", "resume")):
            case "enqueue":
                for _ in range(chance.randrange(1, 8)):
                    delay = chance.choice((0.0, 0.0, 0.1))
                    name = chance.choice(("runs", "fails"))
                    ids.append(
                        await queue.enqueue(
                            job_class(to=name, subject="s"), delay=delay
                        )
                    )
            case "cancel" if ids:
                job_id = chance.choice(ids)
                match await queue.cancel(job_id):
                    case "cancelled":
                        gone.add(job_id)
                    case "cancelling":
                        marked.add(job_id)
                    case "not_found":
                        assert job_id in done | gone | marked or starts[job_id]
            case "pause":
                await queue.pause()
            case _:
                await queue.resume()
        await asyncio.sleep(chance.uniform(0.0, 0.08))
    await queues[0].resume()
    for queue in queues:
        await queue.drain()
    async with connected(Address.of(redis_url)) as connection:
        views = await schedules(Queries(connection, stream, "senders"))
    for queue in queues:
        await queue.aclose()

    cancelled = {event.job_id for event in seen.named("cancelled")}
    assert set(ids) <= done | gone | cancelled
    assert cancelled <= marked
    assert not broken
    assert not gone & done
    ticks = [job_id for job_id in done if job_id.startswith("cron:")]
    assert len(ticks) == len({*ticks}) >= 2
    assert all(starts[job_id] == 1 for job_id in ticks)
    assert all(not view.late for view in views)
    assert raw("EXISTS", f"{{{stream}}}:delayed:jobs") == 0
    assert raw("HEXISTS", f"{{{stream}}}:senders:control", "@paused") == 0
