"""Many queues in one process: one start, one shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import AsyncExitStack
from typing import Protocol, Self

from flowd.errors import OptionError
from flowd.errors.option import wait
from flowd.worker.signals import Stoppable, until_stopped

__all__ = ["GroupHandle", "QueueGroup"]


class _Queue(Protocol):
    """A `Queue` of whatever job class."""

    async def init(self) -> None: ...
    def run(self) -> Stoppable: ...
    async def aclose(self) -> None: ...
    async def drain(self) -> None: ...


class GroupHandle:
    """What `QueueGroup.run_all` returns: the running queues."""

    def __init__(self, handles: Iterable[Stoppable]) -> None:
        self._handles = list(handles)

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the shutdown of all and return at once.

        Raises:
            OptionError: `grace` is no time in seconds.
        """
        if grace is not None:
            grace = wait("grace", grace)
        for handle in self._handles:
            handle.stop(grace)

    async def wait(self) -> None:
        """Return when all have ended; if one fails, the others are shut down.

        Raises:
            FatalError: what ended the first.
        """
        waits = [asyncio.ensure_future(handle.wait()) for handle in self._handles]
        if not waits:
            return
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)
            if any(wait.done() and wait.exception() for wait in waits):
                self.stop()
            await asyncio.wait(waits)
        finally:
            for wait in waits:
                wait.cancel()  # whoever gave up waiting has not stopped the queues
            results = await asyncio.gather(*waits, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def shutdown(self, grace: float | None = 25.0) -> None:
        """Shut all down at once; takes as long as the slowest, not the sum.

        Args:
            grace: seconds for running handlers; None waits for ever.
        """
        self.stop(grace)
        await self.wait()


class QueueGroup:
    """Queues that start and end together; the seed's `QueueGroup`.

    As an async context manager all are set up on entry and shut down on exit.

    Raises:
        OptionError: one of them is no queue.
    """

    def __init__(self, queues: Iterable[_Queue] = ()) -> None:
        self._queues = [_queue(each) for each in queues]
        self._handle: GroupHandle | None = None

    def push(self, queue: _Queue) -> Self:
        """Add a queue, before the group runs; returns the group."""
        self._queues.append(_queue(queue))
        return self

    @property
    def queues(self) -> tuple[object, ...]:
        """The queues, in the order in which they came."""
        return tuple(self._queues)

    async def __aenter__(self) -> Self:
        try:
            await self.init_all()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def init_all(self) -> None:
        """Set up every queue, in one round trip for each server. As `Queue.init`."""
        await _all(queue.init() for queue in self._queues)

    def run_all(self) -> GroupHandle:
        """Start every queue; returns at once."""
        self._handle = GroupHandle([queue.run() for queue in self._queues])
        return self._handle

    async def run_until_stopped(self, grace: float | None = 25.0) -> None:
        """Run all until SIGTERM or SIGINT; as `Queue.run_until_stopped`."""
        await until_stopped(self._handle or self.run_all(), grace)

    async def drain(self) -> None:
        """Return when no job of any queue waits, runs or is delayed."""
        await _all(queue.drain() for queue in self._queues)

    async def aclose(self) -> None:
        """Shut down what runs and close the connections."""
        async with AsyncExitStack() as stack:
            for queue in self._queues:
                stack.push_async_callback(queue.aclose)
            if self._handle is not None:
                await self._handle.shutdown()


def _queue(given: _Queue) -> _Queue:
    """It, if it is a queue; the type is known only where types are checked."""
    if not all(hasattr(given, name) for name in ("init", "run", "aclose", "drain")):
        raise OptionError("queues", given, "each must be a Queue")
    return given


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    """Run all at once; the first error is raised when every step has ended."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
