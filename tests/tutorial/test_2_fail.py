"""Lesson 2: a handler that fails runs again, and what is given up is kept."""

from __future__ import annotations

from dataclasses import replace

from flowd import Backoff, Context, DeadLetters, Queue, Reject, Retry, Snooze
from jobs.email import Email

# The schema says how often and how long apart; here the waits are too long for a lesson.
QUICKLY = replace(Email.SPEC.policy, max_retries=2, backoff=Backoff(base=0.001))
HELLO = Email(to="a@b.c", subject="hi")


async def test_a_failure_is_tried_again(redis_url: str) -> None:
    """Whatever a handler raises fails the attempt, not the job."""
    attempts: list[int] = []

    async def send(email: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ConnectionError(f"no answer from the server of {email.to}")

    async with Queue(Email, send, url=redis_url, policy=QUICKLY) as queue:
        await queue.enqueue(HELLO)
        queue.run()
        await queue.drain()

    assert attempts == [1, 2, 3]


async def test_exhausted_job_becomes_a_dead_letter(redis_url: str) -> None:
    """After its retries a job is kept with the reason, and can be put back."""
    working = False
    sent: list[Email] = []

    async def send(email: Email) -> None:
        if not working:
            raise ConnectionError("no answer")
        sent.append(email)

    async with (
        Queue(Email, send, url=redis_url, policy=QUICKLY) as queue,
        DeadLetters(Email, redis_url) as dead,
    ):
        await queue.enqueue(HELLO)
        queue.run()
        await queue.drain()

        (letter,) = [each async for each in dead.list()]
        assert letter.job == HELLO
        assert letter.error == "ConnectionError: no answer"
        assert letter.attempts == 3

        working = True
        await dead.redrive(letter.id)
        await queue.drain()

    assert sent == [HELLO]


async def test_a_handler_can_say_how_it_ends(redis_url: str) -> None:
    """`Retry` chooses the wait, `Snooze` spends no try, `Reject` gives up at once."""
    said: list[str] = []

    async def send(email: Email, ctx: Context) -> None:
        said.append(f"{email.to} {ctx.attempt}")
        if ctx.attempt == 1 and len(said) == 1:
            raise Snooze(after=0.001)
        if ctx.attempt == 1:
            raise Retry("the mail server is busy", after=0.001)
        raise Reject("there is no such address")

    async with (
        Queue(Email, send, url=redis_url) as queue,
        DeadLetters(Email, redis_url) as dead,
    ):
        await queue.enqueue(Email(to="bob", subject="hi"))
        queue.run()
        await queue.drain()
        (letter,) = [each async for each in dead.list()]

    assert said == ["bob 1", "bob 1", "bob 2"]
    assert (letter.reason, letter.error) == ("rejected", "there is no such address")
