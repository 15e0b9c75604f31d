"""A dead letter: the entry's own fields, byte for byte, then what became of it.

The letter's fields are always the same and always last, so that they are read and cut
by number; a job may use the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Final, Generic, TypeVar

from flowd.model import outcome
from flowd.model.delivery import Delivery, by_name, number, timestamp
from flowd.model.job import Job, decode

__all__ = ["LETTER_FIELDS", "Letter", "letter_fields", "letter_of", "read_letter"]

J = TypeVar("J", bound=Job)
J_co = TypeVar("J_co", bound=Job, covariant=True)

_NAMES: Final = (
    b"_dlq_id",
    b"_dlq_reason",
    b"_dlq_error",
    b"_dlq_traceback",
    b"_dlq_attempts",
    b"_dlq_deliveries",
    b"_dlq_enqueued",
    b"_dlq_consumer",
)

LETTER_FIELDS: Final = len(_NAMES)
"""How many fields of an entry of the dead-letter stream are the letter's own."""

_FOREIGN: Final = (
    *(b"", b"unknown", b"this entry was not written by flowd", b""),
    *(b"0", b"0", b"0", b""),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter(Generic[J_co]):
    """A job that will not run again by itself."""

    id: str
    """The letter's id, which `redrive` and `purge` take."""

    job_id: str
    """The job's id, as `enqueue` returned it."""

    job: J_co | None
    """The job; None if the entry cannot be decoded."""

    fields: Mapping[bytes, bytes] = field(repr=False)
    """The entry's fields as they were, secrets among them; left out of `repr`."""

    reason: str
    """`failed`, `rejected`, `undecodable` or `crashed`; `unknown` if not flowd's."""

    error: str
    """What was wrong, in one sentence."""

    traceback: str
    """Of the last attempt, its end; empty if none was made."""

    attempts: int
    """How often the handler ran to an end."""

    deliveries: int
    """How often the job was delivered."""

    enqueued_at: datetime
    """By the server's clock, in UTC."""

    died_at: datetime
    """By the server's clock, in UTC."""

    consumer: str
    """Who dead-lettered it."""


def letter_fields(
    delivery: Delivery, end: outcome.DeadLetter, consumer: str
) -> list[bytes]:
    """What is written behind an entry's own fields."""
    ran = end.reason in ("failed", "rejected")
    values = (
        delivery.job_id.encode(),
        end.reason.encode(),
        end.error.encode("utf-8", "backslashreplace"),
        end.traceback.encode("utf-8", "backslashreplace"),
        b"%d" % (delivery.attempt if ran else delivery.attempt - 1),
        b"%d" % delivery.deliveries,
        delivery.enqueued_ms,
        consumer.encode(),
    )
    return [item for pair in zip(_NAMES, values, strict=True) for item in pair]


def letter_of(
    letter_id: bytes,
    delivery: Delivery,
    end: outcome.DeadLetter,
    consumer: str,
    job_class: type[J],
) -> Letter[J]:
    """The letter that a delivery has become, as it would be read from its stream."""
    own = letter_fields(delivery, end, consumer)
    flat = [*chain.from_iterable(delivery.fields.items()), *own]
    return read_letter(letter_id, flat, job_class)


def read_letter(
    letter_id: bytes, flat: Sequence[bytes], job_class: type[J] | None
) -> Letter[J]:
    """Read an entry of the dead-letter stream (name, value, name, value …)."""
    own = max(0, len(flat) - 2 * LETTER_FIELDS)
    values = flat[own + 1 :: 2]
    if tuple(flat[own::2]) != _NAMES:
        own, values = len(flat), _FOREIGN
    fields = by_name(flat[:own])
    job_id, reason, error, traceback, *_, consumer = (
        value.decode("utf-8", "backslashreplace") for value in values
    )
    attempts, deliveries, enqueued = values[4:7]
    job: J | None = None
    if job_class is not None and reason not in ("undecodable", "unknown"):
        try:
            job = decode(job_class, fields)
        except KeyboardInterrupt:
            raise
        except BaseException:
            # The class has changed since the job died, or was written by hand.
            job = None
    return Letter(
        id=letter_id.decode(),
        job_id=job_id,
        job=job,
        fields=fields,
        reason=reason,
        error=error,
        traceback=traceback,
        attempts=number(attempts),
        deliveries=number(deliveries),
        enqueued_at=timestamp(enqueued),
        died_at=timestamp(letter_id.partition(b"-")[0]),
        consumer=consumer,
    )
