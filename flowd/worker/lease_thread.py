"""The thread that renews leases, with a connection of its own.

In the event loop a handler that computes for a minute would starve the renewal and lose
its job to another worker while it still runs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from flowd.broker.connection import Connection, connection_to
from flowd.broker.outage import RECONNECT, Outage
from flowd.broker.url import Address
from flowd.errors import ServerError
from flowd.model.event import EventBus
from flowd.model.text import printable
from flowd.worker.lease import RENEWALS_PER_LEASE, QueueLeases
from flowd.worker.loop_monitor import LoopMonitor
from flowd.worker.running_queue import RunningQueue

__all__ = ["LeaseRenewer"]

_WATCH: Final = 0.5
"""Seconds between two looks at the event loop."""

_RENEWING: Final = "renewing leases"


class LeaseRenewer:
    """The thread that renews for all queues of one event loop and server.

    It is started again when it dies, and when it could not be started. What fails here is an
    outage of its own: jobs run on, and may be started elsewhere too if the loop's connection
    fails as well, or a handler keeps the loop from renewing over it.

    Args:
        address: the server's.
        connection: the event loop's, which renews while the thread cannot.
        events: what it emits.
        outage: where it reports.
    """

    def __init__(
        self, address: Address, connection: Connection, events: EventBus, outage: Outage
    ) -> None:
        self._address = address
        self._connection = connection
        self._events = events
        self._outage = outage
        self._queues: list[QueueLeases] = []
        self._wake = threading.Event()
        self._failures = 0
        self._deaths = 0
        self._ended: asyncio.Future[str] | None = None
        self._restart: asyncio.TimerHandle | None = None
        self._monitor: LoopMonitor | None = None

    def add(self, leases: QueueLeases) -> None:
        """Renew for this queue from now on."""
        self._queues.append(leases)
        if self._monitor is None:
            self._monitor = LoopMonitor(self._describe, self._events)
            self._monitor.start()
            self._begin(self._monitor)
        self._wake.set()

    @property
    def queues(self) -> list[RunningQueue]:
        """Those that it renews for; from any thread."""
        return [each.queue for each in list(self._queues)]

    async def remove(self, leases: QueueLeases) -> None:
        """Renew no longer; the thread ends with its last queue."""
        self._queues.remove(leases)
        await leases.aclose()
        if self._queues or self._monitor is None:
            return
        self._monitor.stop()
        self._monitor = None
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        ended, self._ended = self._ended, None
        self._wake.set()
        if ended is not None:
            await ended

    def renew_soon(self) -> None:
        """Renew without waiting, because the server was away and leases ran on.

        The others sweep one interval after it is back; by then it is done.
        """
        if not self._failures:  # else it tries already, and ever more slowly
            self._wake.set()

    def _begin(self, monitor: LoopMonitor) -> None:
        """Start the thread."""
        loop = asyncio.get_running_loop()
        self._restart = None
        self._ended = ended = loop.create_future()
        ended.add_done_callback(self._begin_again)
        thread = threading.Thread(
            target=self._run,
            args=(loop, monitor, ended),
            name="flowd-lease",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:  # there are as many as the system allows
            ended.set_result(_described(error))

    def _begin_again(self, ended: asyncio.Future[str]) -> None:
        """The thread has ended; if it is still needed, it died: start another."""
        if self._ended is not ended or self._monitor is None:
            return
        self._deaths += 1
        error = ServerError(f"the thread that renews them has died: {ended.result()}")
        for leases in self._queues:
            leases.failing = True
            self._fails(leases, error)
        self._restart = asyncio.get_running_loop().call_later(
            RECONNECT.delay(self._deaths), self._begin, self._monitor
        )

    def _run(
        self,
        loop: asyncio.AbstractEventLoop,
        monitor: LoopMonitor,
        ended: asyncio.Future[str],
    ) -> None:
        why = ""
        try:
            with asyncio.Runner() as runner:
                connection = connection_to(self._address, name="flowd-lease")
                try:
                    while self._ended is ended:
                        if runner.run(self._renew(connection, monitor.seen, loop)):
                            self._failures += 1
                            wait = RECONNECT.delay(self._failures)
                        else:
                            self._failures = 0
                            wait = self._interval()
                        self._rest(wait, monitor)
                finally:
                    runner.run(connection.aclose())
        except BaseException as error:  # whatever it is, the loop starts another thread
            why = _described(error)
        finally:
            self._failures = 0
            _call_in_loop(loop, ended.set_result, why)

    def _rest(self, seconds: float, monitor: LoopMonitor) -> None:
        """Wait until it is woken; meanwhile, monitor the event loop."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._wake.wait(min(left, _WATCH)):
                break
            monitor.check()
        self._wake.clear()

    async def _renew(
        self, connection: Connection, loop_seen: float, loop: asyncio.AbstractEventLoop
    ) -> bool:
        """Renew for every queue in one round trip; True if it failed for one.

        What fails for one queue, the server's fault or not, keeps none of the others.
        """
        queues = list(self._queues)
        results = await asyncio.gather(
            *(leases.renew(connection, loop_seen) for leases in queues),
            return_exceptions=True,
        )
        failed = False
        for leases, result in zip(queues, results, strict=True):
            if isinstance(result, Exception):
                failed = leases.failing = True
                known = isinstance(result, ServerError)
                error = result if known else ServerError(_described(result))
                _call_in_loop(loop, self._fails, leases, error)
            elif result is not None:
                raise result
            elif leases.failing:
                leases.failing = False
                _call_in_loop(loop, self._works, leases)
        return failed

    def _fails(self, leases: QueueLeases, error: ServerError) -> None:
        """Report, in the event loop, that the thread does not renew, and renew here."""
        if leases in self._queues:
            leases.stand_in(self._connection)
            self._outage.report_failure(
                _RENEWING, leases.queue.stream.keys.stream, error
            )

    def _works(self, leases: QueueLeases) -> None:
        """Report, in the event loop, that the thread renews again."""
        self._deaths = 0
        if leases in self._queues:
            self._outage.report_recovery(_RENEWING, leases.queue.stream.keys.stream)

    def _interval(self) -> float:
        return (
            min([each.queue.lease for each in list(self._queues)], default=0.0)
            / RENEWALS_PER_LEASE
        )

    def _describe(self, task: asyncio.Task[object] | None) -> str | None:
        """The handler and the job that a task runs; in the thread."""
        for leases in list(self._queues):
            for delivery in list(leases.queue.in_flight.held.values()):
                if delivery.task is not None and delivery.task is task:
                    return f"{leases.queue.handler} ({printable(delivery.job_id)})"
        return None


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _call_in_loop(
    loop: asyncio.AbstractEventLoop, what: Callable[..., object], *args: object
) -> None:
    """Call it in the event loop; a loop that is closed needs it no more."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what, *args)
