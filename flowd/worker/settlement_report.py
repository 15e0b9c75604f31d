"""Report settled endings: the event of each, the user's callbacks, and when it is due again."""

from __future__ import annotations

import logging
from typing import Generic, TypeVar, assert_never

from flowd.broker.commands import DELETED, NOT_OURS
from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.model.event import EventBus
from flowd.model.job import Job
from flowd.worker.callbacks import JobCallbacks
from flowd.worker.maintenance import Maintenance

__all__ = ["SettlementReport"]

J = TypeVar("J", bound=Job)


class SettlementReport(Generic[J]):
    """What follows a settle in the worker that sent it; nothing in Redis depends on it.

    Args:
        events: receives one event for each ending.
        maintenance: learns when a job that goes back is due.
        callbacks: the user's, for dead letters and cancelled jobs.
        job: the name of the job class.
    """

    def __init__(
        self,
        events: EventBus,
        maintenance: Maintenance,
        callbacks: JobCallbacks[J],
        job: str,
    ) -> None:
        self._events = events
        self._emit = events.emit
        self._maintenance = maintenance
        self._callbacks = callbacks
        self._job = job
        self._emits_done = True

    def begin_batch(self) -> bool:
        """Look once for a whole batch whether anything receives the events of done jobs."""
        self._emits_done = self._events.is_enabled(logging.INFO)
        return self._emits_done

    def settled(
        self, delivery: Delivery, end: outcome.Outcome, result: int | bytes
    ) -> None:
        """Report one ending.

        Args:
            delivery: what ended.
            end: how.
            result: the server's answer, as `Stream.settle` returns it.
        """
        if result == NOT_OURS:
            text = "was taken over or settled before; not settled"
            self._emit(logging.WARNING, "lost", text, delivery)
        elif isinstance(end, outcome.Ack):
            if self._emits_done:
                self._emit(
                    logging.INFO,
                    "done",
                    "done in %.3f s",
                    delivery,
                    filled=("duration",),
                    duration=delivery.ended - delivery.began,
                    job=self._job,
                )
        elif isinstance(end, outcome.Discard):
            self._discarded(delivery, end)
        elif result == DELETED:
            text = "was deleted from the stream by another client"
            self._emit(logging.WARNING, "deleted", text, delivery)
        else:
            self._moved(delivery, end, result)

    def _discarded(self, delivery: Delivery, end: outcome.Discard) -> None:
        match end.reason:
            case "expired":
                self._emit(
                    logging.WARNING,
                    "expired",
                    "expired %.1f s before it could start; it will not run",
                    delivery,
                    filled=("late",),
                    late=end.late,
                )
            case "cancelled":
                self._emit(
                    logging.INFO, "cancelled", "cancelled; it will not run", delivery
                )
                self._callbacks.cancelled(delivery)

    def _moved(
        self,
        delivery: Delivery,
        end: outcome.Retry | outcome.Release | outcome.DeadLetter,
        result: int | bytes,
    ) -> None:
        match end:
            case outcome.Retry(after, error, exception):
                self._emit(
                    logging.WARNING,
                    "retry",
                    "failed, next attempt in %.1f s: %s",
                    delivery,
                    filled=("after", "error"),
                    exception=exception,
                    error=error,
                    after=after,
                )
                self._maintenance.due_in(after)
            case outcome.Release(after, reason):
                text = f"released: {reason}" if reason else "released"
                self._emit(logging.INFO, "release", text, delivery, after=after)
                self._maintenance.due_in(after)
            case outcome.DeadLetter(reason, error, _, exception):
                self._emit(
                    logging.ERROR,
                    "dead_letter",
                    "dead-lettered (%s): %s",
                    delivery,
                    filled=("reason", "error"),
                    exception=exception,
                    error=error,
                    reason=reason,
                )
                assert isinstance(result, bytes)
                self._callbacks.dead_letter(delivery, end, result)
            case _:
                assert_never(end)
