"""The ways a delivery ends, each settled by one step inside Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Ack", "DeadLetter", "Discard", "Outcome", "Reason", "Release", "Retry"]

Reason: TypeAlias = Literal["failed", "rejected", "undecodable", "crashed"]
"""Why a job was dead-lettered: retries exhausted, rejected by its handler, undecodable, or
too many worker crashes."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Done: acknowledge the entry and delete it."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Will not run any more: acknowledge the entry and delete it, and say why."""

    reason: Literal["expired", "cancelled"]
    late: float = 0.0
    """Seconds by which an expired job came too late."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Failed: run it again in `after` seconds; spends a failure."""

    after: float
    error: str
    exception: BaseException | None = field(default=None, compare=False)
    """What was raised, fit for a log."""


@dataclass(frozen=True, slots=True)
class Release:
    """Not run to its end: run it again in `after` seconds; spends no failure."""

    after: float = 0.0
    reason: str = ""
    """Why, if the log is to say so."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Will not run again by itself: keep the entry with the reason."""

    reason: Reason
    error: str
    traceback: str = ""
    exception: BaseException | None = field(default=None, compare=False)
    """As of `Retry`."""


Outcome: TypeAlias = Ack | Discard | Retry | Release | DeadLetter
