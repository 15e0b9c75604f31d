"""Handlers and options that cannot be."""

from __future__ import annotations

from flowd import Claimer, Context, Letter, Queue, Snooze
from jobs.crawl import Crawl
from jobs.email import Email


async def crawl(job: Crawl) -> None:
    del job


async def send(job: Email) -> None:
    del job


async def without_job() -> None: ...


async def of_three(job: Email, ctx: Context, more: int) -> None:
    del job, ctx, more


async def of_text(job: Email, ctx: str) -> None:
    del job, ctx


async def on_crawl(letter: Letter[Crawl]) -> None:
    del letter


Queue(Email, crawl)  # error: [arg-type]
Queue(Email, without_job)  # error: [arg-type]
Queue(Email, of_three)  # error: [arg-type]
Queue(Email, of_text)  # error: [arg-type]
Queue(int, print)  # error: [type-var]
Queue("Email", send)  # error: [arg-type]
Queue(Email)  # error: [call-arg]
Queue(Email, send, concurrency="ten")  # error: [arg-type]
Queue(Email, send, retries=3)  # error: [call-arg]
Queue(Email, send, on_dead_letter=on_crawl)  # error: [arg-type]
Queue(Email, send, claimer=True)  # error: [arg-type]
Claimer(max_crashes="5")  # error: [arg-type]
Claimer(60.0)  # error: [call-arg]
Snooze("a minute")  # error: [arg-type]


async def enqueue(queue: Queue[Email], job: Crawl) -> None:
    await queue.enqueue(job)  # error: [arg-type]
    await queue.enqueue({"to": "a@b.c"})  # error: [arg-type]
    await queue.enqueue("a@b.c", delay=1)  # error: [arg-type]
    queue.enqueue(Email(to="a", subject="b"))  # error: [unused-coroutine]
