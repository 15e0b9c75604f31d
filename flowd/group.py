"""Many queues in one process: one start, one shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import AsyncExitStack
from typing import Protocol, Self

from flowd.errors import OptionError
from flowd.errors.option import iterable, wait
from flowd.worker.signals import Stoppable, until_stopped

__all__ = ["GroupHandle", "QueueGroup"]


class _Queue(Protocol):
    """A `Queue` of whatever job class."""

    async def init(self) -> None: ...
    def run(self) -> Stoppable: ...
    async def aclose(self) -> None: ...
    async def drain(self) -> None: ...


class GroupHandle:
    """The running queues of a group, as `QueueGroup.run_all` returns them."""

    def __init__(self, handles: Iterable[Stoppable]) -> None:
        self._handles = list(handles)

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the graceful shutdown of all queues, and return at once.

        Args:
            grace: seconds for running handlers; None: no limit.

        Raises:
            OptionError: `grace` is not a time.
        """
        if grace is not None:
            grace = wait("grace", grace)
        for handle in self._handles:
            handle.stop(grace)

    async def wait(self) -> None:
        """Return when all queues have ended; if one fails, shut the others down.

        Raises:
            FatalError: the error of the first queue that failed.
        """
        waits = [asyncio.ensure_future(handle.wait()) for handle in self._handles]
        if not waits:
            return
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)
            if any(each.done() and each.exception() for each in waits):
                self.stop()
            await asyncio.wait(waits)
        finally:
            for each in waits:
                each.cancel()  # cancels the waiting, not the queues
            results = await asyncio.gather(*waits, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def shutdown(self, grace: float | None = 25.0) -> None:
        """Shut all queues down at the same time, and return when they have ended.

        Args:
            grace: seconds for running handlers; None: no limit.

        Raises:
            OptionError: `grace` is not a time.
            FatalError: the error of the first queue that failed.
        """
        self.stop(grace)
        await self.wait()


class QueueGroup:
    """Queues that start and end together, as `QueueGroup` of the Rust crate flowd.

    As an async context manager it calls `init_all` on entry and `aclose` on exit.

    Args:
        queues: the `Queue` objects; `push` adds more.

    Raises:
        OptionError: it is no list of queues.
    """

    def __init__(self, queues: Iterable[_Queue] = (), *more: object) -> None:
        rule = "must be a list of Queue objects, as QueueGroup([emails, reports])"
        if more:
            raise OptionError("queues", (queues, *more), rule)
        iterable("queues", queues, rule)
        self._queues = [_queue(each) for each in queues]
        self._handle: GroupHandle | None = None

    def push(self, queue: _Queue) -> Self:
        """Add a queue, before the group runs; returns the group.

        Args:
            queue: a `Queue`.

        Raises:
            OptionError: it is not a queue.
        """
        self._queues.append(_queue(queue))
        return self

    @property
    def queues(self) -> tuple[object, ...]:
        """The queues, in the order in which they were added."""
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
        """Create the stream and the group of every queue if they are missing.

        It takes one round trip for each server, and waits for a server that cannot be
        reached.

        Raises:
            StreamShared: another group reads one of the streams.
            FatalError: wrong password, a missing right, or a key of another type.
        """
        await _all(queue.init() for queue in self._queues)

    def run_all(self) -> GroupHandle:
        """Start every queue, and return at once; call `init_all` before.

        Raises:
            OptionError: one of the queues runs already.
        """
        self._handle = GroupHandle([queue.run() for queue in self._queues])
        return self._handle

    async def run_until_stopped(self, grace: float | None = 25.0) -> None:
        """Run all queues until SIGTERM or SIGINT, then shut down and return.

        The shutdown reads no more jobs, waits `grace` for running handlers, cancels the
        others and releases their jobs. A second signal ends the wait.

        Args:
            grace: seconds for running handlers; None: no limit.

        Raises:
            OptionError: `grace` is not a time.
            FatalError: the error of the first queue that failed.
        """
        await until_stopped(self._handle or self.run_all(), grace)

    async def drain(self) -> None:
        """Return when no job of any queue waits, runs or is delayed.

        Raises:
            FatalError: Redis refuses, and an operator must change something.
        """
        await _all(queue.drain() for queue in self._queues)

    async def aclose(self) -> None:
        """Shut down running queues, with 25 s of grace, and close the connections."""
        async with AsyncExitStack() as stack:
            for queue in self._queues:
                stack.push_async_callback(queue.aclose)
            if self._handle is not None:
                await self._handle.shutdown()


def _queue(given: _Queue) -> _Queue:
    """Check what a program without a type checker may pass."""
    if not all(hasattr(given, name) for name in ("init", "run", "aclose", "drain")):
        raise OptionError("queues", given, "each must be a Queue")
    return given


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    """Run all concurrently; raise the first error when every step has ended."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
