"""Events of a queue reach every browser that looks at it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from flowd import Queue
from flowd.web.feeds import MOST_LISTENERS
from jobs.email import Email
from tests.ops.many import GROUP, STREAM
from tests.support.email_job import RecordingHandler
from tests.support.raw import Raw
from tests.support.waiting import wait_until
from tests.web.serving import serving_dashboard

QUEUE = {"stream": STREAM, "group": GROUP}


@pytest.fixture
def base(redis_url: str) -> Iterator[str]:
    """Where `flowd web` serves."""
    with serving_dashboard(redis_url) as base:
        yield base


@asynccontextmanager
async def heard(base: str, **query: str) -> AsyncGenerator[list[dict[str, object]]]:
    """What a browser that looks at the queue is sent, as it comes."""
    found: list[dict[str, object]] = []
    began = asyncio.Event()

    async def listen() -> None:
        async with (
            httpx.AsyncClient(timeout=60) as client,
            client.stream("GET", f"{base}/events", params={**QUEUE, **query}) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                began.set()
                if line.startswith("data: "):
                    found.append(json.loads(line.removeprefix("data: ")))

    task = asyncio.create_task(listen())
    try:
        await began.wait()
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_browsers_that_vanish_leave_nothing(
    raw: Raw, base: str, redis_url: str
) -> None:
    """More of them than may listen at once, one after the other, without a farewell."""
    async with Queue(Email, RecordingHandler(), url=redis_url):
        pass
    host, _, port = base.removeprefix("http://").partition(":")
    query = f"/events?stream={STREAM}&group={GROUP}"
    for _ in range(4):
        gone: list[asyncio.StreamWriter] = []
        for _ in range(MOST_LISTENERS // 2):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert b" 200 " in await reader.readline()
            gone.append(writer)
        # Connected to Redis once, however many listen.
        await wait_until(lambda: len(_channels(raw)) == 1)
        for writer in gone:
            writer.transport.abort()
        await wait_until(lambda: _channels(raw) == [])


def _channels(raw: Raw) -> list[object]:
    found = raw("PUBSUB", "CHANNELS")
    assert isinstance(found, list)
    return [*found]


def _done(events: list[dict[str, object]]) -> set[object]:
    return {event["job"] for event in events if event["event"] == "done"}


async def test_events_reach_each_browser(redis_url: str, raw: Raw, base: str) -> None:
    """One that looks at a job hears of that job only; the server is asked once."""
    go = asyncio.Event()

    async def handle(job: Email) -> None:
        if job.subject == "held":
            await go.wait()

    def listeners() -> int:
        answer = raw("PUBSUB", "NUMSUB", f"{{{STREAM}}}:{GROUP}:tail")
        assert isinstance(answer, list)
        assert isinstance(answer[1], int)
        return answer[1]

    async with Queue(Email, handle, url=redis_url) as queue:
        await queue.init()
        one, two = await queue.enqueue_bulk([Email(to="a\u202e", subject="held")] * 2)
        async with heard(base) as every, heard(base, job=two) as mine:
            await wait_until(lambda: listeners() == 1)
            queue.run()
            while not every:  # workers look for listeners when they maintain
                await queue.enqueue(Email(to="a", subject="quick"))
                await asyncio.sleep(0.05)
            go.set()
            # Two connections: either may be behind the other.
            await wait_until(lambda: mine and _done(every) > {one, two})
            assert {event["job"] for event in mine} == {two}
        await wait_until(lambda: listeners() == 0)


async def test_forged_events_are_escaped(redis_url: str, raw: Raw, base: str) -> None:
    """A client that may publish may write anything; what is no event is left out."""
    raw("SADD", "flowd:queues", f"{STREAM}\n{GROUP}")
    channel = f"{{{STREAM}}}:{GROUP}:tail"
    evil = {
        "event": "\x1b[31m",
        "job": "<b>\u202e",
        "consumer": "",
        "text": "\n\ndata: x",
    }
    async with heard(base) as found:

        def published() -> bool:
            for line in ("no json", "[]", '{"event": 1}', json.dumps(evil)):
                raw("PUBLISH", channel, line)
            raw("PUBLISH", channel, json.dumps({**evil, "attempt": 1}))
            return bool(found)

        await wait_until(published)
    assert found[0]["event"] == "\\x1b[31m"
    assert found[0]["job"] == "<b>\\u202e"
    assert found[0]["text"] == "\\n\\ndata: x"
