"""The job that most tests enqueue, its rules, and a handler that records what it runs."""

from __future__ import annotations

import asyncio
import dataclasses

from flowd import Backoff, Context, Policy
from jobs.email import Email

__all__ = ["RecordingHandler", "email", "policy"]


class RecordingHandler:
    """A handler that records what it runs, and holds it until the gate is open.

    Attributes:
        started: the jobs (their `to`) in the order of their start.
        done: those that ran to their end.
        cancelled: those that were cancelled at the gate.
        contexts: as `started`.
    """

    def __init__(self, *, closed: bool = False) -> None:
        self.started: list[str] = []
        self.done: list[str] = []
        self.cancelled: list[str] = []
        self.contexts: list[Context] = []
        self.gate = asyncio.Event()
        if not closed:
            self.gate.set()

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one job."""
        self.started.append(job.to)
        self.contexts.append(ctx)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.to)
            raise
        self.done.append(job.to)


def email(to: str = "a") -> Email:
    """A job that `to` distinguishes from others."""
    return Email(to=to, subject="hi")


def policy(
    stream: str,
    *,
    lease: float = 1.0,
    max_retries: int = 3,
    timeout: float | None = None,
    backoff: float = 0.001,
) -> Policy:
    """The rules of Email on another stream, with times short enough for a test."""
    return dataclasses.replace(
        Email.SPEC.policy,
        stream=stream,
        claim_after=lease,
        max_retries=max_retries,
        timeout=timeout,
        backoff=Backoff(kind="fixed", base=backoff, jitter=False),
    )
