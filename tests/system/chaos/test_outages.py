"""A server that was away for longer than a lease: no worker takes over what still runs."""

from __future__ import annotations

import time
from pathlib import Path

from flowd import Queue
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.waiting import wait_until_blocking
from tests.system.chaos.worker_pool import WorkerPool

LEASE = 1.0


async def test_late_reconnect_keeps_its_jobs(
    own_server: Server, stream: str, tmp_path: Path
) -> None:
    """Each worker may wait half a second before it asks again; that is allowed for."""
    url = own_server.url
    with WorkerPool(url, stream, tmp_path, lease=LEASE, interval=10.0) as pool:
        for _ in range(4):
            pool.hire()
        async with Queue(
            Email, RecordingHandler(), url=url, policy=policy(stream)
        ) as queue:
            await queue.enqueue_bulk(Email(to=str(n), subject="wait") for n in range(8))
        wait_until_blocking(lambda: len(pool.notes("start")) == 8)
        for _ in range(2):
            own_server.kill()
            killed = time.monotonic()
            wait_until_blocking(
                lambda: time.monotonic()
                > killed + 1.3 * LEASE  # noqa: B023 - called here
            )
            own_server.start()
            wait_until_blocking(
                lambda: time.monotonic()
                > killed + 3.3 * LEASE  # noqa: B023 - called here
            )

        assert len(pool.notes("start")) == 8
