"""A schedule of a queue with policies: each tick enqueues its job once, or passes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import rule

from flowd.broker.connection import Connection
from flowd.broker.cron import register_schedules, tick
from flowd.broker.scripts import Part
from flowd.model.gate import Gate
from flowd.model.schedule import Schedule, Tick, digest_of
from tests.system.delivery_model.gate_plans import JobPlan, job_of, job_plans
from tests.system.delivery_model.gate_workers import GateWorkers
from tests.system.delivery_model.plans import seldom

__all__ = ["GateTicks"]

_NAME: Final = "nightly"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class GateTicks(GateWorkers):
    """A queue with a schedule, whose ticks are long past and have their turn one by one.

    `overlap` is tried without policies: behind a gate it says less (docs/limits.md).
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        connection: Connection,
        stream: str,
        gate: Gate | None,
    ) -> None:
        super().__init__(runner, connection, stream, gate)
        self.schedule = Schedule(name=_NAME, every=60.0)
        self.ticks = 0
        cron = (self.real.keys.cron,)
        self.settling.append(Part("settle_cron", cron, (_NAME, "")))
        self.maintaining.append(Part("maintain_cron", cron, ("",)))

    @rule(plan=job_plans, skips=st.booleans(), again=st.booleans(), really=seldom)
    def let_tick(self, plan: JobPlan, skips: bool, again: bool, really: bool) -> None:
        """Let a tick have its turn, or one that had it, as a second worker does."""
        if self.gate is not None and not really:
            return
        # Its fields tell the job from those of other ticks: a release may change them.
        job = job_of(next(self.numbers), plan._replace(key=None), self.gate)
        job.expires = None
        fields = ((name.encode(), each.encode()) for name, each in job.own.items())
        skips = skips and self.gate is None
        self.schedule = Schedule(
            name=_NAME,
            every=60.0,
            overlap="skip" if skips else "allow",
            fields=tuple(fields),
        )
        self.ask(self.register())
        is_new = not again or self.ticks == 0
        self.ticks += is_new
        at = _EPOCH + timedelta(minutes=self.ticks)
        job.id = self.schedule.job_id(at)
        digest = digest_of([self.schedule])
        ticked = self.ask(tick(self.real, digest, self.schedule, [Tick(at, job.id)]))
        assert ticked.registered
        assert ticked.recorded == 60.0 * self.ticks
        assert ticked.stored + ticked.passed == is_new
        if is_new:
            self.model.ticked(job, skips, ticked.stored == 1)
        self.agree()

    async def register(self) -> None:
        """Before its first tick it has never ticked, though it was registered long ago."""
        await register_schedules(self.real, [self.schedule])
        if self.ticks == 0:
            cron = self.real.keys.cron
            await self.connection.call("HSET", cron, f"{_NAME}:tick", 0)
