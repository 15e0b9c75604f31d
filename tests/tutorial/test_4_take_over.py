"""Lesson 4: a worker that dies holds its jobs only as long as their lease."""

from __future__ import annotations

from dataclasses import replace

from flowd import Context, Policy, Queue
from jobs.email import Email
from tests.support.raw import Raw


async def test_the_jobs_of_a_dead_worker_move_on(redis_url: str, raw: Raw) -> None:
    """Once the lease has run out another worker runs the job, and knows that it may."""
    seen: list[tuple[int, int]] = []

    async def send(email: Email, ctx: Context) -> None:
        assert email.to == "a@b.c"
        seen.append((ctx.attempt, ctx.deliveries))

    async with Queue(Email, send, url=redis_url) as queue:
        job_id = await queue.enqueue(Email(to="a@b.c", subject="hi"))

        # A worker takes the job and dies; its lease ends here, by
        # setting its idle time on the server, not by waiting for 30 seconds.
        raw("XREADGROUP", "GROUP", "senders", "dead", "STREAMS", "emails", ">")
        raw("XCLAIM", "emails", "senders", "dead", 0, job_id, "IDLE", 31_000, "JUSTID")

        async with Queue(Email, send, url=redis_url, policy=_soon()) as other:
            other.run()
            await other.drain()

    assert seen == [(1, 2)]  # the first attempt still, but the second delivery


def _soon() -> Policy:
    """A lease so short that the first look for abandoned jobs comes soon."""
    return replace(Email.SPEC.policy, claim_after=1.0)
