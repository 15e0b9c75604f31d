"""`flowd keep`: queues are kept, and an autoscaler sees what there is to do."""

from __future__ import annotations

import asyncio
import json
import signal

from flowd import Producer
from flowd.embedded import Server
from jobs.email import Email
from tests.metrics.asking import get
from tests.support.email_job import email
from tests.support.program import Program
from tests.support.raw import Raw
from tests.support.waiting import wait_until


async def test_a_kept_queue_says_how_deep_it_is(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """At zero workers, as JSON and as metrics; what is delayed counts once it is due."""
    stream = Email.SPEC.policy.stream
    with flowd.start("keep", "jobs", "--metrics-port", "0") as running:
        url = await asyncio.to_thread(running.metrics_url)
        await asyncio.to_thread(running.until, "is kept")
        async with Producer(redis_url) as producer:
            await producer.enqueue(email(), delay=0.2)
            await producer.enqueue(email())
        await wait_until(lambda: raw("XLEN", stream) == 2)
        depth = json.loads((await get(url, "/depth")).body)
        assert depth["queues"][stream] == depth["total"] == 2
        metrics = (await get(url, "/metrics")).body
        (waiting,) = [
            line.rpartition(" ")[2]
            for line in metrics.splitlines()
            if line.startswith("flowd_jobs_waiting{") and f'queue="{stream}"' in line
        ]
        assert float(waiting) == 2
        assert (await get(url, "/readyz")).status == 200
        running.signal(signal.SIGHUP)
        await asyncio.to_thread(running.until, "SIGTERM: stopping")
        code = await asyncio.to_thread(running.end)
    assert code == 0


async def test_depth_is_no_number_while_the_server_is_away(
    flowd: Program, own_server: Server
) -> None:
    """Zero would let an autoscaler end the workers of a full queue."""
    flowd.url = own_server.url
    with flowd.start("keep", "jobs", "--metrics-port", "0") as running:
        url = await asyncio.to_thread(running.metrics_url)
        await asyncio.to_thread(running.until, "is kept")
        assert json.loads((await get(url, "/depth")).body)["total"] == 0
        own_server.kill()
        page = await get(url, "/depth")
    assert page.status == 503
    depth = json.loads(page.body)
    assert depth["total"] is None
    assert set(depth["queues"].values()) == {None}


def test_a_package_without_jobs_is_refused(flowd: Program) -> None:
    """With what is wrong, and the exit code of wrong usage."""
    done = flowd("keep", "json")
    assert done.code == 2
    assert "json" in done.err


def test_a_server_that_refuses_ends_it(flowd: Program, raw: Raw) -> None:
    """As it ends a worker."""
    stream = Email.SPEC.policy.stream
    raw("SET", stream, "no stream")
    done = flowd("keep", "jobs")
    assert done.code == 3
    assert "not flowd's" in done.err
