"""Every form of a handler that the documentation shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from flowd import Claimer, Context, Job, Letter, Policy, Queue, Reject, Retry, Snooze
from jobs.crawl import Crawl
from jobs.email import Email


async def send(job: Email) -> None:
    if not job.subject:
        raise Reject("no subject")


async def send_with_context(job: Email, ctx: Context) -> None:
    await ctx.progress(0.5, "half")
    if ctx.attempt > 3:
        raise Snooze(60.0)


def send_in_thread(job: Email) -> None:
    raise Retry(f"{job.to} is away", after=60.0)


def send_in_thread_with_context(job: Email, ctx: Context) -> int:
    ctx.log.info("sent to %s", job.to)
    return 1


async def send_through(host: str, job: Email) -> str:
    return f"{host} {job.to}"


async def log_any(job: Job) -> None:
    print(job.to_fields())


@dataclass
class Mailer:
    """A handler that is an object or its method."""

    host: str

    async def __call__(self, job: Email) -> None:
        del job

    async def send(self, job: Email, ctx: Context) -> None:
        del job, ctx


async def on_dead_letter(letter: Letter[Email]) -> None:
    if letter.job is not None:
        print(letter.job.subject, letter.reason)


def on_any_dead_letter(letter: Letter[Job]) -> None:
    print(letter.id)


queues: list[Queue[Email]] = [
    Queue(Email, send),
    Queue(Email, send_with_context),
    Queue(Email, send_in_thread),
    Queue(Email, send_in_thread_with_context),
    Queue(Email, partial(send_through, "smtp.example.org")),
    Queue(Email, log_any),
    Queue(Email, Mailer("smtp.example.org")),
    Queue(Email, Mailer("smtp.example.org").send),
    Queue(Email, send, on_dead_letter=on_dead_letter),
    Queue(Email, send, on_dead_letter=on_any_dead_letter),
    Queue(Email, send, claimer=Claimer(min_idle=60.0, max_crashes=3)),
    Queue(Email, send, claimer=None, policy=Policy(stream="emails", group="senders")),
]
crawls = Queue(Crawl, log_any)


async def run() -> None:
    async with queues[0] as queue:
        job_id: str = await queue.enqueue(Email(to="a@b.c", subject="hi"))
        print(job_id)
        await queue.run_until_stopped()
