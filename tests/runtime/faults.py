"""What the tests of faults share: a handler to look at, and waiting for a state."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable

from flowd import Backoff, Context, Policy
from jobs.email import Email

__all__ = ["RECOVERY", "Bench", "email", "events", "policy", "until"]

RECOVERY = 10.0
"""Seconds that a recovery may take before a test fails: five times the goal."""


class Bench:
    """A handler that notes what it runs, and holds it until the gate is open.

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
    """A job that is told from others by `to`."""
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


async def until(holds: Callable[[], object], within: float = RECOVERY) -> None:
    """Return once `holds()` is true; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        await asyncio.sleep(0.005)


def outages(said: list[str]) -> int:
    """How many outages began; one is logged again when its reason changes."""
    lines = [each for each in said if each in ("outage", "recovery")]
    former = ["recovery", *lines]
    return [*zip(former, lines, strict=False)].count(("recovery", "outage"))


def events(records: list[logging.LogRecord]) -> list[str]:
    """The events that flowd logged, in order."""
    return [
        str(vars(record).get("event")) for record in records if record.name == "flowd"
    ]
