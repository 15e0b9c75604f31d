"""A queue that runs: its loops, how they start, and how they end.

Shutdown, in order: read no more, let handlers end, cancel the rest, settle what ended,
hand back what did not, stop renewing, forget the consumer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, Literal, TypeVar

from flowd.broker.connection import Link
from flowd.broker.session import Session
from flowd.broker.stream import Stream
from flowd.errors import DecodeError, ServerError
from flowd.errors.option import wait
from flowd.model import outcome
from flowd.model.claimer import Claimer
from flowd.model.delivery import Delivery, Entry
from flowd.model.event import Witnesses
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.model.middleware import Stack
from flowd.model.policy import Policy
from flowd.worker.consumer import Consumer
from flowd.worker.dead_letter_callback import Announcer
from flowd.worker.event_feed import Tail
from flowd.worker.executor import Worker
from flowd.worker.handler import BoundHandler, Handler, name_of
from flowd.worker.lease import Holder
from flowd.worker.progress import ProgressBoard
from flowd.worker.settlement import Settlement
from flowd.worker.shared import SharedByWorkers

__all__ = ["QueueHandle"]

J = TypeVar("J", bound=Job)

_CANCELLING: Final = 1.0
_SETTLING: Final = 2.0


class QueueHandle(Generic[J]):
    """What `Queue.run` returns: the running queue."""

    def __init__(
        self,
        session: Session,
        job_class: type[J],
        handler: Handler[J],
        policy: Policy,
        *,
        consumer: str | None,
        concurrency: int,
        block: float,
        claimer: Claimer | None,
        on_dead_letter: Callable[[Letter[J]], object] | None,
        stack: Stack,
    ) -> None:
        self._session = session
        self._shared = SharedByWorkers.of(session)
        self._concurrency = concurrency
        # Unique for each run: the fence tells deliveries apart by consumer and count.
        prefix = consumer or f"{socket.gethostname()}-{os.getpid()}"
        self.consumer = f"{prefix}-{uuid.uuid4().hex[:8]}"
        """The name under which this run takes entries."""

        lease = policy.claim_after
        if claimer is not None and claimer.min_idle is not None:
            lease = claimer.min_idle
        self._stream = Stream(session.link, policy.stream, policy.group)
        self._reader = Link(session.address, name="flowd-reader")
        self._witnesses = witnesses = Witnesses(policy.stream, policy.group)
        witnesses.admit(stack.listeners)
        self._announcer = Announcer(on_dead_letter, job_class, self.consumer, witnesses)
        self._holder = Holder(
            self._stream,
            self.consumer,
            lease,
            self._lost,
            name_of(handler),
            abandoned=self._abandoned,
        )
        self._board = ProgressBoard(session.link, self._holder, witnesses)
        self._worker = Worker(
            job_class,
            BoundHandler(
                handler,
                job_class,
                policy.stream,
                lease,
                report=self._board.report,
                around=stack.handle,
            ),
            policy,
            lease=lease,
            max_crashes=claimer.max_crashes if claimer is not None else None,
            ended=self._ended,
            witnesses=witnesses,
        )
        self._settlement = Settlement(
            self._stream,
            self._holder,
            session.outage,
            witnesses,
            settled=self._settled,
            requeued=self.due_in,
            buried=self._announcer.announce,
            unwritable=self._worker.unwritable,
        )
        self._tail = Tail(
            session.link, self._stream.keys.tail, self.consumer, witnesses
        )
        self._consumer = Consumer(
            self._stream,
            self._reader,
            self._holder,
            session.outage,
            witnesses,
            block=block,
            concurrency=concurrency,
            claimer=claimer,
            slots=self._slots,
            takeovers=lambda: self._worker.takeovers,
            start=self._start,
            failed=self._shared.leases.renew_soon,
            listened=self._tail.listened,
        )
        self._process = os.getpid()
        self._stopping = asyncio.Event()
        self._drain_until: float | None = None
        self._hurry = asyncio.Event()
        self._main = asyncio.get_running_loop().create_task(
            self._run(), name=f"flowd {policy.stream}"
        )

    @property
    def ended(self) -> bool:
        """Whether the queue has ended, with its loop as well, or runs in a parent."""
        return (
            self._main.done()
            or self._main.get_loop().is_closed()
            or self._process != os.getpid()
        )

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it runs."""
        return self._main.get_loop()

    @property
    def failing(self) -> str | None:
        """What of it fails, or why it has ended; None if it works and goes on."""
        if not self._stopping.is_set() and not self._main.done():
            fails = self._session.outage.of(self._stream.keys.stream)
            return fails or self._occupied()
        error = None
        if self._main.done() and not self._main.cancelled():
            error = self._main.exception()
        if error is not None:
            return f"it has ended: {error}"
        return "it has ended" if self._main.done() else "it is being shut down"

    async def shutdown(self, grace: float | None = 25.0) -> None:
        """Stop reading, let handlers end, hand back the rest, and return.

        Safe to call again: a shorter `grace` takes effect at once.

        Args:
            grace: seconds for running handlers; None waits for ever.

        Raises:
            FatalError: what ended the queue before.
        """
        self.stop(grace)
        await self.wait()

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the shutdown and return at once; `wait` for its end.

        Raises:
            OptionError: `grace` is no time in seconds.
        """
        if grace is not None:
            until = time.monotonic() + wait("grace", grace)
            if self._drain_until is None or until < self._drain_until:
                self._drain_until = until
        self._hurry.set()
        self._stopping.set()

    async def wait(self) -> None:
        """Return when the queue has ended.

        Raises:
            FatalError: Redis refused, and would have until somebody changed something.
        """
        await asyncio.shield(self._main)

    def due_in(self, delay: float) -> None:
        """A job of this queue will be due in so many seconds; look then."""
        self._consumer.due_in(delay)

    def make_room(self) -> None:
        """Take no more entries: a suspect of this process is to run alone."""
        self._consumer.interrupt()

    def go_on(self) -> None:
        """Take entries again."""
        self._consumer.slot_freed()

    def _occupied(self) -> str | None:
        if self._worker.stuck < self._concurrency:
            return None
        return "every slot has a handler that did not end at its timeout: restart it"

    def _settled(self) -> None:
        self._consumer.slot_freed()
        self._shared.solo.look()

    def _slots(self) -> int:
        """Free slots; none while the server takes no endings, or they would pile up."""
        if self._shared.solo.busy or len(self._settlement) >= 2 * self._concurrency:
            return 0
        return self._concurrency - len(self._worker)

    def _start(self, entry: Entry) -> None:
        delivery = Delivery(entry, time.monotonic())
        former = self._holder.held.get(entry.id)
        if former is not None:
            # The entry went elsewhere and came back before anybody told us.
            self._lost([former])
        self._holder.held[entry.id] = delivery
        if delivery.count > 1:
            # Who ran it before may have said how far it was.
            self._holder.has_progress = True
            with suppress(DecodeError):  # which it dies of in a moment
                delivery.read_envelope()
            text = f"was taken over; it was handed out {delivery.count} times"
            self._witnesses.say(logging.INFO, "takeover", text, delivery)
        solo = self._shared.solo
        if self._stopping.is_set():
            self._settlement.add(delivery, self._worker.hand_back(delivery))
        elif self._worker.must_be_alone(delivery):
            solo.admit(delivery, self._holder, self._worker.start)
        elif solo.busy:
            self._settlement.add(delivery, self._worker.hand_back(delivery))
        else:
            self._worker.start(delivery)

    def _ended(self, delivery: Delivery, end: outcome.Outcome | None) -> None:
        # Once its lease is lost, a delivery is somebody else's to settle.
        if self._holder.held.get(delivery.entry_id) is delivery:
            if end is not None:
                self._settlement.add(delivery, end)
            elif delivery.in_thread:
                self._let_go(delivery)
            else:
                del self._holder.held[delivery.entry_id]
        self._settled()

    def _let_go(self, delivery: Delivery) -> None:
        """Leave it to whoever takes it over: its handler still runs."""
        self._abandoned([delivery])
        if not delivery.stuck:
            text = "did not end when cancelled; its lease runs out"
            self._witnesses.say(logging.WARNING, "stuck", text, delivery)

    def _abandoned(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if self._holder.held.get(delivery.entry_id) is delivery:
                del self._holder.held[delivery.entry_id]
        self._shared.solo.look()

    def _lost(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if self._holder.held.get(delivery.entry_id) is not delivery or not (
                self._worker.cancel(delivery, "lost")
                or self._shared.solo.withdraw(delivery)
            ):
                continue  # settled meanwhile, or about to be: the fence decides
            del self._holder.held[delivery.entry_id]
            self._shared.solo.look()
            text = "lost its lease; its handler is cancelled"
            self._witnesses.say(logging.WARNING, "lease_lost", text, delivery)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._shared.leases.watch(self._holder)
        self._shared.solo.join(self)
        settling = loop.create_task(self._settlement.run())
        reading = loop.create_task(self._consumer.run())
        stopping = loop.create_task(self._stopping.wait())
        self._say("started", f"runs up to {self._concurrency} jobs as {self.consumer}")
        try:
            await asyncio.wait(
                [settling, reading, stopping], return_when=asyncio.FIRST_COMPLETED
            )
            for ended in (settling, reading):
                if ended.done():
                    # What Redis refuses for good cannot be settled either.
                    self.stop(grace=0.0)
            self._consumer.stop()
            await asyncio.wait([reading])
            for delivery in await self._shared.solo.withdraw_all(self._holder):
                self._settlement.add(delivery, self._worker.hand_back(delivery))
            await self._drain()
            await self._within(_SETTLING, self._settlement.flushed(), settling)
            await self._within(_SETTLING, self._announcer.finish())
        finally:
            for task in (settling, reading, stopping):
                task.cancel()
            await asyncio.wait([settling, reading, stopping])
            self._board.close()
            self._tail.close()
            await self._shared.leases.unwatch(self._holder)
            self._shared.solo.part(self)
            self._session.outage.forget(self._stream.keys.stream)
            await self._leave()
            self._say("ended", "has ended")
        for ended in (settling, reading):
            if not ended.cancelled() and (error := ended.exception()):
                raise error

    def _say(self, name: Literal["started", "ended"], text: str) -> None:
        self._witnesses.say(logging.INFO, name, text, consumer=self.consumer)

    async def _drain(self) -> None:
        """Let handlers end until the grace is over, then cancel them."""
        idle = asyncio.ensure_future(self._worker.idle())
        while not idle.done():
            self._hurry.clear()
            left = None
            if self._drain_until is not None:
                left = self._drain_until - time.monotonic()
                if left <= 0:
                    break
            hurry = asyncio.ensure_future(self._hurry.wait())
            await asyncio.wait(
                [idle, hurry], timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            hurry.cancel()
        self._worker.cancel_all()
        await asyncio.wait([idle], timeout=_CANCELLING)
        idle.cancel()
        for delivery in self._worker.close():
            self._let_go(delivery)

    async def _within(
        self,
        seconds: float,
        done: Awaitable[None],
        unless: asyncio.Task[None] | None = None,
    ) -> None:
        waiting = asyncio.ensure_future(done)
        tasks = [waiting] if unless is None else [waiting, unless]
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _leave(self) -> None:
        try:
            await self._stream.leave(self.consumer)
        except ServerError:
            pass  # then another worker finds it idle and owning nothing
        finally:
            await self._reader.aclose()
