"""Who was away with the server lets the others renew before it takes anything over."""

from __future__ import annotations

import time

from flowd import Claimer, Queue
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import expire, pending
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_an_outage_postpones_the_next_sweep(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A worker that is back before the owner of a job leaves the job to its owner."""
    recorder, other = RecordingHandler(closed=True), RecordingHandler()
    rules = policy(stream, lease=12.0)
    eager = Claimer(interval=0.02)
    async with (
        proxy_to(redis_url) as near,
        proxy_to(redis_url) as far,
        Queue(Email, recorder, url=far.url, policy=rules) as queue,
        Queue(Email, other, url=near.url, policy=rules, claimer=eager) as hunter,
    ):
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        hunter.run()
        running = time.monotonic()
        await wait_until(lambda: raw.info("blocked_clients") == "2")
        near.cut()
        far.cut()
        await wait_until(lambda: raw.info("connected_clients") == "1")
        expire(raw, stream, GROUP)
        # Until its first sweep would be due, had there been no outage.
        await wait_until(lambda: time.monotonic() - running > 3.1)
        near.restore()
        await wait_until(lambda: raw.info("blocked_clients") == "1" or other.started)
        far.restore()
        await wait_until(lambda: pending(raw, stream, GROUP)[0].idle < 12_000)
        recorder.gate.set()
        await queue.drain()

    assert recorder.done == ["a"]
    assert not other.started
