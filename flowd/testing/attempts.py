"""Run the handler of one job in a test, by the code that runs it in a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from flowd.model import outcome
from flowd.model.delivery import Delivery, Entry
from flowd.model.event import EventBus
from flowd.model.job import Job
from flowd.testing.clock import FakeClock
from flowd.worker.executor import Executor
from flowd.worker.expiry import Expiry
from flowd.worker.in_flight import InFlight
from flowd.worker.options import QueueOptions

__all__ = ["Attempts"]

J = TypeVar("J", bound=Job)


class Attempts(Generic[J]):
    """The attempts of one queue, each with an executor of its own.

    Args:
        options: of the queue.
        clock: what `expires` goes by; timeouts are real.
        settle: awaited at the end of each attempt.
    """

    def __init__(
        self,
        options: QueueOptions[J],
        clock: FakeClock,
        settle: Callable[[Delivery, outcome.Outcome], Awaitable[None]],
    ) -> None:
        self._options = options
        self._clock = clock
        self._settle = settle
        self._running: dict[str, tuple[Delivery, Executor[J]]] = {}

    def __contains__(self, job_id: str) -> bool:
        """Whether the job with this id runs."""
        return job_id in self._running

    def cancel(self, job_id: str) -> bool:
        """Cancel the handler of a job; False if the job does not run."""
        if job_id not in self._running:
            return False
        delivery, executor = self._running[job_id]
        executor.cancel(delivery, "cancel")
        return True

    async def run(self, entry: Entry) -> None:
        """Run an entry to its end, and settle it.

        Raises:
            asyncio.CancelledError: the caller was cancelled. So is the handler, and its job
                is settled as a worker that shuts down does.
        """
        policy = self._options.policy
        in_flight = InFlight(1)
        executor = Executor(
            self._options,
            in_flight,
            EventBus(policy.stream, policy.group),
            Expiry(self._now),
            consumer="memory",
        )
        delivery = Delivery(entry, time.monotonic())
        in_flight.handler_started(delivery)
        task = asyncio.get_running_loop().create_task(executor.execute(delivery))
        delivery.task = task
        self._running[delivery.job_id] = delivery, executor
        try:
            end = await asyncio.shield(task)
        except asyncio.CancelledError:
            executor.cancel_all()
            await asyncio.wait([task])
            end = executor.not_begun(delivery) if task.cancelled() else task.result()
            await self._settle(delivery, end or outcome.Release())
            raise
        finally:
            del self._running[delivery.job_id]
            executor.close()
        await self._settle(delivery, end or outcome.Release())

    async def _now(self) -> float:
        return self._clock.now
