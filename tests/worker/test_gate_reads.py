"""When the worker of a queue with a gate asks for the next jobs."""

from __future__ import annotations

import asyncio

import pytest

from flowd import Concurrency, Gate, Queue, Unique
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.email_job import policy
from tests.support.gated import gated
from tests.support.monitor import Monitor
from tests.support.raw import Raw
from tests.support.waiting import wait_until, wait_until_blocking

GROUP = "senders"

_UNREAD = """
return redis.call('ZCARD', KEYS[2]) + redis.call('XLEN', KEYS[1])
  - redis.call('XPENDING', KEYS[1], ARGV[1])[1]
"""


async def test_next_jobs_are_admitted_while_those_of_the_last_read_begin(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The read is on its way before their handlers take the event loop."""
    job, slots, count = gated(Gate(concurrency=Concurrency(limit=1_000))), 64, 400
    parked = Keys(stream, GROUP).gate[1]
    started, ahead = 0, False

    def delivered() -> int:
        unread = raw("EVAL", _UNREAD, 2, stream, parked, GROUP)
        assert isinstance(unread, int)
        return count - unread

    async def work(_: Email) -> None:
        nonlocal started, ahead
        started += 1
        if started == 100:
            # A read brings half the slots at most: so many come with the next one only.
            wait_until_blocking(lambda: delivered() >= started + slots // 2)
            ahead = True

    async with Queue(
        job, work, url=redis_url, stream=stream, concurrency=slots
    ) as queue:
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(count))
        queue.run()
        await wait_until(lambda: started == count)
    assert ahead


@pytest.mark.one_server  # MONITOR shows what one has heard
async def test_a_step_that_settles_jobs_of_a_gate_ends_100_at_most(
    redis_url: str, stream: str
) -> None:
    """Each frees what it holds: 500 in one step would hold the server up."""
    job, count = gated(Gate(unique=Unique(fields=("subject",)))), 600
    started, done, free = 0, 0, asyncio.Event()

    async def work(_: Email) -> None:
        nonlocal started, done
        started += 1
        await free.wait()
        done += 1

    # A renewal would be a step of as many jobs as are held.
    rules = policy(stream, lease=600.0)
    async with Queue(
        job, work, url=redis_url, policy=rules, concurrency=count
    ) as queue:
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(count))
        queue.run()
        await wait_until(lambda: started == count)
        with Monitor(redis_url) as monitor:
            free.set()
            await queue.drain()
            sizes = [size for name, size in monitor.words() if name == "EVALSHA"]
    assert done == count
    assert 100 < max(sizes) < 150, sizes
