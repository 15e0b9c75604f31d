"""A redrive that changes nothing: which letters would be refused, and why."""

from __future__ import annotations

from flowd.broker.commands import enqueue_command
from flowd.broker.refusals import refusal
from flowd.errors import CommandRefused
from flowd.model.item import Item
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.ops.limits import unique_holder
from flowd.ops.queries import Queries

__all__ = ["RedriveTrial"]


class RedriveTrial:
    """What a redrive of the same letters, in the same order, would be refused.

    Args:
        queries: of the queue.
        when_free: as for `DeadLetters.redrive`.
    """

    def __init__(self, queries: Queries, *, when_free: bool = False) -> None:
        self._queries = queries
        self._when_free = when_free
        self._first: dict[str, Letter[Job]] = {}
        """By `unique` key: the first letter that has it, which would take it."""

    async def redrive(self, letter: Letter[Job], *, job: Job | None = None) -> None:
        """Refuse what Redis would.

        Args:
            letter: the letter.
            job: would replace its job.

        Raises:
            CommandRefused: the letter cannot be put back into its stream.
            KeyTaken: another job has its `unique` key, or would have by then.
            EncodeError: `job` cannot be serialized, or is too large.
            ServerError: as `Connection.call`.
        """
        if letter.reason == "unknown":
            raise CommandRefused(letter.error)
        if b"_packed" in letter.fields:
            raise CommandRefused("the entry has more than 1,000 fields")
        key = _unique_key(letter, job)
        if self._when_free or not key:
            return
        first = self._first.setdefault(key, letter)
        holder = await unique_holder(self._queries, key)
        if not holder and first.id != letter.id:
            holder = first.job_id
        if holder:
            raise refusal(f"TAKEN the job {holder} has the key {key}")


def _unique_key(letter: Letter[Job], job: Job | None) -> str:
    """The key under the policy `unique`, as its ticket has it; empty without one."""
    if job is None:
        ticket = letter.fields.get(b"_gate", b"")
    else:
        ticket = enqueue_command(Item(job)).ticket
    for word in ticket.decode("utf-8", "backslashreplace").split(" "):
        if word.startswith("u:"):
            return word[2:]
    return ""
