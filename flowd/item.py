"""What is enqueued: a job, and what was said about it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from flowd.delivery import MOST_HEADERS, OWN
from flowd.errors import OptionError, PayloadTooLarge
from flowd.job import MOST_BYTES, Job, weight
from flowd.steps import Addition

__all__ = ["KEY_TTL", "Item", "addition_of", "items_of"]

J_co = TypeVar("J_co", bound=Job, covariant=True)

KEY_TTL: Final = 86_400.0
"""How long an idempotency key is remembered unless said otherwise, in seconds."""

_MOST_KEY: Final = 1_024
_MOST_HEADER_BYTES: Final = 2_048
_HEADER: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_ENTRY_ID: Final = re.compile(r"\*|\d+(-\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Item(Generic[J_co]):
    """A job for `enqueue_bulk` with an id, a delay or a key of its own.

    The arguments are those of `enqueue`.
    """

    job: J_co
    id: str = "*"
    delay: float = 0.0
    key: str | None = None
    key_ttl: float = KEY_TTL
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """What travels beside the job, for middleware: at most 8 names of small letters,
    digits and `_`, and 2,048 bytes. `traceparent` is the field `_traceparent`."""

    def __post_init__(self) -> None:
        if self.headers:
            _check(self.headers)
        if not self.delay >= 0:  # true for NaN as well
            raise OptionError("delay", self.delay, "must be 0 or more (seconds)")
        if not _ENTRY_ID.fullmatch(self.id):
            raise OptionError("id", self.id, "must be * or an entry id as 12-0")
        if self.id != "*" and self.delay > 0:
            raise OptionError("id", self.id, "a delayed job gets its entry id later")
        if self.key is None:
            return
        if not 0 < _size(self.key) <= _MOST_KEY:
            rule = f"must have 1 to {_MOST_KEY} bytes of UTF-8"
            raise OptionError("key", self.key[:80], rule)
        if not self.key_ttl >= 0.001:
            raise OptionError("key_ttl", self.key_ttl, "must be at least 0.001 (s)")


def items_of(jobs: Iterable[Job | Item[Job]]) -> Iterator[Item[Job]]:
    """Each job as an item, read one by one."""
    return (job if isinstance(job, Item) else Item(job) for job in jobs)


def addition_of(job: Job | Item[Job]) -> Addition:
    """A job as it goes into a stream; raises EncodeError or PayloadTooLarge."""
    if not isinstance(job, Item):
        return Addition(*_encoded(job))
    fields, size = _encoded(job.job)
    job_id = ""
    if job.delay > 0:
        job_id = uuid.uuid4().hex
        fields[b"_id"] = job_id.encode()
    if job.key is not None:
        fields[b"_key"] = job.key.encode()
    for name, value in job.headers.items():
        fields[b"_" + name.encode()] = value.encode()
    return Addition(fields, size, job.id, job.delay, job_id, job.key, job.key_ttl)


def _encoded(job: Job) -> tuple[dict[bytes, bytes], int]:
    """A job's fields, and how many bytes they have."""
    fields = job.to_fields()
    size = weight(fields)
    if size > MOST_BYTES:
        raise PayloadTooLarge(
            type(job).SPEC.name,
            max(fields, key=lambda name: len(fields[name])).decode(),
            size,
            MOST_BYTES,
        )
    version = type(job).SPEC.version
    if version or not fields:
        # An entry needs a field, and a job may happen to have none.
        fields[b"_v"] = b"%d" % (version or 1)
    return fields, size


def _check(headers: Mapping[str, str]) -> None:
    size = 0
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or f"_{name}".encode() in OWN:
            rule = "a name is of small letters, digits and _, and none of flowd's own"
            raise OptionError("headers", name[:80], rule)
        if value and not _size(value):
            raise OptionError("headers", name[:80], "its value has no form in UTF-8")
        size += len(name) + _size(value)
    if len(headers) > MOST_HEADERS or size > _MOST_HEADER_BYTES:
        rule = f"may be {MOST_HEADERS}, and {_MOST_HEADER_BYTES} bytes together"
        raise OptionError("headers", [*headers][:20], rule)


def _size(key: str) -> int:
    """Bytes of UTF-8; 0 if there is no such form."""
    try:
        return len(key.encode())
    except UnicodeEncodeError:
        return 0
