"""Until when a job may start: what `expires` says, and how an entry carries it.

An entry carries either a moment (`1795537402210`, ms of the server's clock) or a span
since its job was enqueued (`+3600000`), so that a plain XADD needs no clock of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias

from flowd.errors import OptionError
from flowd.errors.option import FOREVER, wait
from flowd.model.timing import Seconds, due_at, milliseconds

__all__ = ["Expires", "check_expires", "deadline_ms", "expiry_field", "with_expiry"]

Expires: TypeAlias = Seconds | datetime
"""Until when a job may start: a span from the time it may start on, or a moment."""

_FIELD: Final = re.compile(rb"(\+?)(\d{1,20})", re.ASCII)


def check_expires(value: Expires, at: datetime | None) -> float | datetime:
    """Check what a caller says; a span becomes seconds.

    Raises:
        OptionError: it is neither a span above 0 nor a moment behind `at`.
    """
    if not isinstance(value, datetime):
        return wait("expires", value, least=0.001)
    until = due_at("expires", value)
    if at is not None and until <= due_at("at", at):
        raise OptionError("expires", value, "is not behind `at`: it would never run")
    return value


def expiry_field(
    expires: float | datetime,
    *,
    delay: float = 0.0,
    at: datetime | None = None,
    own_id: bool = False,
) -> bytes | None:
    """What the entry of a job carries; None if it never expires.

    A span begins when the job may start: at once, behind its delay, or `at`.

    Args:
        expires: as `check_expires` returns it.
        delay: seconds.
        at: when it may start.
        own_id: the caller chose the entry's id, which says no time then.
    """
    if isinstance(expires, datetime):
        return b"%d" % milliseconds(due_at("expires", expires))
    span = delay + expires
    if span >= FOREVER:
        return None
    if at is not None:
        return b"%d" % milliseconds(due_at("at", at) + expires)
    if own_id:
        return b"%d" % milliseconds(time.time() + expires)
    return b"+%d" % milliseconds(span)


def with_expiry(
    fields: Sequence[tuple[bytes, bytes]], expires_after: float | None
) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a job that a schedule enqueues, with the rule of its queue."""
    own = None if expires_after is None else expiry_field(expires_after)
    return tuple(fields) if own is None else ((b"_expires", own), *fields)


def deadline_ms(raw: bytes, enqueued_ms: bytes) -> int | None:
    """The moment in ms of the server's clock; None if the text says none.

    It may be a header of a program that knows nothing of this rule.
    """
    found = _FIELD.fullmatch(raw)
    if found is None:
        return None
    span = int(found[2])
    if not found[1]:
        return span
    return int(enqueued_ms) + span if enqueued_ms.isdigit() else None
