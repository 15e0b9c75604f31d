"""How an attempt ends that raised.

Whatever left the handler, the attempt has an ending: what cannot be classified, because the
error's own methods raise, is a failure with a constant text.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from flowd.errors import HandlerSignal, OptionError, Reject, Snooze
from flowd.errors.option import wait
from flowd.model import outcome
from flowd.model.delivery import Delivery
from flowd.model.job import Job
from flowd.model.policy import Backoff, Policy
from flowd.worker.failure import UNDESCRIBABLE, Failure, describe, leaves, signal_in

__all__ = ["ErrorOutcomes"]

_CAUSES: Final = 100
_PLAIN: Final = Backoff()

_UNWRITABLE: Final = "the handler failed, and what it raised cannot be sent to Redis"
_UNREADABLE: Final = "the entry cannot be read as a job, and the error cannot be shown"


class ErrorOutcomes:
    """The outcomes of attempts that raised, by the rules of one queue.

    Args:
        job_class: says which values are secret.
        policy: how often an attempt is tried again, and when.
        own: the file that calls the handler, left out of tracebacks.
    """

    def __init__(self, job_class: type[Job], policy: Policy, own: str) -> None:
        self.job = job_class.SPEC.name
        """The name of the job class."""

        self._job_class = job_class
        self._policy = policy
        self._own = own

    def of(self, error: BaseException, delivery: Delivery) -> outcome.Outcome | None:
        """How an attempt ends that raised; None if its lease is to run out."""
        try:
            return self._classified(error, delivery)
        except KeyboardInterrupt:
            raise
        except BaseException:  # out of the error's own methods
            return self._again(delivery, UNDESCRIBABLE)

    def _classified(
        self, error: BaseException, delivery: Delivery
    ) -> outcome.Outcome | None:
        if delivery.cancelled == "lost":
            return None
        if delivery.cancelled == "cancel":
            return outcome.Discard("cancelled")
        signal = signal_in(error)
        try:
            after = _seconds_of(signal)
        except OptionError as wrong:
            wrong.__cause__ = error
            return self._failed(wrong, delivery)
        match signal:
            case Snooze():
                return outcome.Release(after or 0.0)
            case Reject():
                return self._bury("rejected", self._failure(signal, delivery))
            case None if delivery.cancelled == "timeout":
                return self._failed(self._timed_out(error), delivery)
            case None if delivery.cancelled and _follows(error, delivery):
                # A thread cannot be cancelled: it runs on, so no other worker may start the
                # job before its lease is over.
                return None if delivery.in_thread else outcome.Release()
            case _:
                return self._failed(
                    error if signal is None else signal, delivery, after
                )

    def _timed_out(self, error: BaseException) -> TimeoutError:
        """The timeout is the failure, whatever the handler or its driver made of it."""
        text = f"timed out after {self._policy.timeout:g} s"
        if not isinstance(error, asyncio.CancelledError):
            text = f"{text}; then {describe(error)}"
        limit = TimeoutError(text)
        limit.__cause__ = error
        return limit

    def _failed(
        self, error: BaseException, delivery: Delivery, after: float | None = None
    ) -> outcome.Outcome:
        failure = self._failure(error, delivery)
        if delivery.attempt > self._policy.max_retries:
            return self._bury("failed", failure)
        if after is None:
            after = self._backoff(delivery)
        return outcome.Retry(after, failure.text, failure.shown)

    def _again(self, delivery: Delivery, text: str) -> outcome.Outcome:
        """A failure of which there is nothing but this text."""
        if delivery.attempt > self._policy.max_retries:
            return outcome.DeadLetter("failed", text)
        return outcome.Retry(self._backoff(delivery), text)

    def _backoff(self, delivery: Delivery) -> float:
        try:
            after = self._policy.backoff.delay(delivery.attempt)
            good = after >= 0.0
        except KeyboardInterrupt:
            raise
        except BaseException:  # a class of the user's own
            good, after = False, 0.0
        return after if good else _PLAIN.delay(delivery.attempt)

    def unwritable(self, delivery: Delivery) -> outcome.Outcome:
        """How a delivery ends whose ending cannot be written down: as a failure."""
        return self._again(delivery, _UNWRITABLE)

    def undecodable(
        self, error: BaseException, delivery: Delivery
    ) -> outcome.DeadLetter:
        """How a delivery ends that is no job, as `error` says."""
        try:
            failure = self._failure(error, delivery)
            return outcome.DeadLetter(
                "undecodable", failure.text, exception=failure.shown
            )
        except KeyboardInterrupt:
            raise
        except BaseException:  # out of the error's own methods
            return outcome.DeadLetter("undecodable", _UNREADABLE)

    def _bury(
        self, reason: Literal["failed", "rejected"], failure: Failure
    ) -> outcome.DeadLetter:
        return outcome.DeadLetter(
            reason, failure.text, failure.traceback, failure.shown
        )

    def _failure(self, error: BaseException, delivery: Delivery) -> Failure:
        return Failure(
            error, self._job_class, delivery.fields, own=(__file__, self._own)
        )


def _seconds_of(signal: HandlerSignal | None) -> float | None:
    """What a signal says of the time until its job runs again, checked once more.

    A subclass may set it to anything, or have no `__init__` of ours.
    """
    after: object = getattr(signal, "after", None)
    if after is None and not isinstance(signal, Snooze):
        return None
    return wait("after", after)


def _follows(error: BaseException, delivery: Delivery) -> bool:
    """Whether an error came of flowd's own cancellation, and not before it."""
    if not delivery.unwinding:
        return True
    # A group was ending the rest of its tasks by then: its own errors have no
    # cancellation behind them.
    return all(_came_of_cancellation(leaf) for leaf in leaves(error))


def _came_of_cancellation(error: BaseException) -> bool:
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if cause is None or isinstance(cause, asyncio.CancelledError):
            break
        cause = cause.__cause__ or cause.__context__
    return isinstance(cause, asyncio.CancelledError)
