"""Run suspects of being poison jobs alone in their process, one after the other.

A job that kills its worker adds a delivery to every job that runs in the same process, and
soon these look like poison jobs too. So a suspect waits until no other job of its process
runs, and no other job starts before the suspect has ended.

Both waits have a bound:

- A suspect waits for running jobs for one lease. Then it starts while they still run, or one
  long job would block every suspect.
- A running suspect blocks all other jobs for ten leases, or one long suspect would block the
  process. Other suspects wait as long: if they could start after one lease, the one that
  kills would add a crash to every suspect that takes longer than a lease.

So the k-th suspect starts within 1 + 10 (k - 1) leases. A suspect that waits is held and its
lease is renewed; its delivery is not counted until it starts.

The suspect with the most crashes starts first, so that jobs that another job's crash has hit
run after the job that kills. Between equal numbers, the order reverses with each crash: a
long job that still runs when the job that kills is started is hit once, and not each time.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from flowd.broker.outage import RECONNECT
from flowd.errors import FatalError, GroupMissing, ServerError
from flowd.model.delivery import Delivery, order
from flowd.worker.running_queue import RunningQueue

__all__ = ["Quarantine"]

_LEASES_ALONE: Final = 10
_LAST_ANSWER: Final = 2.0


class _Suspect:
    """A suspect that waits for its turn, and the queue that holds it."""

    def __init__(self, delivery: Delivery, queue: RunningQueue) -> None:
        self.delivery = delivery
        self.queue = queue


class Quarantine:
    """The suspects of one process; while there are any, none of its queues starts other jobs."""

    def __init__(self) -> None:
        self._queues: list[RunningQueue] = []
        self._waiting: list[_Suspect] = []
        self._alone: dict[Delivery, asyncio.TimerHandle] = {}
        """Those that run, until ten leases are over."""

        self._tolerated: set[Delivery] = set()
        """What has run on for a lease while a suspect waited: no longer waited for."""

        self._until = 0.0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._recounting: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a suspect waits or runs: nothing else may begin."""
        return bool(self._waiting or self._alone)

    def add_queue(self, queue: RunningQueue) -> None:
        """A queue runs from now on."""
        self._queues.append(queue)

    def remove_queue(self, queue: RunningQueue) -> None:
        """A queue has ended."""
        self._queues.remove(queue)
        if not self._queues and self._task is not None:
            self._task.cancel()
        self.update()

    def admit(self, delivery: Delivery, queue: RunningQueue) -> None:
        """Start a suspect as soon as nothing else is held, or within its bound.

        Args:
            delivery: held, and not started. Another object takes its place meanwhile.
            queue: what holds it, and starts what took its place.
        """
        if not self._waiting:
            self._until = time.monotonic() + queue.lease
        self._waiting.append(_Suspect(delivery, queue))
        self._waiting.sort(key=_turn)
        self._changed.set()
        for each in self._queues:
            each.pause()
        # Not yet: what came in the same answer is held in a moment, and waited for.
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._admit_waiting(), context=contextvars.Context()
            )

    def update(self) -> None:
        """A delivery is not held any more: a suspect may start, or has ended."""
        if not self.busy:
            return
        held = set(self._held())
        for suspect in [each for each in self._alone if each not in held]:
            self._alone.pop(suspect).cancel()
        self._tolerated &= held
        self._changed.set()
        self._resume_queues()

    def withdraw(self, delivery: Delivery) -> bool:
        """Start it no more; False if it does not wait."""
        for suspect in self._waiting:
            if suspect.delivery is delivery:
                self._waiting.remove(suspect)
                self._changed.set()
                return True
        return False

    async def withdraw_all(self, queue: RunningQueue) -> list[Delivery]:
        """Start no more of a queue's suspects; returns those that waited and are held."""
        if self._recounting is not None:
            await asyncio.wait([self._recounting], timeout=_LAST_ANSWER)
        waiting = [each.delivery for each in self._waiting if each.queue is queue]
        return [
            each
            for each in waiting
            if self.withdraw(each) and queue.in_flight.holds(each)
        ]

    async def _admit_waiting(self) -> None:
        try:
            while self._waiting:
                await self._admit_next()
        finally:
            self._task = None
        self._resume_queues()

    async def _admit_next(self) -> None:
        """Start the first that waits if it may; else wait for a change."""
        first = self._waiting[0]
        ready = self._may_start()
        if not (ready and len(self._waiting) == 1 and first.delivery.counted):
            fresh = [each for each in self._waiting if each.delivery.counted]
            if fresh:
                await self._recount(fresh, counted=False)
                return
            if not ready:
                await self._change()
                return
            await self._recount([first], counted=True)
        if first not in self._waiting:
            return  # withdrawn or lost meanwhile
        self._waiting.remove(first)
        if self._waiting:
            self._until = time.monotonic() + self._waiting[0].queue.lease
        self._alone[first.delivery] = asyncio.get_running_loop().call_later(
            _LEASES_ALONE * first.queue.lease, self._end_quarantine, first.delivery
        )
        first.delivery.began = time.monotonic()
        first.queue.start(first.delivery)

    async def _change(self) -> None:
        """Return when the first that waits may start, perhaps."""
        self._changed.clear()
        # While a suspect runs, its end or that of its ten leases is the next change.
        seconds = None if self._alone else self._until - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _may_start(self) -> bool:
        waiting = {each.delivery for each in self._waiting}
        others = set(self._held()) - waiting - self._tolerated
        if self._alone or (others and time.monotonic() < self._until):
            return False
        self._tolerated |= others
        return True

    def _held(self) -> Iterable[Delivery]:
        return (
            each
            for queue in self._queues
            for each in queue.in_flight.held.values()
            if each not in queue.in_flight.refused
        )

    def _end_quarantine(self, delivery: Delivery) -> None:
        self._alone.pop(delivery, None)
        self._tolerated.add(delivery)
        self._changed.set()
        self._resume_queues()

    def _resume_queues(self) -> None:
        if not self.busy:
            self._tolerated.clear()
            for queue in self._queues:
                queue.resume()

    async def _recount(self, suspects: Sequence[_Suspect], *, counted: bool) -> None:
        """Count the deliveries of suspects, or not; those that are lost wait no more."""
        self._recounting = asyncio.get_running_loop().create_future()
        try:
            for queue in {each.queue: None for each in suspects}:
                mine = [each for each in suspects if each.queue is queue]
                await self._recount_in(queue, mine, counted)
        finally:
            self._recounting.set_result(None)
            self._recounting = None

    async def _recount_in(
        self, queue: RunningQueue, suspects: Sequence[_Suspect], counted: bool
    ) -> None:
        changes = [(each, each.delivery.recounted(counted)) for each in suspects]
        for each, _ in changes:
            # A renewal would not know which count it has.
            queue.in_flight.remove(each.delivery)
        counts = [
            (each.delivery.entry_id, each.delivery.count, new.count)
            for each, new in changes
        ]
        failures = 0
        lost: set[bytes] = set()
        while any(each in self._waiting for each in suspects):
            try:
                lost = set(await queue.stream.recount(queue.consumer, counts))
                break
            except (FatalError, GroupMissing):  # the queue's own loops meet it as well
                lost = {entry_id for entry_id, _, _ in counts}
                break
            except ServerError:
                failures += 1
                await asyncio.sleep(RECONNECT.delay(failures))
        for each, new in changes:
            if each not in self._waiting:
                continue
            each.delivery = new
            if new.entry_id in lost:
                self._waiting.remove(each)
            else:
                new.held_since = time.monotonic()
                queue.in_flight.add(new)


def _turn(suspect: _Suspect) -> tuple[int, tuple[int, int]]:
    """A key that sorts suspects as they start."""
    delivery = suspect.delivery
    crashes = delivery.ordinal - delivery.attempt
    ms, seq = order(delivery.entry_id)
    return -crashes, (ms, seq) if crashes % 2 == 0 else (-ms, -seq)
