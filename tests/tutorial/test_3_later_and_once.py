"""Lesson 3: a job may wait for its time, and be enqueued only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flowd import Context, Queue
from jobs.email import Email

HELLO = Email(to="a@b.c", subject="hi")


async def test_a_delayed_job_waits(redis_url: str) -> None:
    """It starts no earlier than so many seconds after it was enqueued."""
    waited: list[timedelta] = []

    async def send(email: Email, ctx: Context) -> None:
        assert email == HELLO
        waited.append(datetime.now(UTC) - ctx.enqueued_at)

    async with Queue(Email, send, url=redis_url) as queue:
        queue.run()
        await queue.enqueue(HELLO, delay=0.05)
        await queue.drain()

    (time,) = waited
    assert time >= timedelta(milliseconds=49)


async def test_a_key_makes_enqueuing_safe_to_repeat(redis_url: str) -> None:
    """Under the same key nothing is stored again, and the first job's id comes back."""
    sent: list[Email] = []

    async def send(email: Email) -> None:
        sent.append(email)

    async with Queue(Email, send, url=redis_url) as queue:
        first = await queue.enqueue(HELLO, key="welcome-17")
        again = await queue.enqueue(HELLO, key="welcome-17")
        queue.run()
        await queue.drain()

    assert again == first
    assert sent == [HELLO]
