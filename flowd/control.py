"""What a program may order of a queue: to pause, to resume, to cancel jobs."""

from __future__ import annotations

from abc import abstractmethod

from flowd.broker.control import (
    CancelResult,
    DeleteResult,
    cancel_by_id,
    delete_by_id,
    due_now,
    pause,
    resume,
)
from flowd.broker.server_time import server_time
from flowd.broker.session import Session
from flowd.broker.stream import Stream
from flowd.errors.option import entry_id
from flowd.model.event import EventBus

__all__ = ["ControlledQueue"]


class ControlledQueue:
    """The part of a `Queue` that controls it on the server, for all workers."""

    async def cancel(self, job_id: str) -> CancelResult:
        """Cancel a job: one that waits is gone at once, a running one is marked.

        The worker that runs it hears of it at once, cancels the handler and settles the
        job as cancelled. Where its channel is away, it sees the mark within a quarter of
        its lease, or within two seconds (a longer `block`: within that) if that is less.
        A plain function sees `ctx.cancelled`. A job that ends by itself before that is
        done.

        A job that waited frees its idempotency key. No worker has it, so `on_cancelled`
        is not called: this call says what became of it, and the middleware of this queue
        gets the event `removed`.

        Args:
            job_id: as `enqueue` returned it.

        Returns:
            `cancelled`, `cancelling` for one that runs, or `not_found` for one that has
            ended or never was.

        Raises:
            StreamShared: another group reads the stream.
            ServerError: the server cannot be asked. Repeating the call is safe; of a job
                that was cancelled when the answer was lost it says `not_found`.
        """
        _, stream = self._open()
        return await cancel_by_id(stream, job_id, self._event_bus())

    async def delete(self, job_id: str) -> DeleteResult:
        """Delete a job that waits or is delayed; a running one is left alone.

        It frees its idempotency key, and the middleware gets the event `removed`. A job
        that failed before is searched among 10,000 that wait; the command `flowd jobs
        delete` searches all.

        Args:
            job_id: as `enqueue` returned it.

        Returns:
            `deleted`, `running`, or `not_found` for one that has ended or never was.

        Raises:
            StreamShared: another group reads the stream.
            ServerError: the server cannot be asked. Repeating the call is safe.
        """
        _, stream = self._open()
        return await delete_by_id(stream, job_id, self._event_bus())

    async def run_now(self, job_id: str) -> bool:
        """Let a delayed job be due at once: one that waits for its time, or for a retry.

        A worker promotes it within two seconds (a longer `block`: within that, or a third
        of the lease), or as soon as one runs.

        Args:
            job_id: as `enqueue` returned it.

        Returns:
            False if no job of this id is delayed.

        Raises:
            ServerError: the server cannot be asked. Repeating the call is safe.
        """
        entry_id("job_id", job_id)
        _, stream = self._open()
        return await due_now(stream, job_id, await server_time(stream.connection))

    async def pause(self) -> bool:
        """Let no worker take a job of this queue until `resume`.

        It holds at once for all workers, also of older versions and other languages, is kept
        in Redis, and outlives restarts. What runs goes on, and is settled; what fails waits.
        Delayed jobs and ticks become due and wait. `failing` stays None: the worker is ready.

        Returns:
            False if it was paused before.

        Raises:
            GroupMissing: the queue was never set up.
            StreamShared: another group reads the stream.
            ServerError: the server cannot be asked. Repeating the call is safe.
        """
        _, stream = self._open()
        return await pause(stream)

    async def resume(self) -> bool:
        """Undo `pause`; False if the queue was not paused. Errors are those of `pause`."""
        _, stream = self._open()
        return await resume(stream)

    @abstractmethod
    def _event_bus(self) -> EventBus:
        """Where the queue's middleware listens."""

    @abstractmethod
    def _open(self) -> tuple[Session, Stream]:
        """The session of the running loop, and the queue's stream over it."""
