"""One entry that this process holds under a lease, and flowd's own fields of an entry.

flowd's own fields begin with `_`. The runtime writes them, and a reader ignores those that
it does not know. `to_fields` writes only `_v`, and only from version 2 on: an entry without
it is of version 1.

    _id           the job's id, once its entry id is no longer that
    _at           when it was enqueued (ms, server clock), likewise
    _attempt      the number of the attempt that comes next, from the second on
    _deliveries   how often earlier entries of this job were delivered
    _error        what the last failure said, without secrets, 500 bytes at most
    _key          the idempotency key it was enqueued with
    _expires      until when it may start (ms, server clock), or `+` and the ms from when
                  it was enqueued
    _gate         its ticket: its key under each policy of its queue (`model.gate`)
    _v            the version of its schema, where that declares one; 1 for a job that
                  would have no field otherwise

Any other is a header: it was enqueued with the job, and the runtime does not read it.

    _traceparent  the trace that the job belongs to, as W3C writes it
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from flowd.errors import DecodeError
from flowd.model.expiry import deadline_ms

__all__ = [
    "ENVELOPE",
    "MAX_HEADERS",
    "OWN",
    "Delivery",
    "Entry",
    "by_name",
    "can_be_id",
    "envelope_number",
    "id_range",
    "is_entry_id",
    "number",
    "order",
    "timestamp",
]

_ENTRY_ID: Final = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

OWN: Final = frozenset(
    (
        b"_id",
        b"_at",
        b"_attempt",
        b"_deliveries",
        b"_error",
        b"_key",
        b"_expires",
        b"_gate",
        b"_v",
    )
)
"""The fields that are read by the runtime, and no header."""

MAX_HEADERS: Final = 8

ENVELOPE: Final = len(OWN) + MAX_HEADERS
"""How many fields of an entry may be no fields of the job."""

_MAX_ERROR: Final = 500

_LAST: Final = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


def by_name(flat: Iterable[bytes]) -> dict[bytes, bytes]:
    """Name, value, name, value as a dictionary; of a name that comes twice the last."""
    each = iter(flat)
    return dict(zip(each, each, strict=True))


class Entry(NamedTuple):
    """A stream entry as Redis delivers it."""

    id: bytes
    delivery_count: int
    """How often Redis has delivered it; with the consumer, the fence of every settle."""

    fields: dict[bytes, bytes]
    size: int
    """How many fields it has; a name that comes twice counts twice."""


class Delivery:
    """An entry that this process holds until it is settled."""

    __slots__ = (
        "attempt",
        "began",
        "cancelled",
        "count",
        "counted",
        "deadline",
        "deliveries",
        "discarded",
        "ended",
        "entry_id",
        "fields",
        "held_since",
        "in_thread",
        "size",
        "stuck",
        "stuck_at",
        "task",
        "unwinding",
    )

    def __init__(self, entry: Entry, now: float) -> None:
        self.entry_id, self.count, self.fields, self.size = entry
        self.held_since = self.began = self.ended = now
        """When the lease was last confirmed to be ours (`time.monotonic`); `began` and `ended`
        are when its handler was started, and was done."""

        self.deadline: float | None = None
        """When the attempt has taken too long (`time.monotonic`)."""

        self.task: asyncio.Task[object] | None = None
        self.in_thread = False
        """Whether a thread is at work on it, which nothing can end."""

        self.cancelled: Literal["", "timeout", "lost", "shutdown", "cancel"] = ""
        """Why flowd cancelled the handler; empty if it did not."""

        self.discarded = ""
        """Why it ends without having run, or without its end; empty if it does not."""

        self.stuck_at: float | None = None
        """When its handler counts as stuck (`time.monotonic`): it was cancelled at its
        timeout, and has not ended."""

        self.stuck = False
        """Whether the event `stuck` was emitted."""

        self.counted = True
        """Whether `count` has this delivery in it; not while a suspect waits."""

        self.unwinding = False
        """Whether something else had cancelled it before, as a TaskGroup that failed."""

        self.attempt = 1
        self.deliveries = self.count

    def read_envelope(self) -> None:
        """Take the counters from the fields.

        Raises:
            DecodeError: a counter is not a number.
        """
        fields = self.fields
        if b"_attempt" in fields:
            self.attempt = envelope_number(fields, b"_attempt")
        if b"_deliveries" in fields:
            self.deliveries = envelope_number(fields, b"_deliveries") + self.count

    @property
    def thread_name(self) -> str:
        """The name of the thread that is at work on it, if one is."""
        return f"flowd-handler-{self.entry_id.decode('ascii', 'replace')}-{id(self):x}"

    @property
    def job_id(self) -> str:
        """The id that stays with the job through all its entries."""
        return self.fields.get(b"_id", self.entry_id).decode(
            "utf-8", "backslashreplace"
        )

    @property
    def enqueued_ms(self) -> bytes:
        """When the job was enqueued: milliseconds of the server's clock."""
        at = self.fields.get(b"_at", b"")
        return at if number(at) else self.entry_id.partition(b"-")[0]

    @property
    def deadline_ms(self) -> int | None:
        """Until when it may start, in ms of the server's clock; None without a limit."""
        raw = self.fields.get(b"_expires")
        return None if raw is None else deadline_ms(raw, self.enqueued_ms)

    @property
    def last_error(self) -> str:
        """What the job's last failure said; empty if there was none."""
        return self.fields.get(b"_error", b"").decode("utf-8", "backslashreplace")

    def requeue_envelope(
        self, *, failed: bool, error: str | None = None
    ) -> dict[bytes, bytes]:
        """What the job's next entry says of its past.

        A failure counts the attempt and this delivery. Else neither is spent: it is as
        if the job had not been delivered, and what its last failure said stays.
        """
        envelope = {
            b"_id": self.job_id.encode(),
            b"_at": self.enqueued_ms,
            b"_attempt": b"%d" % (self.attempt + failed),
            b"_deliveries": b"%d" % (self.deliveries - (self.counted and not failed)),
        }
        if b"_gate" in self.fields:
            envelope[b"_gate"] = self.fields[b"_gate"]
        if error is not None:
            envelope[b"_error"] = _shortened(error)
        return envelope

    def recounted(self, counted: bool) -> Delivery:
        """The same entry, held with a count that has this delivery in it or not."""
        count = self.count + counted - self.counted
        again = Delivery(
            Entry(self.entry_id, count, self.fields, self.size), self.held_since
        )
        again.counted = counted
        again.attempt = self.attempt
        again.deliveries = self.deliveries + counted - self.counted
        return again

    @property
    def ordinal(self) -> int:
        """Which delivery of its job this is, counted yet or not."""
        return self.deliveries + (not self.counted)

    @property
    def crashes(self) -> int:
        """Deliveries that neither failed nor were released."""
        return self.deliveries - self.attempt

    @property
    def is_poison_suspect(self) -> bool:
        """Whether two deliveries before this one ended in a crash."""
        if self.count == 1 and b"_deliveries" not in self.fields:
            return False
        try:
            self.read_envelope()
        except DecodeError:
            return False
        return self.crashes >= 2


def _shortened(error: str) -> bytes:
    """The beginning of a text, with no character cut in two."""
    raw = error.encode("utf-8", "backslashreplace")
    return raw[:_MAX_ERROR].decode("utf-8", "ignore").encode()


def number(raw: bytes) -> int:
    """The number in decimal digits; 0 for any other text."""
    return int(raw) if raw.isdigit() and len(raw) <= 20 else 0


def timestamp(ms: bytes) -> datetime:
    """A time in milliseconds as UTC; an id that was made up ends with the calendar."""
    return datetime.fromtimestamp(min(number(ms) / 1000, _LAST), UTC)


def envelope_number(fields: Mapping[bytes, bytes], name: bytes) -> int:
    """A counter of the envelope.

    Raises:
        DecodeError: it is not a number from 1 to 999999999.
    """
    raw = fields[name]
    if raw.isdigit() and len(raw) <= 9:
        return int(raw)
    raise DecodeError("entry", name.decode(), "expected a number", repr(raw[:40]))


def id_range(entry_ids: Collection[bytes]) -> tuple[bytes, bytes]:
    """The first and the last of entry ids, as a stream orders them."""
    if len(set(map(len, entry_ids))) == 1:
        return min(entry_ids), max(entry_ids)  # of one length, bytes have that order
    return min(entry_ids, key=order), max(entry_ids, key=order)


def is_entry_id(text: str) -> bool:
    """Whether a stream may have an entry of this id, as 1795535506792-0."""
    if not _ENTRY_ID.fullmatch(text):
        return False
    return max(order(text.encode())) < 2**64


def can_be_id(text: str) -> bool:
    """Whether a job may have this id: a lone surrogate is sent to no server."""
    return not _SURROGATE.search(text)


def order(entry_id: bytes) -> tuple[int, int]:
    """A key that sorts entry ids as a stream orders them."""
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq)
