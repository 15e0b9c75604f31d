"""A server that was away for longer than a lease: nobody takes over what still runs."""

from __future__ import annotations

import time
from pathlib import Path

from flowd import Queue
from flowd.embedded import Server
from jobs.email import Email
from tests.chaos.crew import Crew, until
from tests.runtime.faults import Bench, policy

LEASE = 1.0


async def test_who_is_back_late_keeps_its_jobs(
    own_server: Server, stream: str, tmp_path: Path
) -> None:
    """Each worker may wait half a second before it asks again; that is allowed for."""
    url = own_server.url
    with Crew(url, stream, tmp_path, lease=LEASE, interval=10.0) as crew:
        for _ in range(4):
            crew.hire()
        async with Queue(Email, Bench(), url=url, policy=policy(stream)) as queue:
            await queue.enqueue_bulk(Email(to=str(n), subject="wait") for n in range(8))
        until(lambda: len(crew.notes("start")) == 8)
        for _ in range(2):
            own_server.kill()
            killed = time.monotonic()
            until(lambda: time.monotonic() > killed + 1.3 * LEASE)  # noqa: B023
            own_server.start()
            until(lambda: time.monotonic() > killed + 3.3 * LEASE)  # noqa: B023

        assert len(crew.notes("start")) == 8
