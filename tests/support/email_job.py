"""The job that most tests enqueue, its rules, and handlers that record it or let it end."""

from __future__ import annotations

import asyncio
import dataclasses

from flowd import Backoff, Context, Policy, Reject, Snooze
from jobs.email import Email

__all__ = ["EndingHandler", "RecordingHandler", "email", "policy"]


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


class EndingHandler:
    """A handler that ends a job as its `to` says.

    `retry` fails once, `snooze` is released once, `reject` is dead-lettered; every other
    job is done.
    """

    def __init__(self) -> None:
        self._snoozes = iter([Snooze(0)])

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one job."""
        match job.to, ctx.attempt:
            case "retry", 1:
                raise ConnectionError("no route")
            case "reject", _:
                raise Reject("never")
            case "snooze", _:
                # A released job comes again with the same attempt.
                for snooze in self._snoozes:
                    raise snooze
            case _:
                return


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
