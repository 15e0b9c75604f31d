"""The service of `flowd run`: a user's queues, and the resources opened around them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, TypeAlias, TypeGuard

from flowd.cli.load import UsageError, users_code
from flowd.errors import NotReady, OutcomeUnknown, Unreachable
from flowd.group import GroupHandle, QueueGroup
from flowd.model.job import Job
from flowd.model.text import printable
from flowd.queue import Queue

__all__ = ["Service", "Shown", "find_queues", "why_failing"]

_AGAIN: Final = 0.5
_MAX: Final = 1_000

Shown: TypeAlias = Callable[[Sequence[Queue[Job]]], AbstractAsyncContextManager[object]]
"""Opens something about queues before they are set up; it is closed when they ended."""


class Service:
    """Queues from their opening to their end; can be stopped at any time.

    The user's resources around them are closed by the asyncio task that opened them.

    Args:
        queues: opens them; from `find_queues`.
        reference: what the user called them.
        burst: stop when no job is left.
        shown: what else is open while they run.
    """

    def __init__(
        self,
        queues: AbstractAsyncContextManager[object],
        reference: str,
        *,
        burst: bool,
        shown: Shown,
    ) -> None:
        self._shown = shown
        self._queues = queues
        self._reference = reference
        self._burst = burst
        self._handle: GroupHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._stopped = False

    def stop(self, grace: float | None = 25.0) -> None:
        """Begin the shutdown, or cancel an opening, set-up or closing in progress."""
        self._stopped = True
        if self._handle is not None:
            self._handle.stop(grace)
        elif self._task is not None:
            self._task.cancel()

    async def wait(self) -> None:
        """Open, set up, run, and return when all have ended and are closed.

        Raises:
            UsageError: what was opened is no queue.
            ServerError: what ended a queue.
        """
        self._task = asyncio.current_task()
        failed: BaseException | None = None
        try:
            with users_code():
                async with self._queues as found:
                    group = _group(found, f"{self._reference} opened")
                    try:
                        await self._run(group)
                    except BaseException as error:
                        # Not the user's, who is to close as ever.
                        failed = error
            if failed is not None:
                raise failed
        except SystemExit:
            # What failed to close has been shown; why it was to close comes first.
            raise failed or SystemExit(3) from None
        except asyncio.CancelledError:
            if not self._stopped:
                raise

    async def _run(self, group: QueueGroup) -> None:
        try:
            queues = [each for each in group.queues if _is_queue(each)]
            async with self._shown(queues):
                await self._run_all(group)
        finally:
            await group.aclose()

    async def _run_all(self, group: QueueGroup) -> None:
        await group.init_all()
        self._handle = handle = group.run_all()
        draining = asyncio.ensure_future(self._stop_when_drained(group, handle))
        try:
            await handle.wait()
            if draining.done():
                draining.result()  # what kept it from counting has ended the queues
        finally:
            self._handle = None
            draining.cancel()

    async def _stop_when_drained(self, group: QueueGroup, handle: GroupHandle) -> None:
        if not self._burst:
            return
        try:
            await self._drained(group)
        finally:
            handle.stop()

    async def _drained(self, group: QueueGroup) -> None:
        while True:
            try:
                return await group.drain()
            except (Unreachable, OutcomeUnknown, NotReady):
                await asyncio.sleep(_AGAIN)  # the queues wait for the server as well


def why_failing(queues: Sequence[Queue[Job]]) -> list[str]:
    """Why queues are not ready, a line for each that is not; it names the stream."""
    return [
        printable(f"{each.policy.stream}: {why}", _MAX)
        for each in queues
        if (why := each.failing)
    ]


def find_queues(found: object, reference: str) -> AbstractAsyncContextManager[object]:
    """The context manager around the queues that a user's name stands for.

    Raises:
        UsageError: it stands for something else.
    """
    how = "holds"
    if _is_factory(found):
        with users_code():
            found = found()
        how = "returned"
    if _is_context(found):
        return found
    return nullcontext(_group(found, f"{reference} {how}"))


def _group(found: object, origin: str) -> QueueGroup:
    """The queues as a group, whatever they were given as."""
    if isinstance(found, QueueGroup):
        return found
    several = found if _is_many(found) else [found]
    queues = [each for each in several if _is_queue(each)]
    others = [each for each in several if not _is_queue(each)]
    if others or not queues:
        what = printable(repr(others[0] if others else found), 80)
        if not others:
            what += ", which is empty"
        if inspect.iscoroutine(found):
            found.close()
        raise UsageError(
            f"{origin} {what}; it must be a Queue, a list of them, a QueueGroup, or a"
            " function that returns one of these, or an async context manager of one"
            " (an async generator under @contextlib.asynccontextmanager)"
        )
    return QueueGroup(queues)


def _is_factory(found: object) -> TypeGuard[Callable[[], object]]:
    if not callable(found) or isinstance(found, type):
        return False
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):
        return False
    return True


def _is_context(found: object) -> TypeGuard[AbstractAsyncContextManager[object]]:
    # Queues are context managers as well, which `run` need not enter.
    return isinstance(found, AbstractAsyncContextManager) and not isinstance(
        found, Queue | QueueGroup
    )


def _is_many(found: object) -> TypeGuard[Sequence[object]]:
    return isinstance(found, list | tuple)


def _is_queue(found: object) -> TypeGuard[Queue[Job]]:
    return isinstance(found, Queue)
