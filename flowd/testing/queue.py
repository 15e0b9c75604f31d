"""A queue without a server: the same handler, run by the same code, at once."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Generic, TypeVar

from flowd.broker.control import CancelResult, DeleteResult
from flowd.broker.cron import schedules_of
from flowd.broker.durability import Durable
from flowd.errors import OptionError
from flowd.errors.option import entry_id, wait
from flowd.model import outcome
from flowd.model.delivery import Delivery, Entry
from flowd.model.expiry import Expires
from flowd.model.item import KEY_TTL, Item, items_of, many
from flowd.model.job import Job, spec_of
from flowd.model.letter import Letter, letter_of
from flowd.model.middleware import Middleware, MiddlewareChain
from flowd.model.policy import Policy
from flowd.model.timing import Seconds
from flowd.producer import check_class
from flowd.testing.attempts import Attempts
from flowd.testing.clock import FakeClock
from flowd.testing.cron import MemoryCron
from flowd.testing.memory import Memory
from flowd.testing.recorded import Recorded
from flowd.worker.handler import Handler
from flowd.worker.options import QueueOptions

__all__ = ["MemoryQueue"]

J = TypeVar("J", bound=Job)
T = TypeVar("T")


class MemoryQueue(Recorded, Generic[J]):
    """A `Queue` without a server: jobs are kept in a list and run one by one.

    It enqueues, delays, retries, times out and dead-letters as `Queue` does. Delays and
    backoff follow `clock`; a handler's timeout is real. Of policies it applies `unique` and
    `debounce`, which say what is stored, and none that says when a job starts.

    Args:
        job_class: a generated class.
        handler: as for `Queue`.
        policy: instead of the schema's.
        clock: instead of a new one, for a memory of its own.
        memory: shared with a recording producer, whose jobs it then runs, or with other
            queues.
        on_dead_letter: as for `Queue`; awaited before `drain` continues.
        on_cancelled: likewise.
        middleware: as for `Queue`; only `enqueue` and `handle` run, since nothing is
            settled.
    """

    def __init__(
        self,
        job_class: type[J],
        handler: Handler[J],
        *,
        policy: Policy | None = None,
        clock: FakeClock | None = None,
        memory: Memory | None = None,
        on_dead_letter: Callable[[Letter[J]], object] | None = None,
        on_cancelled: Callable[[J], object] | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        if clock is not None and memory is not None:
            raise OptionError("clock", clock, "a memory has its own; give one of both")
        super().__init__(memory or Memory(clock))
        self.clock = self.memory.clock
        """What delays and backoff go by."""

        self.done: list[J] = []
        """The jobs whose handler returned, in that order."""

        self.dead: list[Letter[J]] = []
        """The dead letters, in order."""

        self.expired: list[J] = []
        """The jobs that came too late to start, as `expires` says."""

        self.cancelled: list[J] = []
        """The jobs that were cancelled while they ran."""

        self._options = QueueOptions(
            job_class=job_class,
            handler=handler,
            policy=spec_of(job_class).policy if policy is None else policy,
            claimer=None,
            on_dead_letter=on_dead_letter,
            on_cancelled=on_cancelled,
            chain=MiddlewareChain(middleware),
        )
        self._attempts = Attempts(self._options, self.clock, self._settle)
        self._stream = self.memory.stream(self._options.policy.stream)
        schedules = schedules_of(job_class, self._options.policy)
        self._cron = MemoryCron(schedules, self._stream, self.clock)

    def __len__(self) -> int:
        """How many jobs wait, delayed ones included."""
        return len(self._stream)

    @property
    def enqueued(self) -> list[J]:
        """Every job that was enqueued, as a worker sees it, in order."""
        return self.jobs(self._options.job_class)

    async def enqueue(
        self,
        job: J,
        *,
        id: str = "*",  # noqa: A002 - the name in the Rust crate flowd
        delay: Seconds | None = None,
        at: datetime | None = None,
        key: str | None = None,
        key_ttl: Seconds = KEY_TTL,
        expires: Expires | None = None,
        priority: str | None = None,
        durable: Durable | bool = False,  # noqa: ARG002 - nothing here outlives a crash
    ) -> str:
        """Enqueue one job and return its id.

        Args:
            job: an instance of the queue's class.
            id: the stream's entry id; `*` lets the memory choose.
            delay: how long until the job may start: seconds, or a `timedelta`; None:
                it may start at once.
            at: when it may start, instead of `delay`: a `datetime` with a time zone.
            key: an idempotency key: a second job under it is not stored.
            key_ttl: how long `key` is remembered: seconds, or a `timedelta`.
            expires: until when it may start: seconds, a `timedelta` or a `datetime`.
            priority: a level of the schema's `priority`, as "high".
            durable: accepted, and of no effect: nothing here outlives the process.

        Raises:
            EncodeError: a value cannot be serialized.
            PayloadTooLarge: the fields have more than 256 KiB.
            OptionError: an invalid argument, or `delay` and `at` together.
            IdNotIncreasing: `id` is not above the stream's last.
        """
        (job_id,) = await self._send(
            [
                Item(
                    job,
                    id,
                    delay,
                    key,
                    key_ttl,
                    at=at,
                    expires=expires,
                    priority=priority,
                )
            ],
            self._add,
        )
        return job_id

    async def enqueue_bulk(
        self,
        jobs: Iterable[J | Item[J]],
        *,
        durable: Durable | bool = False,  # noqa: ARG002 - as above
    ) -> list[str]:
        """Enqueue many jobs.

        Args:
            jobs: an iterable of jobs; an `Item` gives a job its own id, delay or key.
            durable: accepted, and of no effect: nothing here outlives the process.

        Returns:
            The job ids, in order.

        Raises:
            OptionError: `jobs` is not an iterable.
            BulkError: a job was refused: `ids` are kept, and nothing after them is.
        """
        return await self._send(items_of(many(jobs)), self._add_all)

    async def cancel(self, job_id: str) -> CancelResult:
        """Cancel a job: one that waits is gone at once, the one that runs is cancelled.

        Args:
            job_id: as `enqueue` returned it.

        Returns:
            `cancelled`, `cancelling` for the one that runs, or `not_found` for one that
            has ended or never was.
        """
        entry_id("job_id", job_id)
        if self._attempts.cancel(job_id):
            return "cancelling"
        return "cancelled" if self._stream.remove(job_id) else "not_found"

    async def delete(self, job_id: str) -> DeleteResult:
        """Delete a job that waits or is delayed, as `Queue.delete`.

        Args:
            job_id: as `enqueue` returned it.

        Returns:
            `deleted`, `running`, or `not_found` for one that has ended or never was.
        """
        entry_id("job_id", job_id)
        if job_id in self._attempts:
            return "running"
        return "deleted" if self._stream.remove(job_id) else "not_found"

    async def run_now(self, job_id: str) -> bool:
        """Let a delayed job be due at once, as `Queue.run_now`.

        Args:
            job_id: as `enqueue` returned it.

        Returns:
            False if no job of this id is delayed.
        """
        return self._stream.hurry(entry_id("job_id", job_id))

    async def pause(self) -> bool:
        """Let no queue of this memory take a job of the stream until `resume`.

        Time goes on: delayed jobs become due and schedules tick, and wait.

        Returns:
            False if it was paused before.
        """
        before, self._stream.paused = self._stream.paused, True
        return not before

    async def resume(self) -> bool:
        """Undo `pause`; what is due runs at the next `run_due`, `advance_time` or `drain`.

        Returns:
            False if it was not paused.
        """
        before, self._stream.paused = self._stream.paused, False
        return before

    async def _send(
        self,
        items: Iterable[Item[Job]],
        send: Callable[[Iterable[Item[Job]]], Awaitable[list[str]]],
    ) -> list[str]:
        if self._options.chain.enqueue is None:
            return await send(items)
        return await self._options.chain.enqueue(
            self._options.policy.stream, items, send
        )

    async def _add(self, items: Iterable[Item[Job]]) -> list[str]:
        policy = self._options.policy
        return [self.memory.add(each, policy=policy) for each in self._own(items)]

    async def _add_all(self, items: Iterable[Item[Job]]) -> list[str]:
        return self.memory.add_all(self._own(items), policy=self._options.policy)

    def _own(self, items: Iterable[Item[Job]]) -> Iterator[Item[Job]]:
        """The same; refuses a job of another class, as a queue does."""
        for each in items:
            check_class(each.job, self._options.job_class)
            yield each

    async def run_due(self) -> int:
        """Run every job that is due by the clock; returns how many attempts it took."""
        attempts = 0
        while self._stream.due <= self.clock.now:
            entry = self._stream.take()
            if self._may_start(entry):
                await self._attempts.run(entry)
                attempts += 1
        return attempts

    def _may_start(self, entry: Entry) -> bool:
        """Whether it may; a job that came without a ticket, as a tick does, gets one."""
        spec, fields = self._options.job_class.SPEC, entry.fields
        if spec.gate is None:
            return True
        if b"_gate" not in fields:
            fields[b"_gate"] = spec.gate.ticket(fields, spec.secrets)
        job_id = Delivery(entry, 0.0).job_id
        return self._stream.gate.admits(fields, job_id)

    async def advance_time(self, seconds: float) -> None:
        """Let time pass: run each job at the moment it is due, and its retries too.

        Schedules of the class tick as well, from the making of the queue on.

        Args:
            seconds: how far the clock moves.

        Raises:
            OptionError: it is no time, or below 0.
        """
        until = self.clock.now + wait("seconds", seconds)
        while (tick := self._cron.next) <= until:
            await self._run_until(tick)
            self.clock.now = max(self.clock.now, tick)
            if fields := self._cron.tick():
                self.memory.note(self._options.job_class, fields)
            await self.run_due()
        await self._run_until(until)
        self.clock.now = max(self.clock.now, until)

    async def drain(self) -> None:
        """Run until nothing is left, moving the clock to each job that is delayed.

        Raises:
            OptionError: jobs wait and the queue is paused: it would not return.
        """
        await self._run_until(math.inf)
        if self._stream and self._stream.paused:
            name = self._options.policy.stream
            raise OptionError(
                "queue", name, "it is paused: call resume() before drain()"
            )

    async def _run_until(self, until: float) -> None:
        while self._stream.due < math.inf and self._stream.due <= until:
            self.clock.now = max(self.clock.now, self._stream.due)
            await self.run_due()

    async def _settle(self, delivery: Delivery, end: outcome.Outcome) -> None:
        if not isinstance(end, outcome.Retry | outcome.Release):
            self._stream.gate.ended(delivery.fields, delivery.job_id)
        match end:
            case outcome.Ack():
                self.done.append(self._options.job_class.from_fields(delivery.fields))
            case outcome.Discard("expired"):
                self.expired.append(
                    self._options.job_class.from_fields(delivery.fields)
                )
            case outcome.Discard():
                await self._discard(delivery)
            case outcome.Retry(after, error):
                envelope = delivery.requeue_envelope(failed=True, error=error)
                self._requeue(delivery, after, envelope)
            case outcome.Release(after):
                self._requeue(delivery, after, delivery.requeue_envelope(failed=False))
            case outcome.DeadLetter():
                await self._bury(delivery, end)

    async def _discard(self, delivery: Delivery) -> None:
        job = self._options.job_class.from_fields(delivery.fields)
        self.cancelled.append(job)
        await _call(self._options.on_cancelled, job)

    def _requeue(
        self, delivery: Delivery, after: float, envelope: Mapping[bytes, bytes]
    ) -> None:
        fields = {**delivery.fields, **envelope}
        self._stream.put("" if after else self._stream.new_id(), fields, after)

    async def _bury(self, delivery: Delivery, end: outcome.DeadLetter) -> None:
        letter_id = self._stream.new_id().encode()
        letter = letter_of(letter_id, delivery, end, "memory", self._options.job_class)
        self.dead.append(letter)
        await _call(self._options.on_dead_letter, letter)


async def _call(callback: Callable[[T], object] | None, value: T) -> None:
    """Call what the user gave, if anything, and wait for it."""
    if callback is not None:
        result = callback(value)
        if inspect.isawaitable(result):
            await result
