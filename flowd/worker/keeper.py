"""Keep a queue while no worker runs: promote what is due, tick its schedules, admit by its gate.

A keeper takes no job: it reads none and claims none. So any number of them may run, with
workers or without.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from flowd.broker.cron import schedules_of
from flowd.broker.extension import MaintainExtension
from flowd.broker.outage import RECONNECT
from flowd.broker.retry import call_until_available
from flowd.broker.session import Session
from flowd.broker.setup import set_up
from flowd.broker.stream import Stream
from flowd.errors import FatalError, GroupMissing, ServerError
from flowd.model.event import EventBus
from flowd.model.job import Job
from flowd.worker.cron import CronClock
from flowd.worker.gate import gate_of
from flowd.worker.in_flight import InFlight
from flowd.worker.maintenance import next_wait

__all__ = ["Keeper"]

_KEEPING: Final = "keeping"
_NAME: Final = "keeper"


class Keeper:
    """Keeps the queue of one class.

    Args:
        session: towards its server.
        job_class: of the queue; its policy names stream and group.
    """

    def __init__(self, session: Session, job_class: type[Job]) -> None:
        policy = job_class.SPEC.policy
        self.stream = Stream(session.connection, policy.stream, policy.group)
        self._session = session
        self._name = policy.stream
        self._job_class = job_class
        self._outage = session.outage
        self._events = EventBus(policy.stream, policy.group)
        schedules = schedules_of(job_class, policy)
        self._cron = CronClock(self.stream, schedules, InFlight(1), self._events)
        self._gate = gate_of(self.stream, _NAME, job_class, self._events)
        self._parts: Sequence[MaintainExtension] = (
            *self._gate.extensions,
            *([self._cron] if schedules else []),
        )

    @property
    def failing(self) -> str | None:
        """Why it does not work now; None if it does."""
        return self._outage.reason(self._name)

    async def run(self) -> None:
        """Keep the queue until this is cancelled.

        Raises:
            StreamShared: another group reads the stream.
            FatalError: the server refuses, and will until its settings change.
        """
        failures = 0
        try:
            await self._set_up()
            self._events.emit(logging.INFO, "started", "is kept; no job runs here")
            while True:
                try:
                    wait = await self._keep()
                except FatalError:
                    raise
                except GroupMissing:
                    wait = 0.0
                    await self._set_up()
                except ServerError as error:
                    failures += 1
                    wait = RECONNECT.delay(failures)
                    self._outage.report_failure(_KEEPING, self._name, error)
                else:
                    failures = 0
                    self._outage.report_recovery(_KEEPING, self._name)
                await asyncio.sleep(wait)
        finally:
            self._cron.close()
            self._gate.close()
            self._outage.clear(self._name)

    async def _set_up(self) -> None:
        await call_until_available(
            lambda: set_up(self.stream, self._job_class.SPEC.policy, self._job_class),
            self._outage,
            "setting up",
            self._name,
        )

    async def _keep(self) -> float:
        """Promote and tick once; returns how long the next may wait, in seconds."""
        self._session.keep_listed(self.stream)
        kept = await self.stream.maintain(
            _NAME,
            lease=self._job_class.SPEC.policy.claim_after,
            takeovers=0,
            cursor=b"0-0",
            parts=[each.maintain_part() for each in self._parts],
        )
        for each, answer in zip(self._parts, kept.answers, strict=True):
            each.maintained(answer)
        return next_wait(kept.next_due)
