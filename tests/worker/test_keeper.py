"""A keeper promotes and ticks while no worker runs, and takes no job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from flowd import Producer, Queue, StreamShared
from flowd.broker.url import Address
from flowd.embedded import Server
from flowd.worker.keeper import Keeper
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.log import events
from tests.support.raw import Raw
from tests.support.scheduled import every, scheduled
from tests.support.sessions import session_to
from tests.support.waiting import wait_until


@asynccontextmanager
async def kept(url: str, *classes: type[Email]) -> AsyncGenerator[Sequence[Keeper]]:
    """Keepers that run."""
    async with session_to(Address.of(url)) as session:
        keepers = [Keeper(session, each) for each in classes]
        tasks = [asyncio.create_task(each.run()) for each in keepers]
        try:
            yield keepers
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_delayed_job_comes_into_the_stream(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """When it is due; no worker holds it there, and a worker that starts later runs it."""
    job_class = scheduled(policy=policy(stream))
    async with (
        kept(redis_url, job_class, job_class),
        Producer(redis_url) as producer,
    ):
        at = datetime.now(UTC) + timedelta(seconds=0.1)
        await producer.enqueue(job_class(to="a", subject="hi"), at=at)
        await wait_until(lambda: raw("XLEN", stream) == 1)
        # Its entry has the time at which it came.
        ((entry_id, _),) = raw.entries(stream)
        assert int(entry_id.partition("-")[0]) >= int(at.timestamp() * 1000)
        assert raw("XINFO", "CONSUMERS", stream, "senders") == []
    handler = RecordingHandler()
    queue = Queue(job_class, handler, url=redis_url)
    async with queue:
        queue.run()
        await queue.drain()
    assert handler.done == ["a"]


async def test_a_schedule_ticks(redis_url: str, raw: Raw, stream: str) -> None:
    """Each tick once, however many keepers there are."""
    job_class = scheduled(every(1), policy=policy(stream))
    async with kept(redis_url, job_class, job_class):
        await wait_until(lambda: int(str(raw("XLEN", stream))) >= 2)
    ids = [fields[b"_id"] for _, fields in raw.entries(stream)]
    assert len(set(ids)) == len(ids)


async def test_a_job_of_a_dead_worker_is_left_to_others(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A keeper has no handler, so it claims nothing; a keeper that were idle would not promote."""
    job_class = scheduled(policy=policy(stream, lease=0.2))
    raw("XGROUP", "CREATE", stream, "senders", "0", "MKSTREAM")
    raw("XADD", stream, "*", "to", "a", "subject", "hi")
    raw("XREADGROUP", "GROUP", "senders", "dead", "STREAMS", stream, ">")
    async with kept(redis_url, job_class), Producer(redis_url) as producer:
        await producer.enqueue(job_class(to="b", subject="hi"), delay=0.5)
        await wait_until(lambda: raw("XLEN", stream) == 2)
        assert raw("XPENDING", stream, "senders", "-", "+", 10, "dead") != []
        assert raw("XPENDING", stream, "senders", "-", "+", 10, "keeper") == []


async def test_a_keeper_outlives_its_server(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that it cannot work, and goes on when the server is back, without its group too."""
    caplog.set_level(logging.INFO, "flowd")
    job_class = scheduled(policy=policy(stream))
    async with kept(own_server.url, job_class) as (keeper,):
        await wait_until(lambda: "started" in events(caplog.records))
        own_server.kill()
        await wait_until(lambda: keeper.failing)
        own_server.start()
        with Raw(own_server.url) as raw:
            raw("FLUSHALL")
        await wait_until(lambda: keeper.failing is None)
        async with Producer(own_server.url) as producer:
            await producer.enqueue(job_class(to="a", subject="hi"), delay=0.05)
        with Raw(own_server.url) as raw:
            await wait_until(lambda: raw("XLEN", stream) == 1)


async def test_a_second_group_ends_a_keeper(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """As it ends a worker that starts."""
    raw("XGROUP", "CREATE", stream, "others", "0", "MKSTREAM")
    raw("XADD", stream, "*", "to", "a", "subject", "hi")
    async with session_to(Address.of(redis_url)) as session:
        with pytest.raises(StreamShared):
            await Keeper(session, scheduled(policy=policy(stream))).run()


async def test_jobs_that_are_enqueued_are_not_lost_to_a_keeper(
    redis_url: str, stream: str
) -> None:
    """A worker runs all of them while a keeper keeps its queue."""
    job_class = scheduled(policy=policy(stream))
    handler = RecordingHandler()
    queue = Queue(job_class, handler, url=redis_url)
    async with kept(redis_url, job_class), queue:
        queue.run()
        jobs = [job_class(to=str(n), subject="hi") for n in range(50)]
        await queue.enqueue_bulk(jobs)
        await queue.drain()
    assert sorted(handler.done, key=int) == [str(n) for n in range(50)]
