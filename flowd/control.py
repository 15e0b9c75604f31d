"""What a program may order of a queue: to cancel its jobs."""

from __future__ import annotations

from abc import abstractmethod

from flowd.broker.control import CancelResult, cancel_by_id
from flowd.broker.session import Session
from flowd.broker.stream import Stream

__all__ = ["ControlledQueue"]


class ControlledQueue:
    """The part of a `Queue` that controls it on the server, for all workers."""

    async def cancel(self, job_id: str) -> CancelResult:
        """Cancel a job: one that waits is gone at once, a running one is marked.

        The worker that runs it sees the mark within a quarter of its lease, or within
        two seconds if that is less; it cancels the handler and settles the job as
        cancelled. A plain function sees `ctx.cancelled`. A job that ends by itself before
        that is done. A job that waited frees its idempotency key.

        Args:
            job_id: as `enqueue` returned it.

        Returns:
            `cancelled`, `cancelling` for one that runs, or `not_found` for one that has
            ended or never was.

        Raises:
            StreamShared: another group reads the stream.
            ServerError: the server cannot be asked. Repeating the call is safe.
        """
        _, stream = self._open()
        return await cancel_by_id(stream, job_id)

    @abstractmethod
    def _open(self) -> tuple[Session, Stream]:
        """The session of the running loop, and the queue's stream over it."""
