"""When and how a process takes over what another one abandoned."""

from __future__ import annotations

from dataclasses import dataclass

from flowd.errors.option import LONGEST, count, seconds

__all__ = ["Claimer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimer:
    """Takes over deliveries whose lease ran out; on by default.

    Mirrors the seed's `ClaimerBuilder`. Any number may run at once: Redis looks at the
    idle time again inside XAUTOCLAIM, so one delivery goes to one of them.
    """

    min_idle: float | None = None
    """Seconds without renewal; None means the policy's `claim_after`.

    It is the lease, so every worker of a group must have the same.
    """

    max_crashes: int = 5
    """Takeovers a job survives; at one more it is dead-lettered as `crashed`."""

    concurrency: int | None = None
    """How many of the queue's slots takeovers may use; None means all."""

    interval: float = 10.0
    """The longest time between two looks for abandoned deliveries, in seconds."""

    def __post_init__(self) -> None:
        if self.min_idle is not None:
            seconds("min_idle", self.min_idle, most=LONGEST)
        count("max_crashes", self.max_crashes)
        if self.concurrency is not None:
            count("concurrency", self.concurrency, least=1)
        seconds("interval", self.interval)
