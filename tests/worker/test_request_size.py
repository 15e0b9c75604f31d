"""No request is larger than what managed services take, however many jobs there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import pytest

from flowd import Context, DeadLetters, Item, Queue, Reject, Retry
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.waiting import wait_until

_Handler: TypeAlias = Callable[[Email, Context], Awaitable[None]]

JOBS: Final = 2_100
MOST: Final = 3_900


async def _done(job: Email, ctx: Context) -> None:
    """Run it."""


async def _failed(job: Email, ctx: Context) -> None:
    """Fail once, with a long story."""
    if ctx.attempt == 1:
        raise Retry("x" * 1_000, after=0.01)


async def _dead(job: Email, ctx: Context) -> None:
    """Dead-letter it."""
    raise Reject("x" * 1_000)


@pytest.mark.parametrize("handler", [_done, _failed, _dead])
async def test_requests_of_many_jobs_stay_small(
    redis_url: str, stream: str, handler: _Handler
) -> None:
    """Keyed, delayed and plain jobs, their endings of each kind, and redrives."""
    async with proxy_to(redis_url) as proxy:
        rules = policy(stream, lease=30.0)
        queue = Queue(Email, handler, url=proxy.url, policy=rules, concurrency=JOBS)
        async with queue:
            jobs = [
                Item(email(), key=str(n), delay=0.01 * (n % 2)) for n in range(JOBS)
            ]
            await queue.enqueue_bulk(jobs)
            await queue.enqueue_bulk(email() for _ in range(JOBS))
            queue.run()
            await queue.drain()
            letters = DeadLetters(Email, url=proxy.url, stream=stream)
            redriven = await letters.redrive_all()
            assert redriven == (2 * JOBS if handler is _dead else 0)
            await letters.aclose()
        assert 500 < proxy.most_arguments <= MOST


async def test_renewals_and_orphans_of_many_jobs_stay_small(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A process that holds thousands renews them, and finds what an answer has lost."""
    recorder = RecordingHandler(closed=True)
    async with proxy_to(redis_url) as proxy:
        rules = policy(stream, lease=1.0)
        queue = Queue(
            Email, recorder, url=proxy.url, policy=rules, concurrency=2 * JOBS + 500
        )
        async with queue:
            await queue.enqueue_bulk(email() for _ in range(2 * JOBS))
            queue.run()
            await wait_until(lambda: len(recorder.started) == 2 * JOBS)
            proxy.lose(b"XREADGROUP", answer=b"last")
            raw("XADD", stream, "*", "to", "last", "subject", "hi")
            await wait_until(lambda: proxy.lost)
            await wait_until(lambda: "last" in recorder.started, within=30.0)
            await asyncio.sleep(0)
            recorder.gate.set()
            await queue.drain()
        assert len(recorder.started) == 2 * JOBS + 1
        assert 500 < proxy.most_arguments <= MOST
