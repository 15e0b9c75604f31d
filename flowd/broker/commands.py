"""What a stream is asked to do, and what it answers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

from flowd.broker.packed import array_head, pack_fields
from flowd.errors import OptionError, PayloadTooLarge, ServerError
from flowd.model.delivery import Delivery, Entry
from flowd.model.expiry import expiry_field
from flowd.model.gate import Gate
from flowd.model.item import Item
from flowd.model.job import MAX_JOB_BYTES, Job, JobSpec, payload_size
from flowd.model.policy import Policy
from flowd.model.timing import due_at, milliseconds

__all__ = [
    "DELETED",
    "MOST_ARGUMENTS",
    "NOT_OURS",
    "SETTLED",
    "EnqueueCommand",
    "Maintained",
    "MoveToDeadLetter",
    "Requeue",
    "Settled",
    "enqueue_command",
    "entries_of",
]


MOST_ARGUMENTS: Final = 3_500
"""Of one script for many jobs, at most, and few more of its parts: some managed services
refuse a request that has more than 4,000."""


class EnqueueCommand(NamedTuple):
    """One job on its way into a stream."""

    fields: Mapping[bytes, bytes]
    size: int
    """Bytes of all names and values."""

    id: str = "*"
    """An entry id, or `*` for the server's choice; only without a delay."""

    delay: float = 0.0
    """Seconds; above 0 the job waits in the delayed set."""

    job_id: str = ""
    """The id of a job that waits, or may have to."""

    key: str | None = None
    key_ttl: float = 0.0
    """Seconds that the idempotency key is remembered."""

    due: float = 0.0
    """Seconds since 1970 by the server's clock, until which the job waits; or 0."""

    gate: Gate | None = None
    """The policies of its queue."""

    ticket: bytes = b""
    """What it is to them, if there are any."""

    @property
    def is_plain(self) -> bool:
        """Whether it takes no more than to append it."""
        return self[2:] == _PLAIN

    @property
    def arguments(self) -> tuple[str | int | bytes, ...]:
        """What the script that stores it is given; those of its parts are two more."""
        when: str | int = 0
        if self.due:
            when = milliseconds(self.due)
        elif self.delay:
            when = f"+{milliseconds(self.delay)}"
        # With `_id` and `_at`, and `_gate`.
        pairs = len(self.fields) + (2 if self.gate is None else 3)
        own = (when, self.job_id or self.id, array_head(2 * pairs))
        packed = (*own, pack_fields(self.fields))
        return packed if self.gate is None else (*packed, self.ticket)

    @property
    def waits(self) -> bool:
        """Whether it is to become an entry later."""
        return self.delay > 0 or self.due > 0


_PLAIN: Final = tuple(EnqueueCommand._field_defaults.values())


class Requeue(NamedTuple):
    """Put an entry back, `delay` seconds from now, with a new envelope."""

    delivery: Delivery
    delay: float
    envelope: Mapping[bytes, bytes]


class MoveToDeadLetter(NamedTuple):
    """Move an entry to the dead letters, with the letter's fields behind its own."""

    delivery: Delivery
    letter: Sequence[bytes]


class Maintained(NamedTuple):
    """What one step of maintenance did."""

    promoted: int
    next_due: float | None
    """Seconds until the next delayed job is due; None without one."""

    cursor: bytes
    next_lease: float
    """Seconds until another consumer's lease may run out."""

    claimed: list[Entry]
    unsorted: bool
    """Whether own entries lost their lease: which of them run has to be said first."""

    answers: list[int]
    """One of each part, in order."""


NOT_OURS: Final = 0
"""The fence refused it: the delivery was taken over, or settled before."""

SETTLED: Final = 1
DELETED: Final = 2
"""The entry had been deleted by another client; the delivery has ended."""

Settled: TypeAlias = int | bytes | ServerError
"""What became of one ending: one of these three, the id of its dead letter, or a refusal."""


def enqueue_command(
    job: Job | Item[Job], policy: Policy | None = None
) -> EnqueueCommand:
    """A job as it goes into a stream; raises EncodeError or PayloadTooLarge.

    Args:
        job: with its options, or alone.
        policy: the rules of its queue; None: those of its class.
    """
    if not isinstance(job, Item):
        fields, size = _encoded(job)
        spec = type(job).SPEC
        rules = spec.policy if policy is None else policy
        if rules.expires_after is not None:
            _put_expiry(fields, expiry_field(rules.expires_after))
        command = EnqueueCommand(fields, size)
        return command if spec.gate is None else _gated(command, spec, spec.gate)
    fields, size = _encoded(job.job)
    rules = type(job.job).SPEC.policy if policy is None else policy
    expires = rules.expires_after if job.expires is None else job.expires
    if expires is not None:
        own_id = job.id != "*"
        found = expiry_field(expires, delay=job.delay, at=job.at, own_id=own_id)
        _put_expiry(fields, found)
    job_id, due = "", 0.0 if job.at is None else due_at("at", job.at)
    if job.delay or due:
        job_id = os.urandom(16).hex()
    if job.key is not None:
        fields[b"_key"] = job.key.encode()
    for name, value in job.headers.items():
        fields[b"_" + name.encode()] = value.encode()
    key_ttl = 0.0 if job.key is None else job.key_ttl
    own = (job.id, job.delay, job_id, job.key, key_ttl, due)
    command, spec = EnqueueCommand(fields, size, *own), type(job.job).SPEC
    if spec.gate is not None:
        if command.waits and spec.gate.debounce is not None:
            option = "at" if due else "delay"
            rule = (
                "this job is debounced: its schema says that it runs"
                f" {spec.gate.debounce.wait:g} s after the last one of its key"
                f" (`debounce`); leave {option} out"
            )
            raise OptionError(option, job.at if due else job.delay, rule)
        return _gated(command, spec, spec.gate, job.priority)
    if job.priority is not None:
        rule = "the schema of this job declares no priority"
        raise OptionError("priority", job.priority, rule)
    return command


def _gated(
    command: EnqueueCommand, spec: JobSpec, gate: Gate, priority: str | None = None
) -> EnqueueCommand:
    """With its ticket, and with an id for the case that it has to wait."""
    if command.id != "*":
        rule = "a job of a queue with policies gets its entry id when it may go"
        raise OptionError("id", command.id, rule)
    job_id = command.job_id or os.urandom(16).hex()
    ticket = gate.ticket(command.fields, spec.secrets, priority)
    key = (command.key, command.key_ttl)
    wait = ("*", command.delay, job_id, *key, command.due)
    return EnqueueCommand(command.fields, command.size, *wait, gate, ticket)


def _put_expiry(fields: dict[bytes, bytes], field: bytes | None) -> None:
    if field is not None:
        fields[b"_expires"] = field


def entries_of(
    jobs: Sequence[Job], policy: Policy | None = None
) -> tuple[list[dict[bytes, bytes]], int]:
    """Jobs of one class without options, as `enqueue_command`, in half of its time.

    Returns:
        the fields of each, and how many bytes all of them have.
    """
    spec = type(jobs[0]).SPEC
    entries = [job.to_fields() for job in jobs]
    size = len(
        b"".join([*chain(*entries), *chain(*[each.values() for each in entries])])
    )
    if size > MAX_JOB_BYTES:
        for fields in entries:
            if (own := payload_size(fields)) > MAX_JOB_BYTES:
                raise _too_large(spec, fields, own)
    if spec.version or not all(entries):
        for fields in entries:
            if spec.version or not fields:
                fields[b"_v"] = _version(spec)
    rules = spec.policy if policy is None else policy
    if rules.expires_after is not None:
        for fields in entries:
            _put_expiry(fields, expiry_field(rules.expires_after))
    return entries, size


def _encoded(job: Job) -> tuple[dict[bytes, bytes], int]:
    """A job's fields, and how many bytes they have."""
    fields, spec = job.to_fields(), type(job).SPEC
    size = payload_size(fields)
    if size > MAX_JOB_BYTES:
        raise _too_large(spec, fields, size)
    if spec.version or not fields:
        fields[b"_v"] = _version(spec)
    return fields, size


def _too_large(
    spec: JobSpec, fields: Mapping[bytes, bytes], size: int
) -> PayloadTooLarge:
    largest = max(fields, key=lambda name: len(fields[name])).decode()
    return PayloadTooLarge(spec.name, largest, size, MAX_JOB_BYTES)


def _version(spec: JobSpec) -> bytes:
    """What `_v` says: also of a job that has no fields, because an entry needs one."""
    return b"%d" % (spec.version or 1)
