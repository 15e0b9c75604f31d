"""The path of a job: read → admit → execute → settle.

One loop reads new entries and maintains the queue. Each entry becomes a delivery, which is
held, and runs in a task of its own; how it ended goes to the settlement, which is one task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from flowd.errors import DecodeError
from flowd.model import outcome
from flowd.model.delivery import Delivery, Entry
from flowd.model.job import Job
from flowd.worker.components import QueueComponents
from flowd.worker.gate import TO_THE_GATE
from flowd.worker.handler import name_of
from flowd.worker.maintenance import Round
from flowd.worker.tasks import DeliveryTasks

__all__ = ["Runner"]

J = TypeVar("J", bound=Job)


class Runner(Generic[J]):
    """Takes the entries of one queue through that path.

    Args:
        queue: its components.
    """

    def __init__(self, queue: QueueComponents[J]) -> None:
        self.stream = queue.stream
        self._session = queue.session
        self.consumer = queue.consumer
        self.lease = queue.options.lease
        self.handler = name_of(queue.options.handler)
        self.in_flight = queue.in_flight
        self.on_renew = queue.capabilities.on_renew
        self.cancellations = queue.capabilities.cancellations
        self._concurrency = queue.options.concurrency
        self._fetcher = queue.fetcher
        self._ahead = queue.ahead
        self._maintenance = queue.maintenance
        self._outages = queue.outages
        self._gate = queue.capabilities.gate
        self._quarantine = queue.shared.quarantine
        self._executor = queue.executor
        self._settlement = queue.settlement
        self._left_running = queue.left_running
        self._shutdown = queue.shutdown
        self._events = queue.events
        turns = queue.shared.turns(self._concurrency)
        self._tasks = DeliveryTasks(self._process, self._unbegun, turns)
        self.cancellations.attach(self._executor, self, self._settlement)

    # The path of a job.

    async def read_and_maintain(self) -> None:
        """Read, and maintain between two reads, until the queue stops.

        Raises:
            FatalError: the server refuses, and will until its settings change.
        """
        while not self._shutdown.requested.is_set():
            stopped = self._takes_nothing()
            free = 0 if stopped else self.in_flight.free_slots
            room = self._maintenance.room(free)
            if room <= 0:
                # Nothing is claimed, so nothing would say that it works again.
                self._outages.recovered("claiming")
            if this := self._maintenance.due(free, room):
                await self._outages.take(this.what, self._maintain(this))
            elif free > 0 or (self._ahead.wants and not stopped):
                await self._outages.take("reading", self._read(free, room))
            else:
                await self.read_no_more()
                await self.in_flight.wait_for_slot(self._maintenance.next)

    async def _read(self, free: int, room: int) -> None:
        wait = self._maintenance.wait(room)
        entries = await self._fetcher.fetch(free, wait, self._ahead.room())
        self._ahead.measure(flowing=self._fetcher.flowing)
        self._maintenance.has_read()
        for entry in entries:
            self._admit(entry)
        if self._fetcher.pause:
            await self._settlement.gather(self._fetcher.pause)

    async def _maintain(self, this: Round) -> None:
        if this.orphans:
            # An entry that is on its way, or not held yet, would be taken for an orphan.
            await self.read_no_more()
        self._session.keep_listed(self.stream)
        entries = await self._maintenance.run(this)
        await self.cancellations.up_to_date()
        if entries:
            self.in_flight.mark_claimed()
        for entry in entries:
            self._admit(entry)
        await self._maintenance.look_around(this)

    async def read_no_more(self) -> None:
        """Take part in no shared read; hold or release what it has brought."""
        for entry in await self._fetcher.leave():
            self._admit(entry)

    def _admit(self, entry: Entry) -> None:
        """Hold an entry, and start it unless something keeps it from starting here."""
        delivery = Delivery(entry, time.monotonic())
        former = self.in_flight.held.get(entry.id)
        if former is not None:
            # The entry went elsewhere and came back before the renewal noticed.
            self.lost([former])
        self.in_flight.add(delivery)
        if delivery.count > 1:
            self._taken_over(delivery)
        if self.cancellations.has(delivery):
            self.cancellations.discard(delivery)
        # A foreign entry gets its ticket also while the queue stops: its lock may name it.
        elif self._gate.must_pass(delivery):
            self.release(delivery, TO_THE_GATE)
        elif self._shutdown.requested.is_set():
            self.release(delivery)
        elif self._executor.needs_quarantine(delivery):
            self._quarantine.admit(delivery, self)
        elif self._quarantine.busy:
            self.release(delivery)
        elif self.in_flight.free_slots > 0:
            self.start(delivery)
        elif not self._ahead.takes(delivery):
            self.release(delivery)

    def start(self, delivery: Delivery) -> None:
        """Run a delivery that is held, in a task of its own."""
        self.in_flight.handler_started(delivery)
        self._tasks.start(delivery)

    async def _process(self, delivery: Delivery) -> None:
        try:
            end = await self._executor.execute(delivery)
        except KeyboardInterrupt:
            self._handler_done(delivery, None)
            raise  # the process is ending
        self._handler_done(delivery, end)

    def _handler_done(self, delivery: Delivery, end: outcome.Outcome | None) -> None:
        delivery.ended = time.monotonic()
        self.in_flight.handler_done(delivery)
        # Once its lease is lost, a delivery is another worker's to settle.
        if self.in_flight.holds(delivery):
            if end is not None:
                self._settlement.submit(delivery, self.cancellations.end(delivery, end))
            elif delivery.in_thread:
                self.let_go(delivery)
            else:
                self.in_flight.remove(delivery)
                self._quarantine.update()
        self._ahead.handler_done()

    def _unbegun(self, delivery: Delivery) -> None:
        """End what was cancelled before its first step."""
        if delivery in self.in_flight.running:
            self._handler_done(delivery, self._executor.not_begun(delivery))

    # What keeps it from going straight on.

    def _takes_nothing(self) -> bool:
        """Whether nothing is to be read: settles pile up, or a suspect waits or runs."""
        most = 2 * (self._concurrency + self._ahead.most)
        return self._quarantine.busy or len(self._settlement) >= most

    def _taken_over(self, delivery: Delivery) -> None:
        with suppress(DecodeError):  # it will be dead-lettered for this
            delivery.read_envelope()
        text = f"was taken over; it was delivered {delivery.count} times"
        self._events.emit(logging.INFO, "takeover", text, delivery)

    def pause(self) -> None:
        """Take no more entries: a suspect of this process is to run alone."""
        self._ahead.release_all()
        self._fetcher.interrupt()

    def resume(self) -> None:
        """Take entries again."""
        self.in_flight.slot_may_be_free()

    def withdraw(self, delivery: Delivery) -> bool:
        """Start it no more; False if it does not wait."""
        return self._quarantine.withdraw(delivery) or self._ahead.withdraw(delivery)

    def release(self, delivery: Delivery, reason: str = "") -> None:
        """Leave it to other workers."""
        self._settlement.submit(delivery, self._executor.release(delivery, reason))

    def lost(self, deliveries: Sequence[Delivery]) -> None:
        """Cancel the handlers of deliveries whose leases belong to other workers now."""
        for delivery in deliveries:
            if not self.in_flight.holds(delivery) or not (
                self._executor.cancel(delivery, "lost") or self.withdraw(delivery)
            ):
                continue  # settled meanwhile, or about to be: the fence decides
            self.in_flight.remove(delivery)
            self._quarantine.update()
            text = "lost its lease; its handler is cancelled"
            self._events.emit(logging.WARNING, "lease_lost", text, delivery)

    def abandoned(self, deliveries: Sequence[Delivery]) -> None:
        """Hold no longer what other workers take over, though its handler runs on."""
        for delivery in deliveries:
            self.in_flight.remove(delivery)
        self._quarantine.update()

    def let_go(self, delivery: Delivery) -> None:
        """Leave it to the worker that takes it over: its handler still runs."""
        self.abandoned([delivery])
        self._left_running.add(delivery)
        if not delivery.stuck:
            text = "did not end when cancelled; its lease runs out"
            self._events.emit(logging.WARNING, "stuck", text, delivery)
