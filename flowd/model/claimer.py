"""When and how a process claims deliveries with an expired lease."""

from __future__ import annotations

from dataclasses import dataclass

from flowd.errors.option import LONGEST, count, seconds

__all__ = ["Claimer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimer:
    """Claims deliveries whose lease has expired; on by default.

    Mirrors `ClaimerBuilder` of the Rust crate flowd. Any number of processes may claim:
    Redis checks the idle time inside XAUTOCLAIM, so each delivery goes to one of them.
    """

    min_idle: float | None = None
    """Seconds without renewal; None means the policy's `claim_after`.

    It is the lease, so all workers of a group must use the same value.
    """

    max_crashes: int = 5
    """Takeovers that a job may have; the next one dead-letters it as `crashed`."""

    concurrency: int | None = None
    """How many of the queue's slots claimed jobs may use; None means all."""

    interval: float = 10.0
    """The longest time between two checks for expired leases, in seconds."""

    def __post_init__(self) -> None:
        if self.min_idle is not None:
            seconds("min_idle", self.min_idle, most=LONGEST)
        count("max_crashes", self.max_crashes)
        if self.concurrency is not None:
            count("concurrency", self.concurrency, least=1)
        seconds("interval", self.interval)
