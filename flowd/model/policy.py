"""The rules of a job that producers and workers must agree on.

They are declared in the schema (`[job.X.queue]`), printed into the generated class,
and read from `X.SPEC.policy`; arguments of `Queue` override them.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from flowd.errors import OptionError
from flowd.errors.option import LONGEST, count, flag, instance, seconds, text
from flowd.model.keys import clash

__all__ = ["Backoff", "Policy"]

_STARTING_ID: Final = re.compile(r"\$|[0-9]{1,20}(-[0-9]{1,20})?")
_LAST_PART: Final = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long a failed job waits before its next attempt."""

    kind: Literal["fixed", "linear", "exponential"] = "exponential"
    """`base` each time, `base` times the failures, or `base` doubled each time."""

    base: float = 1.0
    """Seconds after the first failure."""

    max: float = 300.0
    """The longest wait, in seconds."""

    jitter: bool = True
    """Full jitter: wait a random time between 0 and the computed one."""

    def __post_init__(self) -> None:
        if self.kind not in ("fixed", "linear", "exponential"):
            raise OptionError(
                "backoff.kind", self.kind, "must be fixed, linear or exponential"
            )
        seconds("backoff.base", self.base)
        seconds("backoff.max", self.max)
        flag("backoff.jitter", self.jitter)

    def delay(self, failures: int) -> float:
        """The wait in seconds before the next attempt.

        Args:
            failures: how many there were, 1 or more.
        """
        match self.kind:
            case "fixed":
                wait = self.base
            case "linear":
                wait = self.base * failures
            case "exponential":
                # Above 2**60 the doubled value is past every `max` and near overflow.
                wait = self.base * 2.0 ** min(failures - 1, 60)
        wait = min(wait, self.max)
        return random.uniform(0.0, wait) if self.jitter else wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Where a job's entries live and how often, how long and when it may run.

    Mirrors `QueueBuilder` (stream, group) and `ClaimerBuilder` (`max_retries`;
    `min_idle_time` is `claim_after`) of the Rust crate flowd.
    """

    stream: str
    """The Redis key of the stream."""

    group: str = "workers"
    """The one consumer group that reads the stream."""

    starting_id: str = "0"
    """Where a new group begins: `0` everything, `$` only what comes, or an entry id."""

    timeout: float | None = None
    """Seconds one attempt may take; None means no limit.

    Then the handler is cancelled. If it has not ended one lease later, the event `stuck`
    is emitted, it is cancelled again, and its lease expires: the attempt counts as a crash,
    and another worker claims the job. Its slot stays in use until it ends; a thread cannot
    be cancelled.
    """

    max_retries: int = 3
    """Failed attempts that are tried again; one more is dead-lettered."""

    claim_after: float = 30.0
    """The lease: seconds without renewal after which another worker claims a delivery."""

    expires_after: float | None = None
    """Seconds from the time a job may start on, after which no attempt of it starts any
    more: it ends as expired. None: never. `expires` of `enqueue` overrides it."""

    backoff: Backoff = field(default_factory=Backoff)
    """The wait between a failure and the next attempt."""

    def __post_init__(self) -> None:
        text("stream", self.stream)
        text("group", self.group)
        if found := clash(self.stream, self.group):
            name, rule = found
            raise OptionError(name, getattr(self, name), rule)
        if not _is_starting_id(text("starting_id", self.starting_id)):
            raise OptionError(
                "starting_id", self.starting_id, "must be 0, $ or an entry id as 12-0"
            )
        if self.timeout is not None:
            seconds("timeout", self.timeout, most=LONGEST)
        count("max_retries", self.max_retries)
        seconds("claim_after", self.claim_after, most=LONGEST)
        if self.expires_after is not None:
            seconds("expires_after", self.expires_after, most=LONGEST)
        instance("backoff", self.backoff, Backoff, "must be a Backoff")


def _is_starting_id(given: str) -> bool:
    """Whether Redis takes it: `$`, or one or two numbers of 64 bits."""
    if not _STARTING_ID.fullmatch(given):
        return False
    return given == "$" or all(int(part) <= _LAST_PART for part in given.split("-"))
