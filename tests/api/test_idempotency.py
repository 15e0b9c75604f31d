"""An idempotency key: under it a job is enqueued once, however often it is tried."""

from __future__ import annotations

import pytest

from flowd import OptionError, Queue
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.raw import Raw
from tests.support.waiting import wait_until


def sender(url: str, stream: str) -> Queue[Email]:
    """A queue that only enqueues."""
    return Queue(Email, RecordingHandler(), url=url, stream=stream)


@pytest.mark.parametrize("key_ttl", [0.0, -1.0, float("nan")])
async def test_a_key_is_kept_for_some_time(stream: str, key_ttl: float) -> None:
    """A key that would be forgotten at once is refused."""
    queue = sender("redis://localhost:1", stream)
    with pytest.raises(OptionError, match="key_ttl is"):
        await queue.enqueue(email(), key="k", key_ttl=key_ttl)
    await queue.aclose()


async def test_a_key_stores_one_job(redis_url: str, raw: Raw, stream: str) -> None:
    """Under a key that is remembered nothing is stored; the first id comes back."""
    queue = sender(redis_url, stream)
    first = await queue.enqueue(email("one"), key="order-1")
    again = await queue.enqueue(email("two"), key="order-1", delay=9.0)
    other = await queue.enqueue(email("three"), key="order-2")
    await queue.aclose()

    assert first == again != other
    assert [fields[b"to"] for _, fields in raw.entries(stream)] == [b"one", b"three"]
    assert raw("EXISTS", f"{{{stream}}}:delayed") == 0


async def test_a_key_covers_a_delayed_job(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A delayed job has its id at once, and its key returns it."""
    queue = sender(redis_url, stream)
    first = await queue.enqueue(email("one"), key="k", delay=60.0)
    again = await queue.enqueue(email("two"), key="k")
    await queue.aclose()

    assert first == again
    assert raw("XLEN", stream) == 0


async def test_a_key_outlives_its_job(redis_url: str, raw: Raw, stream: str) -> None:
    """A job that is done is not run again under its key."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        queue.run()
        first = await queue.enqueue(email("one"), key="k")
        await queue.drain()
        again = await queue.enqueue(email("two"), key="k")
        await queue.drain()

    assert first == again
    assert recorder.done == ["one"]


async def test_a_key_is_kept_as_long_as_it_says(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A day by default; then the key is free."""
    queue = sender(redis_url, stream)
    first = await queue.enqueue(email(), key="short", key_ttl=0.001)
    await queue.enqueue(email(), key="long")
    await wait_until(lambda: raw("EXISTS", f"{{{stream}}}:key:short") == 0)
    second = await queue.enqueue(email(), key="short", key_ttl=60.0)
    await queue.aclose()

    assert first != second
    left = raw("PTTL", f"{{{stream}}}:key:long")
    assert isinstance(left, int)
    assert 86_000_000 < left <= 86_400_000


async def test_a_key_belongs_to_its_stream(redis_url: str, stream: str) -> None:
    """The same key on another stream is another key."""
    one, other = sender(redis_url, stream), sender(redis_url, f"{stream}-other")
    ids = [await queue.enqueue(email(), key="k") for queue in (one, other)]
    again = [await queue.enqueue(email(), key="k") for queue in (one, other)]
    await one.aclose()
    await other.aclose()

    assert ids == again
