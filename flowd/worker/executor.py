"""Run deliveries: decode, call the handler, say how it ended.

Path: runner -> here -> settlement.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from typing import Final, Generic, Literal, TypeVar

from flowd.errors import DecodeError, NewerVersion
from flowd.model import outcome
from flowd.model.context import Place, Report
from flowd.model.delivery import ENVELOPE, Delivery
from flowd.model.event import EventBus
from flowd.model.job import MAX_JOB_BYTES, Job, decode, payload_size
from flowd.worker.ending import ErrorOutcomes
from flowd.worker.expiry import Expiry
from flowd.worker.handler import BoundHandler, finished, in_task
from flowd.worker.in_flight import InFlight
from flowd.worker.options import QueueOptions

__all__ = ["Executor", "decode_delivery"]

J = TypeVar("J", bound=Job)

_MOST_FIELDS: Final = 1_000
_NEWER_WAIT: Final = 5.0
_ENVELOPE_BYTES: Final = 4_096


class Executor(Generic[J]):
    """Runs the handler of one queue, for one delivery at a time in each task.

    Args:
        options: of the queue.
        in_flight: what runs.
        events: receives its events.
        expiry: knows what may not start any more.
        report: takes note of how far a job is; None: nothing does.
        consumer: the worker's name in its group.
    """

    def __init__(
        self,
        options: QueueOptions[J],
        in_flight: InFlight,
        events: EventBus,
        expiry: Expiry,
        report: Report | None = None,
        *,
        consumer: str = "",
    ) -> None:
        policy = options.policy
        self._job_class = options.job_class
        self._handler = BoundHandler(
            options.handler,
            Place(policy.stream, policy.group, consumer),
            options.lease,
            report=report,
            around=options.chain.handle,
        )
        self.endings = ErrorOutcomes(options.job_class, policy, own=__file__)
        """Makes outcomes of errors."""

        self._timeout = policy.timeout
        self._lease = options.lease
        self._max_crashes = options.max_crashes
        self._in_flight = in_flight
        self._events = events
        self._expiry = expiry
        self._too_new_seen: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    @property
    def stuck(self) -> int:
        """How many did not end though they were cancelled at their timeout."""
        return sum(delivery.stuck for delivery in self._in_flight.running)

    async def execute(self, delivery: Delivery) -> outcome.Outcome | None:
        """Run a delivery; returns how it ended, None if its lease is to run out.

        It raises nothing but what ends the process, whatever the handler raises.
        """
        if self._timeout is not None:
            delivery.deadline = time.monotonic() + self._timeout
            self._watch(delivery.deadline)
        try:
            job = decode_delivery(self._job_class, delivery)
        except NewerVersion as error:
            return self._newer_version(error)
        except KeyboardInterrupt:
            raise  # the process is ending
        except BaseException as error:  # a class written by hand may raise anything
            return self.endings.undecodable(error, delivery)
        if delivery.deliveries > 1 and self._is_spent(delivery):
            return outcome.DeadLetter(
                "crashed",
                f"{delivery.crashes} workers ended or lost the job while they ran it",
            )
        try:
            if b"_expires" in delivery.fields and (
                late := await self._expiry.late(delivery)
            ):
                return outcome.Discard("expired", late)
            result = await self._handler.begin(job, delivery)
            if result is not None:
                await finished(result)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a handler raises, a panic in Rust too
            # By its type: `isinstance` may ask the error, which may raise.
            if issubclass(type(error), GeneratorExit) and not in_task((delivery.task,)):
                raise  # the loop is gone, and Python takes the coroutine down
            return self.endings.of(error, delivery)
        finally:
            delivery.stuck_at = None
        return outcome.Ack()

    def not_begun(self, delivery: Delivery) -> outcome.Outcome | None:
        """How a delivery ends whose task was cancelled before its first step."""
        return self.endings.of(asyncio.CancelledError(), delivery)

    def release(self, delivery: Delivery, reason: str = "") -> outcome.Outcome:
        """How a delivery ends that is not to be started here, and why for the log."""
        try:
            # Its counters go back with it; and an entry that is no job must not run anywhere.
            decode_delivery(self._job_class, delivery)
        except NewerVersion:
            pass
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as in `execute`
            return self.endings.undecodable(error, delivery)
        return outcome.Release(reason=reason)

    def needs_quarantine(self, delivery: Delivery) -> bool:
        """Whether workers seem to die of this delivery, and it is to run once more."""
        return delivery.is_poison_suspect and not self._is_spent(delivery)

    def cancel(
        self, delivery: Delivery, why: Literal["lost", "shutdown", "cancel"]
    ) -> bool:
        """Cancel a handler; False if it is not running."""
        if delivery not in self._in_flight.running or delivery.task is None:
            return False
        before = delivery.cancelled in ("timeout", "cancel")
        if not before or why == "lost" or delivery.in_thread:
            delivery.cancelled = why  # else the timeout remains the failure
        if why == "cancel" and delivery.stuck_at is None:
            delivery.stuck_at = time.monotonic() + self._lease
            self._watch(delivery.stuck_at)
        delivery.unwinding = delivery.task.cancelling() > 0
        delivery.task.cancel()
        return True

    def cancel_all(self) -> None:
        """Cancel every handler, because the process ends."""
        for delivery in list(self._in_flight.running):
            self.cancel(delivery, "shutdown")

    def close(self) -> None:
        """Stop timing."""
        if self._timer is not None:
            self._timer.cancel()

    def _newer_version(self, error: NewerVersion) -> outcome.Release:
        """Leave a job to workers with newer classes, which a deploy is about to bring."""
        # One line in the log is enough; metrics count each.
        seen = error.version in self._too_new_seen
        self._too_new_seen.add(error.version)
        self._events.emit(
            logging.DEBUG if seen else logging.WARNING,
            "newer_version",
            f"releases jobs of version {error.version}: its class reads up to"
            f" {error.known}; workers with newer classes take them",
            version=error.version,
            known=error.known,
        )
        return outcome.Release(_NEWER_WAIT * random.uniform(0.5, 1.5), error.reason)

    def _is_spent(self, delivery: Delivery) -> bool:
        return self._max_crashes is not None and delivery.crashes > self._max_crashes

    def _watch(self, until: float) -> None:
        """Look for what takes too long then: one timer for all."""
        if until >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = until
        self._timer = asyncio.get_running_loop().call_later(
            until - time.monotonic(), self._time_out
        )

    def _time_out(self) -> None:
        """Cancel what has taken too long, in order of its start."""
        self._timer, self._timer_at = None, math.inf
        now = time.monotonic()
        for delivery in list(self._in_flight.running):
            if delivery.stuck or delivery.cancelled not in ("", "timeout", "cancel"):
                continue
            if delivery.stuck_at is not None:
                if delivery.stuck_at <= now:
                    self._give_up(delivery)
                else:
                    self._watch(delivery.stuck_at)
            elif delivery.deadline is None:
                continue
            elif delivery.deadline > now:
                self._watch(delivery.deadline)
                return
            else:
                assert delivery.task is not None
                delivery.cancelled = "timeout"
                delivery.task.cancel()
                delivery.stuck_at = now + self._lease
                self._watch(delivery.stuck_at)

    def _give_up(self, delivery: Delivery) -> None:
        """Say that a handler does not end; its lease is renewed no more."""
        delivery.stuck = True
        cancelled = delivery.cancelled == "cancel"
        after = "it was cancelled" if cancelled else "its timeout of %g s"
        self._events.emit(
            logging.WARNING,
            "stuck",
            f"has not ended one lease (%g s) after {after}; it keeps its slot,"
            " and its lease runs out",
            delivery,
            filled=("lease",) if cancelled else ("lease", "timeout"),
            lease=self._lease,
            timeout=self._timeout,
        )
        if not delivery.in_thread and delivery.task is not None:
            delivery.task.cancel()


def decode_delivery(job_class: type[J], delivery: Delivery) -> J:
    """The job of a delivery, and its counters.

    Raises:
        NewerVersion: the class does not know its version yet.
        DecodeError: it is none, or larger than a job may be.
    """
    name = job_class.SPEC.name
    if delivery.size > _MOST_FIELDS + ENVELOPE:
        text = f"the entry has {delivery.size} fields; a job has {_MOST_FIELDS} at most"
        raise DecodeError(name, "", text)
    if payload_size(delivery.fields) > MAX_JOB_BYTES + _ENVELOPE_BYTES:
        text = f"the entry has more than {MAX_JOB_BYTES} bytes, which no job may have"
        raise DecodeError(name, "", text)
    delivery.read_envelope()
    return decode(job_class, delivery.fields)
