"""Lesson 5: one process may run many queues, and ends without losing any job."""

from __future__ import annotations

import asyncio

from flowd import Queue, QueueGroup
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.raw import Raw


async def test_a_group_starts_and_ends_together(redis_url: str) -> None:
    """Each queue has its handler and its slots; they share a connection."""
    done: list[str] = []

    async def send(email: Email) -> None:
        done.append(email.to)

    async def crawl(page: Crawl) -> None:
        done.append(page.url)

    emails = Queue(Email, send, url=redis_url)
    pages = Queue(Crawl, crawl, url=redis_url, concurrency=2)
    async with QueueGroup([emails, pages]) as group:
        await emails.enqueue(Email(to="a@b.c", subject="hi"))
        await pages.enqueue(Crawl(url="http://b.c", priority=1, tags=["new"]))
        group.run_all()
        await group.drain()

    assert sorted(done) == ["a@b.c", "http://b.c"]


async def test_a_shutdown_releases_what_does_not_end(redis_url: str, raw: Raw) -> None:
    """After the grace a running job is cancelled and waits in the stream, uncounted."""
    started = asyncio.Event()

    async def send(email: Email) -> None:
        assert email.subject == "hi"
        started.set()
        await asyncio.Event().wait()

    async with Queue(Email, send, url=redis_url) as queue:
        await queue.enqueue(Email(to="a@b.c", subject="hi"))
        handle = queue.run()
        await started.wait()
        await handle.shutdown(grace=0.01)

    ((_, fields),) = raw.entries("emails")
    assert (fields[b"to"], fields[b"_attempt"]) == (b"a@b.c", b"1")
