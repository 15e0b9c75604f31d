"""One run of a queue: begin it, wait until it is to stop, and end it.

Shutdown, in order: read no more, let handlers end, cancel the rest, settle what ended,
release what did not, stop renewing, forget the consumer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, Literal, TypeVar

from flowd.broker.session import Session
from flowd.errors import ServerError
from flowd.model.job import Job
from flowd.worker.components import QueueComponents
from flowd.worker.lease import QueueLeases
from flowd.worker.options import QueueOptions
from flowd.worker.runner import Runner
from flowd.worker.shutdown import within

__all__ = ["Lifetime"]

J = TypeVar("J", bound=Job)

_SETTLING: Final = 2.0


class Lifetime(Generic[J]):
    """One run of a queue, from its first read to the end of its consumer.

    Args:
        session: towards its server.
        options: of the queue.
    """

    def __init__(self, session: Session, options: QueueOptions[J]) -> None:
        self._queue = QueueComponents(session, options)
        self._runner = Runner(self._queue)
        self._leases = QueueLeases(self._runner)
        self.consumer = self._queue.consumer
        """The name under which this run takes entries."""

    @property
    def failing(self) -> str | None:
        """What of it fails; None if it works."""
        queue = self._queue
        if queue.shutdown.requested.is_set():
            return "it is being shut down"
        if fails := queue.outage.reason(queue.stream.keys.stream):
            return fails
        if queue.executor.stuck < queue.options.concurrency:
            return None
        return "every slot has a handler that did not end at its timeout: restart it"

    def due_in(self, delay: float) -> None:
        """A job of this queue will be due in so many seconds: promote it then."""
        self._queue.maintenance.due_in(delay)

    def stop(self, grace: float | None) -> None:
        """Begin the shutdown; a shorter `grace` than before takes effect at once.

        Raises:
            OptionError: `grace` is no time in seconds.
        """
        self._queue.shutdown.request(grace)

    async def run(self) -> None:
        """Run the queue until it is stopped, and end it.

        Raises:
            FatalError: the server refuses, and will until its settings change.
        """
        self._open()
        queue, loop = self._queue, asyncio.get_running_loop()
        settling = loop.create_task(queue.settlement.run())
        reading = loop.create_task(self._runner.read_and_maintain())
        stopping = loop.create_task(queue.shutdown.requested.wait())
        most = queue.options.concurrency
        self._say("started", f"runs up to {most} jobs as {queue.consumer}")
        try:
            await asyncio.wait(
                [settling, reading, stopping], return_when=asyncio.FIRST_COMPLETED
            )
            # The loop that reads may see a stop first, and has then ended as it should.
            if settling.done() or (reading.done() and reading.exception()):
                # What Redis refuses for good cannot be settled either.
                queue.shutdown.request(0.0)
            queue.in_flight.slot_may_be_free()
            queue.fetcher.interrupt()
            queue.ahead.close()
            await asyncio.wait([reading])
            await self._runner.read_no_more()  # after a fatal error as well
            for delivery in await queue.shared.quarantine.withdraw_all(self._runner):
                self._runner.release(delivery)
            await self._drain()
            await within(_SETTLING, queue.left_running.leave(), settling)
            await within(_SETTLING, queue.settlement.flushed(), settling)
            await within(_SETTLING, queue.callbacks.finish())
        finally:
            for task in (settling, reading, stopping):
                task.cancel()
            await asyncio.wait([settling, reading, stopping])
            await self._close()
            self._say("ended", "has ended")
        for ended in (settling, reading):
            if not ended.cancelled() and (error := ended.exception()):
                raise error

    def _open(self) -> None:
        """Join what the queues of this process share."""
        queue, runner = self._queue, self._runner
        queue.ahead.open(runner.start, runner.release)
        queue.shared.add(self._leases)
        queue.shared.quarantine.add_queue(runner)
        queue.shared.cancels.add(*self._cancels())

    async def _drain(self) -> None:
        """Let handlers end until the grace is over, then cancel them."""
        queue = self._queue
        await queue.shutdown.drained(queue.in_flight)
        queue.executor.cancel_all()
        await queue.shutdown.cancelled(queue.in_flight)
        queue.executor.close()
        for delivery in list(queue.in_flight.running):
            self._runner.let_go(delivery)

    async def _close(self) -> None:
        """Leave what the queues of this process share, then the group."""
        queue = self._queue
        queue.in_flight.close()
        queue.capabilities.close()
        await queue.shared.cancels.remove(*self._cancels())
        await queue.shared.remove(self._leases)
        queue.shared.quarantine.remove_queue(self._runner)
        queue.outage.clear(queue.stream.keys.stream)
        try:
            # Else another worker finds it idle and owning nothing.
            with suppress(ServerError):
                await queue.stream.forget_consumer(queue.consumer)
        finally:
            await queue.fetcher.aclose()

    def _cancels(self) -> tuple[str, Callable[[int], None]]:
        """The channel of its cancels, and what hears it."""
        queue = self._queue
        return queue.stream.keys.cancels, queue.capabilities.cancellations.noticed

    def _say(self, name: Literal["started", "ended"], text: str) -> None:
        queue = self._queue
        queue.events.emit(logging.INFO, name, text, consumer=queue.consumer)
