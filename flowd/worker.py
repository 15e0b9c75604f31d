"""Run deliveries: decode, call the handler, say how it ended.

Path: consumer -> here -> settlement.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import random
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Final, Generic, Literal, TypeVar

from flowd import outcome
from flowd.delivery import ENVELOPE, Delivery
from flowd.errors import DecodeError, NewerVersion, Reject, Retry, Snooze
from flowd.event import Witnesses
from flowd.handler import BoundHandler
from flowd.job import MOST_BYTES, Job, decode, weight
from flowd.policy import Policy
from flowd.secret import without_secrets

__all__ = ["Worker", "read_job"]

J = TypeVar("J", bound=Job)

_MOST_FIELDS: Final = 1_000
_NEWER_WAIT: Final = 5.0
_ENVELOPE_BYTES: Final = 4_096

# The way to the handler says nothing about what went wrong in it.
_OWN: Final = (__file__, inspect.getfile(BoundHandler))


class Worker(Generic[J]):
    """Runs the handler for each delivery, in a task of its own."""

    def __init__(
        self,
        job_class: type[J],
        handler: BoundHandler[J],
        policy: Policy,
        *,
        max_crashes: int | None,
        ended: Callable[[Delivery, outcome.Outcome | None], None],
        witnesses: Witnesses,
    ) -> None:
        self._job_class = job_class
        self._handler = handler
        self._policy = policy
        self._max_crashes = max_crashes
        self._ended = ended
        self._witnesses = witnesses
        # Whoever starts a delivery, and be it the end of another, leaks nothing into it.
        self._context = contextvars.copy_context()
        self._running: dict[Delivery, None] = {}
        self._too_new_seen: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """How many handlers are running."""
        return len(self._running)

    @property
    def takeovers(self) -> int:
        """How many of them were taken over from another consumer."""
        return sum(delivery.count > 1 for delivery in self._running)

    def start(self, delivery: Delivery) -> None:
        """Run a delivery; `ended` is told how it ended, None if that is not known."""
        self._running[delivery] = None
        self._idle.clear()
        if self._policy.timeout is not None:
            delivery.deadline = time.monotonic() + self._policy.timeout
            if self._timer is None:
                self._watch(self._policy.timeout)
        delivery.task = _begin(self._run(delivery), self._context.copy())

    def hand_back(self, delivery: Delivery, after: float = 0.0) -> outcome.Outcome:
        """How a delivery ends that is not to be started, or not for some seconds."""
        try:
            # Its counters go back with it; and what is no job is nobody's to run.
            self._decode(delivery)
        except NewerVersion:
            pass
        except Exception as error:  # as in `_attempt`
            return outcome.DeadLetter("undecodable", _describe(error))
        return outcome.Release(after)

    def must_be_alone(self, delivery: Delivery) -> bool:
        """Whether workers seem to die of this delivery, and it is to run once more."""
        return delivery.is_suspect and not self._is_spent(delivery)

    def cancel(self, delivery: Delivery, why: Literal["lost", "shutdown"]) -> bool:
        """Cancel a handler; False if it is not running."""
        if delivery not in self._running or delivery.task is None:
            return False
        delivery.cancelled = why
        delivery.task.cancel()
        return True

    def cancel_all(self) -> None:
        """Cancel every handler, because the process ends."""
        for delivery in list(self._running):
            self.cancel(delivery, "shutdown")

    def close(self) -> list[Delivery]:
        """Stop timing; returns the deliveries that would not end."""
        if self._timer is not None:
            self._timer.cancel()
        return list(self._running)

    async def idle(self) -> None:
        """Return when no handler is running."""
        await self._idle.wait()

    async def _run(self, delivery: Delivery) -> None:
        end: outcome.Outcome | None = None
        if delivery.task is None:  # begun at once
            delivery.task = asyncio.current_task()
        try:
            end = await self._attempt(delivery)
        finally:
            del self._running[delivery]
            if not self._running:
                self._idle.set()
            self._ended(delivery, end)

    async def _attempt(self, delivery: Delivery) -> outcome.Outcome | None:
        try:
            job = self._decode(delivery)
        except NewerVersion as error:
            return self._too_new(error)
        except Exception as error:  # a class written by hand may raise anything
            return outcome.DeadLetter("undecodable", _describe(error))
        if self._is_spent(delivery):
            return outcome.DeadLetter(
                "crashed",
                f"{delivery.crashes} workers ended or lost the job while they ran it",
            )
        try:
            await self._handler.begin(job, delivery)
        except Snooze as signal:
            return outcome.Release(signal.after)
        except Reject as signal:
            return self._bury("rejected", signal, delivery)
        except asyncio.CancelledError as error:
            return self._cancelled(error, delivery)
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the process is ending
        except BaseException as error:  # whatever a handler raises, a panic in Rust too
            return self._failed(error, delivery)
        return outcome.Ack()

    def _too_new(self, error: NewerVersion) -> outcome.Release:
        """Leave a job to workers with newer classes, which a deploy is about to bring."""
        # One line is enough; whoever counts is told of each.
        seen = error.version in self._too_new_seen
        self._too_new_seen.add(error.version)
        self._witnesses.say(
            logging.DEBUG if seen else logging.WARNING,
            "newer_version",
            f"hands back jobs of version {error.version}: its class reads up to"
            f" {error.known}; workers with newer classes take them",
            version=error.version,
            known=error.known,
        )
        return outcome.Release(_NEWER_WAIT * random.uniform(0.5, 1.5), error.reason)

    def _is_spent(self, delivery: Delivery) -> bool:
        return self._max_crashes is not None and delivery.crashes > self._max_crashes

    def _decode(self, delivery: Delivery) -> J:
        return read_job(self._job_class, delivery)

    def _cancelled(
        self, error: asyncio.CancelledError, delivery: Delivery
    ) -> outcome.Outcome | None:
        task = asyncio.current_task()
        if delivery.cancelled == "timeout":
            limit = TimeoutError(f"timed out after {self._policy.timeout:g} s")
            limit.__cause__ = error
            return self._failed(limit, delivery)
        if delivery.cancelled or (task is not None and task.cancelling()):
            # A thread cannot be cancelled: it runs on, so nobody else may start the job
            # before its lease is over.
            return None if delivery.in_thread else outcome.Release()
        # Nobody cancelled this task: the handler let a cancellation of its own escape.
        return self._failed(error, delivery)

    def _failed(self, error: BaseException, delivery: Delivery) -> outcome.Outcome:
        if delivery.attempt > self._policy.max_retries:
            return self._bury("failed", error, delivery)
        after = error.after if isinstance(error, Retry) else None
        if after is None:
            after = self._policy.backoff.delay(delivery.attempt)
        return outcome.Retry(after, self._public(_describe(error), delivery))

    def _bury(
        self,
        reason: Literal["failed", "rejected"],
        error: BaseException,
        delivery: Delivery,
    ) -> outcome.DeadLetter:
        return outcome.DeadLetter(
            reason,
            self._public(_describe(error), delivery),
            self._public(_traceback(error), delivery),
        )

    def _public(self, text: str, delivery: Delivery) -> str:
        return without_secrets(text, self._job_class, delivery.fields)

    def _watch(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._time_out)

    def _time_out(self) -> None:
        """Cancel what has taken too long: one timer for all, in order of their start."""
        self._timer = None
        now = time.monotonic()
        for delivery in list(self._running):
            if delivery.deadline is None or delivery.cancelled:
                continue
            if delivery.deadline > now:
                self._watch(delivery.deadline - now)
                return
            assert delivery.task is not None
            delivery.cancelled = "timeout"
            delivery.task.cancel()


def read_job(job_class: type[J], delivery: Delivery) -> J:
    """The job of a delivery, and its counters.

    Raises:
        NewerVersion: the class does not know its version yet.
        DecodeError: it is none, or larger than a job may be.
    """
    name = job_class.SPEC.name
    if delivery.size > _MOST_FIELDS + ENVELOPE:
        text = f"the entry has {delivery.size} fields; a job has {_MOST_FIELDS} at most"
        raise DecodeError(name, "", text)
    if weight(delivery.fields) > MOST_BYTES + _ENVELOPE_BYTES:
        text = f"the entry has more than {MOST_BYTES} bytes, which no job may have"
        raise DecodeError(name, "", text)
    delivery.read_envelope()
    return decode(job_class, delivery.fields)


def _begin(
    attempt: Coroutine[object, object, None], context: contextvars.Context
) -> asyncio.Task[None]:
    """A task; where Python can, one that waits for nothing has ended by then."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(attempt, loop=loop, context=context, eager_start=True)
    return asyncio.Task(attempt, loop=loop, context=context)


def _describe(error: BaseException) -> str:
    if isinstance(error, DecodeError | Retry | Reject):
        return str(error)
    if isinstance(error, SyntaxError):
        # Python would print the line that it is about, and say what is wrong last.
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception_only(error)).strip()


def _traceback(error: BaseException) -> str:
    """As Python prints it, from the handler's first line on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in _OWN:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))
