"""Lesson 1: a job is a class, a handler is a function, a queue brings them together.

The lessons are ordinary programs against a real server: read them in order.
"""

from __future__ import annotations

from flowd import Producer, Queue
from jobs.email import Email


async def test_a_handler_runs_for_every_job(redis_url: str) -> None:
    """The handler gets what was enqueued, as the object it was."""
    sent: list[Email] = []

    async def send(email: Email) -> None:
        sent.append(email)

    async with Queue(Email, send, url=redis_url) as queue:
        await queue.enqueue(Email(to="a@b.c", subject="hi"))
        queue.run()  # starts reading, and returns
        await queue.drain()  # returns when nothing waits and nothing runs

    assert sent == [Email(to="a@b.c", subject="hi")]


async def test_a_producer_needs_no_handler(redis_url: str) -> None:
    """One program enqueues, another works; the server keeps the jobs between them."""
    async with Producer(redis_url) as producer:
        ids = await producer.enqueue_bulk(
            Email(to=f"user{number}@b.c", subject="hi") for number in range(3)
        )

    sent: list[str] = []

    async def send(email: Email) -> None:
        sent.append(email.to)

    async with Queue(Email, send, url=redis_url) as queue:
        queue.run()
        await queue.drain()

    assert len(ids) == 3
    assert sorted(sent) == ["user0@b.c", "user1@b.c", "user2@b.c"]
