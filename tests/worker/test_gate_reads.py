"""When the worker of a queue with a gate asks for the next jobs."""

from __future__ import annotations

from flowd import Concurrency, Gate, Queue
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.gated import gated
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
            wait_until_blocking(lambda: delivered() >= started + slots // 2, 5.0)
            ahead = True

    async with Queue(
        job, work, url=redis_url, stream=stream, concurrency=slots
    ) as queue:
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(count))
        queue.run()
        await wait_until(lambda: started == count)
    assert ahead
