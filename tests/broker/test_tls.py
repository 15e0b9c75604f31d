"""Over TLS a worker gets what was enqueued, byte for byte."""

from __future__ import annotations

import pytest

from flowd import Queue
from flowd.broker.connection import Connection
from flowd.broker.url import Address
from jobs.email import Email
from tests.support.email_job import RecordingHandler
from tests.support.proxy import proxy_to
from tests.support.waiting import wait_until

RECORD = 16 * 1024
"""The most that one record of TLS holds."""


def text(size: int) -> str:
    """A text in which every place differs from its neighbours."""
    return "".join(f"{number:07x}," for number in range(size // 8))


@pytest.mark.parametrize("size", [RECORD // 2, 3 * RECORD, 5 * RECORD, 12 * RECORD])
async def test_jobs_arrive_whole_over_tls(
    redis_url: str, stream: str, size: int
) -> None:
    """An answer may take many records, and more than one buffer."""
    body = text(size)
    seen: list[str | None] = []

    async def note(job: Email) -> None:
        seen.append(job.body)

    async with proxy_to(redis_url, tls=True) as proxy:
        queue = Queue(Email, note, url=proxy.url, stream=stream, concurrency=4)
        jobs = [Email(to=str(n), subject="s", body=body) for n in range(4)]
        await queue.enqueue_bulk(jobs)
        queue.run()
        await wait_until(lambda: len(seen) == len(jobs))
        await queue.aclose()

    assert seen == [body] * len(jobs)


async def test_many_answers_arrive_in_order_over_tls(redis_url: str) -> None:
    """What comes in one read goes to who asked for it, whatever record it is in."""
    words = [text(size) for size in range(8, 40_000, 400)]
    async with proxy_to(redis_url, tls=True) as proxy:
        connection = Connection(Address.of(proxy.url))
        asked = [connection.call("ECHO", word) for word in words]
        answers = [await each for each in asked]
        await connection.aclose()

    assert answers == [word.encode() for word in words]


async def test_bulk_enqueue_returns_its_ids_over_tls(
    redis_url: str, stream: str
) -> None:
    """The ids of some thousand jobs come in many records."""
    async with proxy_to(redis_url, tls=True) as proxy:
        queue = Queue(Email, RecordingHandler(), url=proxy.url, stream=stream)
        jobs = [Email(to=str(n), subject="s", body=None) for n in range(3_000)]
        result = await queue.enqueue_bulk(jobs)
        await queue.aclose()

    assert len(set(result)) == len(jobs)
