"""What `Queue.run` returns: the running queue, from outside."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Generic, TypeVar

from flowd.broker.session import Session
from flowd.errors import OptionError
from flowd.errors.option import wait
from flowd.model.job import Job
from flowd.worker.lifetime import Lifetime
from flowd.worker.options import QueueOptions

__all__ = ["QueueHandle"]

J = TypeVar("J", bound=Job)


class QueueHandle(Generic[J]):
    """What `Queue.run` returns: the running queue.

    It may be stopped and waited for in other threads and event loops as well.
    """

    def __init__(self, session: Session, options: QueueOptions[J]) -> None:
        self._lifetime = Lifetime(session, options)
        self.consumer = self._lifetime.consumer
        """The name under which this run takes entries."""

        self._process = os.getpid()
        self._main = asyncio.get_running_loop().create_task(
            self._lifetime.run(), name=f"flowd {options.policy.stream}"
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
        """What of it fails, or why it has ended; None if it works."""
        if not self._main.done():
            return self._lifetime.failing
        error = None if self._main.cancelled() else self._main.exception()
        return "it has ended" if error is None else f"it has ended: {error}"

    async def shutdown(self, grace: float | None = 25.0) -> None:
        """Shut down gracefully, and return when the queue has ended.

        It reads no more jobs, waits `grace` for running handlers, cancels the others and
        releases their jobs. It can be called again with a shorter `grace`.

        Args:
            grace: seconds for running handlers; None: no limit.

        Raises:
            OptionError: `grace` is not a time.
            FatalError: the error that ended the queue before.
        """
        self.stop(grace)
        await self.wait()

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the graceful shutdown and return at once; `wait` for its end.

        Args:
            grace: seconds for running handlers; None: no limit.

        Raises:
            OptionError: `grace` is no time in seconds.
        """
        if grace is not None:
            grace = wait("grace", grace)
        if _running_loop() is self.loop:
            self._lifetime.stop(grace)
        elif not self.ended:
            with suppress(RuntimeError):  # its loop is being closed just now
                self.loop.call_soon_threadsafe(self._lifetime.stop, grace)

    async def wait(self) -> None:
        """Return when the queue has ended.

        Raises:
            FatalError: Redis refuses, and an operator must change something.
            OptionError: it waits in another event loop, which does not run.
        """
        if _running_loop() is self.loop:
            await asyncio.shield(self._main)
        elif self._main.done():
            if not self._main.cancelled():
                self._main.result()
        elif not self.ended:
            if not self.loop.is_running():
                rule = "the loop of this queue does not run, so the queue cannot end"
                raise OptionError.absent("event loop", rule)
            there = asyncio.run_coroutine_threadsafe(self.wait(), self.loop)
            await asyncio.wrap_future(there)

    def due_in(self, delay: float) -> None:
        """A job of this queue will be due in so many seconds; promote it then.

        Args:
            delay: seconds.
        """
        self._lifetime.due_in(delay)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
