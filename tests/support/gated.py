"""A job class with policies of a test's choice, and what is left of its gate in Redis."""

from __future__ import annotations

import asyncio
import dataclasses

from flowd import Context, Gate
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.raw import Raw

__all__ = ["Overlap", "gated", "leftovers"]


def gated(gate: Gate | None, base: type[Email] = Email) -> type[Email]:
    """Email, with these policies as its schema's."""
    spec = dataclasses.replace(base.SPEC, gate=gate)
    return type("Email", (base,), {"SPEC": spec, "__slots__": ()})


def leftovers(raw: Raw, stream: str) -> list[str]:
    """The keys of a queue's gate that are there, apart from what workers wait for."""
    *keys, _ = Keys(stream, "senders").gate
    return [key for key in keys if raw("EXISTS", key)]


class Overlap:
    """A handler that counts how many jobs of one `to` run at once.

    Args:
        lasts: seconds that a job takes.
    """

    def __init__(self, lasts: float = 0.0) -> None:
        self.lasts = lasts
        self.running: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.order: list[tuple[str, str]] = []
        self.done: list[tuple[str, str]] = []

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one job."""
        self.order.append((job.to, job.subject))
        self.running[job.to] = self.running.get(job.to, 0) + 1
        self.most[job.to] = max(self.most.get(job.to, 0), self.running[job.to])
        try:
            await asyncio.sleep(self.lasts)
        finally:
            self.running[job.to] -= 1
        self.done.append((job.to, job.subject))
