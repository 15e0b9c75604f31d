"""The job that runs after the one that has its unique key, when it has a time of its own."""

from __future__ import annotations

import pytest

from flowd import Claimer, Concurrency, Gate, Queue, Unique
from flowd.model.keys import Keys
from tests.support.email_job import RecordingHandler, policy
from tests.support.gated import Overlap, gated, leftovers
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
EAGER = Claimer(interval=0.05)
LAST = Gate(unique=Unique(fields=("to",), again="last"))


async def test_a_delayed_follower_leaves_nothing(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Whether it was due behind the other one, ran, was cancelled or was deleted in Redis."""
    job, handler, keys = gated(LAST), Overlap(), Keys(stream, GROUP)
    rules = policy(stream)
    async with Queue(
        *(job, handler), url=redis_url, policy=rules, claimer=EAGER
    ) as queue:
        firsts, ids = list[str](), dict[str, str]()
        for to in "abcd":
            firsts.append(await queue.enqueue(job(to=to, subject="1"), delay=600))
            ids[to] = await queue.enqueue(job(to=to, subject="2"), delay=600)
        await queue.enqueue(job(to="b", subject="3"), delay=0.05)
        assert raw("ZCARD", keys.gate[1]) == 0
        assert raw("ZCARD", keys.delayed) == 8
        assert await queue.run_now(ids["a"])
        assert await queue.cancel(ids["c"]) == "cancelled"
        raw("HDEL", keys.bodies, ids["d"])
        queue.run()
        await wait_until(lambda: raw("ZCARD", keys.gate[1]) == 2)  # under the locks
        raw("ZREM", keys.delayed, ids["d"])
        for first in firsts:
            assert await queue.run_now(first)
        await queue.drain()
        await wait_until(lambda: leftovers(raw, stream) == [])
    assert sorted(handler.done) == [
        *[("a", "1"), ("a", "2"), ("b", "1"), ("b", "3"), ("c", "1"), ("d", "1")]
    ]
    assert max(handler.most.values()) == 1


@pytest.mark.parametrize("goes", ["cancelled", "delayed"])
async def test_a_follower_that_goes_passes_the_key_on(
    redis_url: str, raw: Raw, stream: str, goes: str
) -> None:
    """What waits behind it starts when the key is free, and not at the next maintenance."""
    limit = Concurrency(per=("subject",), limit=9)
    job = gated(Gate(unique=Unique(fields=("to",), again="last"), concurrency=limit))
    recorder, keys = RecordingHandler(closed=True), Keys(stream, GROUP)
    async with Queue(
        *(job, recorder),
        url=redis_url,
        policy=policy(stream, lease=600.0),
        block=30.0,
        claimer=Claimer(interval=60.0),
    ) as queue:
        await queue.enqueue(job(to="a", subject="1"))
        queue.run()
        await wait_until(lambda: recorder.started)
        follower = await queue.enqueue(job(to="a", subject="2"))
        raw("XADD", stream, "*", "to", "a", "subject", "3")
        await wait_until(lambda: raw("ZCARD", keys.gate[1]) == 2)
        if goes == "cancelled":
            assert await queue.cancel(follower) == "cancelled"
        else:
            await queue.enqueue(job(to="a", subject="4"), delay=3600)
        recorder.gate.set()
        await wait_until(lambda: len(recorder.done) == 2)
