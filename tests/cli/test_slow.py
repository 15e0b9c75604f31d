"""A link that takes seconds for a page of large jobs, which is no reason to give up."""

from __future__ import annotations

import asyncio

from flowd import Queue
from jobs.email import Email
from tests.support.dead_letters import bury
from tests.support.email_job import RecordingHandler
from tests.support.program import Program
from tests.support.proxy import proxy_to

NUMBER = 10
SIZE = 100_000
SECONDS = 2.5


async def test_large_jobs_are_waited_for(flowd: Program, redis_url: str) -> None:
    """Whole letters and whole jobs, though a page of them is not there in 2 seconds."""
    large = [Email(to="a", subject="x" * SIZE) for _ in range(NUMBER)]
    await bury(redis_url, "emails", *large)
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        await queue.enqueue_bulk(large)
    async with proxy_to(redis_url) as proxy:
        proxy.rate = NUMBER * SIZE / SECONDS
        letters, jobs = await asyncio.gather(
            asyncio.to_thread(flowd, "dlq", "export", "--raw", url=proxy.url),
            asyncio.to_thread(flowd, "jobs", "list", "--json", url=proxy.url),
        )
    for done in (letters, jobs):
        assert done.code == 0, done.err
        assert done.out.count("\n") == NUMBER
