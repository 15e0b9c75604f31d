"""A job to enqueue, with its options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeGuard, TypeVar

from flowd.errors import OptionError
from flowd.errors.option import iterable, wait
from flowd.model.delivery import MAX_HEADERS, OWN
from flowd.model.expiry import Expires, check_expires
from flowd.model.job import Job
from flowd.model.timing import Seconds, due_at

__all__ = ["KEY_TTL", "Item", "items_of", "many"]

J_co = TypeVar("J_co", bound=Job, covariant=True)
T = TypeVar("T")

KEY_TTL: Final = 86_400.0
"""How long an idempotency key is remembered by default, in seconds."""

_MAX_KEY: Final = 1_024
_MAX_HEADER_BYTES: Final = 2_048
_HEADER: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_ENTRY_ID: Final = re.compile(r"\d{1,20}(-\d{1,20})?", re.ASCII)
_MAX_ID: Final = 2**64 - 1


@dataclass(frozen=True, slots=True, init=False)
class Item(Generic[J_co]):
    """A job for `enqueue_bulk` with its own id, delay or idempotency key.

    The arguments are those of `Queue.enqueue`, and `headers` for middleware.

    Raises:
        OptionError: an invalid argument; the message says which one and why.
    """

    job: J_co
    id: str = "*"
    delay: float = 0.0
    """Seconds."""

    key: str | None = None
    key_ttl: float = KEY_TTL
    """Seconds."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Metadata that is stored with the job, for middleware: at most 8 names of lower-case
    letters, digits and `_`, and 2,048 bytes. `traceparent` is the field `_traceparent`."""

    at: datetime | None = None
    expires: float | datetime | None = None
    priority: str | None = None

    def __init__(  # noqa: PLR0917 - in the order of the fields
        self,
        job: J_co,
        id: str = "*",  # noqa: A002 - the name in the Rust crate flowd
        delay: Seconds | None = None,
        key: str | None = None,
        key_ttl: Seconds = KEY_TTL,
        headers: Mapping[str, str] | None = None,
        at: datetime | None = None,
        expires: Expires | None = None,
        priority: str | None = None,
    ) -> None:
        if headers:
            _check_headers(headers)
        delay = 0.0 if delay is None else wait("delay", delay)
        _check_id(id)
        if at is not None:
            due_at("at", at)
            if delay:
                raise OptionError("at", at, "give delay or at, not both")
        if id != "*" and (delay or at is not None):
            raise OptionError("id", id, "a delayed job gets its entry id later")
        if key is not None:
            _check_key(key)
        if expires is not None:
            expires = check_expires(expires, at)
        put = object.__setattr__
        put(self, "job", job)
        put(self, "id", id)
        put(self, "delay", delay)
        put(self, "key", key)
        if key_ttl is not KEY_TTL:  # as most often, and a bulk has many items
            key_ttl = wait("key_ttl", key_ttl, least=0.001)
        put(self, "key_ttl", key_ttl)
        put(self, "headers", headers or {})
        put(self, "at", at)
        put(self, "expires", expires)
        put(self, "priority", priority)


def many(jobs: Iterable[T]) -> Iterable[T]:
    """Check that the argument of `enqueue_bulk` is an iterable.

    Raises:
        OptionError: it is one job, a class, or something else.
    """
    rule = "must be an iterable of jobs, as a list; for one job use enqueue"
    iterable("jobs", jobs, rule)
    return jobs


def items_of(jobs: Iterable[Job | Item[Job]]) -> Iterator[Item[Job]]:
    """Each job as an item, read one by one."""
    return (job if isinstance(job, Item) else Item(job) for job in jobs)


def _check_id(entry_id: object) -> None:
    if entry_id == "*" and isinstance(entry_id, str):
        return
    if isinstance(entry_id, str) and _ENTRY_ID.fullmatch(entry_id):
        ms, _, sequence = entry_id.partition("-")
        if max(int(ms), int(sequence or 0)) <= _MAX_ID:
            return
    rule = "must be * or an entry id as 12-0, of numbers below 2**64"
    raise OptionError("id", entry_id, rule)


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise OptionError("key", key, "must be a str")
    if not 0 < _size(key) <= _MAX_KEY:
        rule = f"must have 1 to {_MAX_KEY} bytes of UTF-8"
        raise OptionError("key", key[:80], rule)


def _is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, Mapping)


def _check_headers(headers: object) -> None:
    rule = f"may be {MAX_HEADERS}, and {_MAX_HEADER_BYTES} bytes together"
    if not _is_mapping(headers):
        raise OptionError("headers", type(headers).__name__, "must map names to texts")
    size, pairs = 0, [*_pairs(headers)]
    for name, value in pairs:
        if (
            not isinstance(name, str)
            or not _HEADER.fullmatch(name)
            or f"_{name}".encode() in OWN
        ):
            shown = name[:80] if isinstance(name, str | bytes) else name
            known = "a name is of small letters, digits and _, and none of flowd's own"
            raise OptionError("headers", shown, known)
        if not isinstance(value, str):
            raise OptionError("headers", name[:80], "its value must be a str")
        if value and not _size(value):
            raise OptionError("headers", name[:80], "its value has no form in UTF-8")
        size += len(name) + _size(value)
    if len(pairs) > MAX_HEADERS or size > _MAX_HEADER_BYTES:
        raise OptionError("headers", [name for name, _ in pairs][:20], rule)


def _pairs(headers: Mapping[object, object]) -> Iterable[tuple[object, object]]:
    return headers.items()


def _size(key: str) -> int:
    """Bytes of UTF-8; 0 if there is no such form."""
    try:
        return len(key.encode())
    except UnicodeEncodeError:
        return 0
