"""Run a queue: read → admit → execute → settle.

One loop reads new entries and maintains the queue. Each entry becomes a delivery, which is
held, and runs in a task of its own; how it ended goes to the settlement, which is one task.

Shutdown, in order: read no more, let handlers end, cancel the rest, settle what ended,
release what did not, stop renewing, forget the consumer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Generic, Literal, TypeVar

from flowd.broker.server_time import server_time
from flowd.broker.session import Session
from flowd.broker.stream import Stream
from flowd.errors import DecodeError, ServerError
from flowd.model import outcome
from flowd.model.delivery import Delivery, Entry
from flowd.model.event import EventBus
from flowd.model.job import Job
from flowd.worker.ahead import ReadAhead
from flowd.worker.callbacks import JobCallbacks
from flowd.worker.capabilities import Capabilities
from flowd.worker.executor import Executor
from flowd.worker.expiry import Expiry
from flowd.worker.fetcher import Fetcher
from flowd.worker.gate import TO_THE_GATE
from flowd.worker.handler import name_of
from flowd.worker.in_flight import InFlight
from flowd.worker.lease import QueueLeases
from flowd.worker.left_running import LeftRunning
from flowd.worker.maintenance import Maintenance, Round
from flowd.worker.options import QueueOptions
from flowd.worker.outages import LoopOutages
from flowd.worker.settlement import Settlement
from flowd.worker.settlement_report import SettlementReport
from flowd.worker.shared import WorkerSession
from flowd.worker.shutdown import Shutdown, within
from flowd.worker.tasks import DeliveryTasks

__all__ = ["Runner"]

J = TypeVar("J", bound=Job)

_SETTLING: Final = 2.0


class Runner(Generic[J]):
    """The table of contents of a running queue."""

    def __init__(self, session: Session, options: QueueOptions[J]) -> None:
        policy = options.policy
        # Unique for each run: the fence identifies a delivery by consumer and count.
        prefix = options.consumer or f"{socket.gethostname()}-{os.getpid()}"
        self._shared = WorkerSession.of(session)
        reads = self._shared.idle_reads.of(policy.stream, policy.group, prefix)
        self.consumer = reads.consumer
        self.stream = Stream(session.connection, policy.stream, policy.group)
        self.lease = options.lease
        self.handler = name_of(options.handler)
        self.in_flight = InFlight(options.concurrency)
        self._left_running = LeftRunning(self.stream, self.consumer)
        self._options = options
        self._session = session
        self._shutdown = Shutdown()
        self._quarantine = self._shared.quarantine
        listeners = options.chain.listeners
        self._events = events = EventBus.to(policy.stream, policy.group, listeners)
        self._callbacks = JobCallbacks(options, self.consumer, events)
        self._capabilities = own = Capabilities(options, self, events, self._shutdown)
        self.cancellations, self.on_renew = own.cancellations, own.on_renew
        self._gate = own.gate
        # The path.
        self._fetcher = Fetcher(
            self.stream,
            session.reader_to(policy.stream),
            self.consumer,
            concurrency=options.concurrency,
            block=options.block,
            idle=reads.place(self.stream, options.block, admits=self._gate.admit),
            admit=self._gate.admit,
        )
        self._maintenance = Maintenance(
            self.stream,
            self._fetcher,
            self.in_flight,
            own.on_maintain,
            events,
            lease=self.lease,
            block=options.block,
            claimer=options.claimer,
            gate=self._gate,
        )
        self._outages = LoopOutages(
            self.stream,
            session.outage,
            events,
            self._maintenance,
            renew_soon=self._shared.leases.renew_soon,
            is_set_up=session.is_set_up(self.stream),
        )
        self._executor = Executor(
            options,
            self.in_flight,
            events,
            Expiry(lambda: server_time(self.stream.connection)),
            own.progress.report,
            consumer=self.consumer,
        )
        endings = self._executor.endings
        self._ahead = ReadAhead(options, self.in_flight, self.start, self._release)
        self._settlement = Settlement(
            self.stream,
            self.consumer,
            self.in_flight,
            session.outage,
            events,
            extensions=own.on_settle,
            most=self._gate.settles,
            together=self._fetcher.together,
            ahead=self._ahead,
            quarantine=self._quarantine,
            report=SettlementReport(
                events, self._maintenance, self._callbacks, endings.job
            ),
            endings=endings,
        )
        self.cancellations.attach(self._executor, self, self._settlement)
        self._leases = QueueLeases(self)
        turns = self._shared.turns(options.concurrency)
        self._tasks = DeliveryTasks(self._process, self._unbegun, turns)

    # The path of a job.

    async def _read_and_maintain(self) -> None:
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
                await self._read_no_more()
                await self.in_flight.wait_for_slot(self._maintenance.next)

    async def _read_no_more(self) -> None:
        """Take part in no shared read; hold or release what it has brought."""
        for entry in await self._fetcher.leave():
            self._admit(entry)

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
            await self._read_no_more()
        entries = await self._maintenance.run(this)
        await self.cancellations.up_to_date()
        if entries:
            self.in_flight.mark_claimed()
        for entry in entries:
            self._admit(entry)
        await self._maintenance.look_around(this)

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
            self._release(delivery, TO_THE_GATE)
        elif self._shutdown.requested.is_set():
            self._release(delivery)
        elif self._executor.needs_quarantine(delivery):
            self._quarantine.admit(delivery, self)
        elif self._quarantine.busy:
            self._release(delivery)
        elif self.in_flight.free_slots > 0:
            self.start(delivery)
        elif not self._ahead.takes(delivery):
            self._release(delivery)

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
                self._let_go(delivery)
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
        most = 2 * (self._options.concurrency + self._ahead.most)
        return self._quarantine.busy or len(self._settlement) >= most

    def _taken_over(self, delivery: Delivery) -> None:
        with suppress(DecodeError):  # it will be dead-lettered for this
            delivery.read_envelope()
        text = f"was taken over; it was delivered {delivery.count} times"
        self._events.emit(logging.INFO, "takeover", text, delivery)

    def due_in(self, delay: float) -> None:
        """A job of this queue will be due in so many seconds; look then."""
        self._maintenance.due_in(delay)

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

    def _release(self, delivery: Delivery, reason: str = "") -> None:
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

    def _let_go(self, delivery: Delivery) -> None:
        """Leave it to the worker that takes it over: its handler still runs."""
        self.abandoned([delivery])
        self._left_running.add(delivery)
        if not delivery.stuck:
            text = "did not end when cancelled; its lease runs out"
            self._events.emit(logging.WARNING, "stuck", text, delivery)

    # The beginning and the end of the queue.

    @property
    def failing(self) -> str | None:
        """What of it fails; None if it works."""
        if self._shutdown.requested.is_set():
            return "it is being shut down"
        if fails := self._session.outage.reason(self.stream.keys.stream):
            return fails
        if self._executor.stuck < self._options.concurrency:
            return None
        return "every slot has a handler that did not end at its timeout: restart it"

    def stop(self, grace: float | None) -> None:
        """Begin the shutdown; a shorter `grace` than before takes effect at once.

        Raises:
            OptionError: `grace` is no time in seconds.
        """
        self._shutdown.request(grace)

    async def run(self) -> None:
        """Run the queue until it is stopped, and end it.

        Raises:
            FatalError: the server refuses, and will until its settings change.
        """
        loop = asyncio.get_running_loop()
        self._ahead.open()
        self._shared.leases.add(self._leases)
        self._quarantine.add_queue(self)
        cancels = self.stream.keys.cancels, self.cancellations.noticed
        self._shared.cancels.add(*cancels)
        settling = loop.create_task(self._settlement.run())
        reading = loop.create_task(self._read_and_maintain())
        stopping = loop.create_task(self._shutdown.requested.wait())
        most = self._options.concurrency
        self._say("started", f"runs up to {most} jobs as {self.consumer}")
        try:
            await asyncio.wait(
                [settling, reading, stopping], return_when=asyncio.FIRST_COMPLETED
            )
            # The loop that reads may see a stop first, and has then ended as it should.
            if settling.done() or (reading.done() and reading.exception()):
                # What Redis refuses for good cannot be settled either.
                self._shutdown.request(0.0)
            self.in_flight.slot_may_be_free()
            self._fetcher.interrupt()
            self._ahead.close()
            await asyncio.wait([reading])
            await self._read_no_more()  # after a fatal error as well
            for delivery in await self._quarantine.withdraw_all(self):
                self._release(delivery)
            await self._drain()
            await within(_SETTLING, self._left_running.leave(), settling)
            await within(_SETTLING, self._settlement.flushed(), settling)
            await within(_SETTLING, self._callbacks.finish())
        finally:
            for task in (settling, reading, stopping):
                task.cancel()
            await asyncio.wait([settling, reading, stopping])
            self.in_flight.close()
            self._capabilities.close()
            await self._shared.cancels.remove(*cancels)
            await self._shared.leases.remove(self._leases)
            self._quarantine.remove_queue(self)
            self._session.outage.clear(self.stream.keys.stream)
            await self._leave()
            self._say("ended", "has ended")
        for ended in (settling, reading):
            if not ended.cancelled() and (error := ended.exception()):
                raise error

    def _say(self, name: Literal["started", "ended"], text: str) -> None:
        self._events.emit(logging.INFO, name, text, consumer=self.consumer)

    async def _drain(self) -> None:
        """Let handlers end until the grace is over, then cancel them."""
        await self._shutdown.drained(self.in_flight)
        self._executor.cancel_all()
        await self._shutdown.cancelled(self.in_flight)
        self._executor.close()
        for delivery in list(self.in_flight.running):
            self._let_go(delivery)

    async def _leave(self) -> None:
        try:
            # Else another worker finds it idle and owning nothing.
            with suppress(ServerError):
                await self.stream.forget_consumer(self.consumer)
        finally:
            await self._fetcher.aclose()
