"""A worker that has a parent: it acts on the parent's messages, and answers them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, cast

from flowd.cli.load import UsageError
from flowd.cli.processes.limits import Limits
from flowd.cli.processes.messages import (
    LIMIT,
    FromChild,
    FromParent,
    from_line,
    line,
)
from flowd.cli.service import why_failing
from flowd.log import log
from flowd.model.job import Job
from flowd.queue import Queue
from flowd.worker.signals import Stoppable

if TYPE_CHECKING:
    from flowd.cli.processes.sums import ProcessMetrics

__all__ = ["SupervisedWorker"]

_FIRST_POLL: Final = 0.01
_LAST_POLL: Final = 0.25
_SENDING: Final = 2.0


class SupervisedWorker:
    """Runs a service that the parent can stop, and asks for its state and metrics.

    When the parent is gone, whatever ended it, this process shuts down as on a signal.

    Args:
        number: of the file descriptor that the parent has passed.
        grace: seconds that running jobs have when the parent is gone.
        limits: when to ask the parent for a replacement.
        counted: whether metrics are wanted.

    Raises:
        UsageError: there is no such descriptor.
    """

    def __init__(
        self, number: int, grace: float, limits: Limits, *, counted: bool
    ) -> None:
        try:
            self._socket = socket.socket(fileno=number)
        except OSError as error:
            raise UsageError(
                f"--supervised {number}: {error.strerror}; only a parent gives it"
            ) from None
        # What handlers start must not keep it open.
        self._socket.set_inheritable(False)
        self._socket.setblocking(False)
        self._grace = grace
        self._limits = limits
        self._counted = counted
        self._service: Stoppable | None = None
        self._signals = 0
        self._forwarded = 0
        self._writer: asyncio.StreamWriter | None = None
        self._queues: Sequence[Queue[Job]] = ()
        self._metrics: ProcessMetrics | None = None
        self._answering: set[asyncio.Task[None]] = set()

    def around(self, service: Stoppable) -> Stoppable:
        """The service, as one that the parent can stop as well."""
        self._service = service
        return self

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the shutdown, on a signal."""
        self._signals += 1
        self._forward(self._signals, grace)

    async def wait(self) -> None:
        """Run to the end; the parent's messages are read from the beginning."""
        assert self._service is not None
        reader, self._writer = await asyncio.open_unix_connection(
            sock=self._socket, limit=LIMIT
        )
        # Then `drain` returns when all of it has left.
        self._writer.transport.set_write_buffer_limits(high=0)
        reading = asyncio.create_task(self._read(reader))
        try:
            self._send({"state": "loaded"})
            await self._service.wait()
        finally:
            reading.cancel()
            for task in self._answering:
                task.cancel()
            await self._send_last()

    @asynccontextmanager
    async def shown(self, queues: Sequence[Queue[Job]]) -> AsyncGenerator[None]:
        """Report to the parent when these queues run, and what it asks about them.

        Raises:
            OptionError: one of the queues runs already.
            UsageError: they have several `Metrics`, or a server of this process alone.
        """
        for queue in queues:
            if str(queue.address) == "embedded:":
                raise UsageError(
                    f"{queue.policy.stream} has the url embedded:, a server of one"
                    " process, which --processes cannot share: set FLOWD_URL=embedded:"
                    " and give no url, or write embedded:PATH"
                )
        if self._counted:
            from flowd.cli.processes.sums import (  # noqa: PLC0415 - an extra
                ProcessMetrics,
            )

            self._metrics = ProcessMetrics(queues)
        self._limits.count(queues, self._retire)
        self._queues = queues
        tasks = (
            asyncio.create_task(self._report_ready()),
            asyncio.create_task(self._limits.watch(self._retire, self._too_large)),
        )
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while text := await reader.readline():
                message = cast("FromParent", from_line(text))
                if "stop" in message:
                    self._stop(message)
                elif "ask" in message:
                    task = asyncio.create_task(self._answer(message))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
        log(logging.WARNING, "the parent process is gone: finishing running jobs")
        self._forward(1, self._grace)

    def _stop(self, message: FromParent) -> None:
        grace = message.get("stop", 0.0)
        name = message.get("signal") or "a replacement is ready"
        what = "finishing running jobs" if grace else "releasing running jobs now"
        log(logging.INFO, "%s: %s", name, what, extra={"event": "signal"})
        self._forward(message.get("times", 1), grace)

    def _forward(self, times: int, grace: float | None) -> None:
        """Stop for the n-th time, whichever way that came first.

        What ends a whole process group, as systemd does by default, signals the parent and
        the child: that is one stop, not two.
        """
        assert self._service is not None
        if times > self._forwarded:
            self._forwarded = times
            self._service.stop(grace)

    async def _answer(self, message: FromParent) -> None:
        answer: FromChild = {"answer": message.get("ask", 0)}
        answer["failing"] = why_failing(self._queues)
        if self._metrics is not None:
            if message.get("counted"):
                answer["counted"] = self._metrics.counted()
            if message.get("queues"):
                answer["queues"] = await self._metrics.queues()
        self._send(answer)

    async def _report_ready(self) -> None:
        pause = _FIRST_POLL
        while why_failing(self._queues):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST_POLL)
        self._send({"state": "ready"})

    def _retire(self, why: str) -> None:
        self._send({"retire": why})

    def _too_large(self, why: str, after: float) -> None:
        self._send({"retire": why, "large_after": after})

    def _send(self, message: FromChild) -> None:
        if self._writer is not None:
            self._writer.write(line(message))

    async def _send_last(self) -> None:
        """Send the metrics: the parent's sums must not fall when a process ends."""
        assert self._writer is not None
        if self._metrics is not None:
            self._send({"counted": self._metrics.counted()})
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_SENDING):
                await self._writer.drain()
        self._writer.close()
