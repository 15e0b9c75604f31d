"""How a queue runs: everything its user may choose, checked once and passed whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from flowd.errors.option import count, function, instance, seconds, text
from flowd.model.claimer import Claimer
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.model.middleware import MiddlewareChain
from flowd.model.policy import Policy
from flowd.worker.handler import Handler, check_handler

__all__ = ["QueueOptions"]

J = TypeVar("J", bound=Job)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions(Generic[J]):
    """What one queue runs, and how; as the arguments of `Queue` describe it.

    Raises:
        OptionError: a value that is not allowed; the message names the option and the rule.
        FormatError: `job_class` was not written by this generation of `flowd-gen`.
    """

    job_class: type[J]
    handler: Handler[J]
    policy: Policy
    """The rules in force: the schema's, where no argument replaced them."""

    consumer: str | None = None
    concurrency: int = 10
    block: float = 2.0
    """Seconds."""

    claimer: Claimer | None = field(default_factory=Claimer)
    """None: this process takes over no abandoned deliveries."""

    on_dead_letter: Callable[[Letter[J]], object] | None = None
    on_cancelled: Callable[[J], object] | None = None
    chain: MiddlewareChain = field(default_factory=MiddlewareChain)
    """The middleware."""

    def __post_init__(self) -> None:
        count("concurrency", self.concurrency, least=1)
        seconds("block", self.block, most=60.0)
        if self.consumer is not None:
            text("consumer", self.consumer)
        if self.claimer is not None:
            instance("claimer", self.claimer, Claimer, "must be a Claimer, or None")
        function(
            "on_dead_letter", self.on_dead_letter, "must be a function of (letter)"
        )
        function("on_cancelled", self.on_cancelled, "must be a function of (job)")
        instance("policy", self.policy, Policy, "must be a Policy")
        check_handler(self.handler, self.job_class)

    @property
    def lease(self) -> float:
        """Seconds without renewal after which a delivery is taken over."""
        if self.claimer is not None and self.claimer.min_idle is not None:
            return self.claimer.min_idle
        return self.policy.claim_after

    @property
    def max_crashes(self) -> int | None:
        """Takeovers that a job survives; None: it is not limited here."""
        return None if self.claimer is None else self.claimer.max_crashes
