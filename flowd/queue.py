"""A queue: one job class, its handler, and the stream of its jobs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, Generic, Self, TypeVar

from flowd.broker.durability import Durable
from flowd.broker.gate import counting
from flowd.broker.registry import unlist_queue
from flowd.broker.retry import call_until_available
from flowd.broker.sender import Sender, Senders
from flowd.broker.session import Session, SessionUser
from flowd.broker.settings import Client
from flowd.broker.setup import set_up
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.control import ControlledQueue
from flowd.errors import OptionError, StreamShared
from flowd.errors.option import instance, wait
from flowd.model.claimer import Claimer
from flowd.model.event import EventBus
from flowd.model.expiry import Expires
from flowd.model.item import KEY_TTL, Item, many
from flowd.model.job import Job, spec_of
from flowd.model.letter import Letter
from flowd.model.middleware import Middleware, MiddlewareChain
from flowd.model.policy import Policy
from flowd.model.timing import Seconds
from flowd.producer import OneStream
from flowd.worker.handle import QueueHandle
from flowd.worker.handler import Handler
from flowd.worker.last_run import LastRun
from flowd.worker.options import QueueOptions
from flowd.worker.signals import until_stopped

__all__ = ["Queue"]

J = TypeVar("J", bound=Job)

_CLAIMER: Final = Claimer()
_LEFT_POLL: Final = 0.05


class Queue(ControlledQueue, Generic[J]):
    """Runs a handler for the jobs of one stream, and enqueues them.

    As an async context manager it calls `init` on entry and `aclose` on exit:

        async with Queue(Email, send, url="redis://localhost:6379") as queue:
            await queue.enqueue(Email(to="a@b.c", subject="hi"))
            await queue.run_until_stopped()

    Args:
        job_class: a class that `flowd-gen` wrote.
        handler: a coroutine function of `(job)` or `(job, ctx)`; a plain function runs
            in a thread. An exception fails the attempt, except for `Retry`, `Snooze`
            and `Reject`. Jobs are delivered at least once, so it must be idempotent.
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://HOST,HOST/NAME`,
            `redis+cluster://HOST,HOST`, `embedded:` or `embedded:PATH`; the
            default is the environment variable `FLOWD_URL`.
        redis: a redis-py client, instead of `url`. Only its settings are used: flowd
            opens its own connections.
        stream: overrides the schema's stream.
        group: overrides the schema's consumer group.
        consumer: a name for this process, shown by Redis; made unique for each run.
        concurrency: how many handlers run at once, which is also how many jobs this
            process holds.
        block: the longest time that one read waits for new jobs, in seconds. Above 2 an
            idle queue sends fewer commands, and delayed jobs and schedules of other
            programs are noticed later by as much, up to a third of the lease.
        starting_id: overrides the schema's; where a new group begins to read.
        policy: overrides the schema's policy, before the arguments above are applied.
        claimer: how this process claims deliveries with an expired lease; None: it
            claims none.
        on_dead_letter: called after a dead letter was stored, like `dlq_worker` of the
            Rust crate flowd.
        on_cancelled: called with the job after a running one is settled as cancelled; not
            for a job that no worker had.
        connect_timeout: seconds after which `enqueue` raises `Unreachable`. A worker
            waits for the server without a limit.
        middleware: runs around every enqueue and every handler; the first is the
            outermost.

    Raises:
        OptionError: an invalid argument; the message says which one and why.
        FormatError: `job_class` was written by an incompatible version of `flowd-gen`.
    """

    def __init__(
        self,
        job_class: type[J],
        handler: Handler[J],
        *,
        url: str | None = None,
        redis: Client | None = None,
        stream: str | None = None,
        group: str | None = None,
        consumer: str | None = None,
        concurrency: int = 10,
        block: float = 2.0,
        starting_id: str | None = None,
        policy: Policy | None = None,
        claimer: Claimer | None = _CLAIMER,
        on_dead_letter: Callable[[Letter[J]], object] | None = None,
        on_cancelled: Callable[[J], object] | None = None,
        connect_timeout: float = 5.0,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        spec = spec_of(job_class)
        if policy is None:
            policy = spec.policy
        instance("policy", policy, Policy, "must be a Policy")
        self._options = QueueOptions(
            job_class=job_class,
            handler=handler,
            policy=dataclasses.replace(
                policy,
                stream=policy.stream if stream is None else stream,
                group=policy.group if group is None else group,
                starting_id=policy.starting_id if starting_id is None else starting_id,
            ),
            consumer=consumer,
            concurrency=concurrency,
            block=block,
            claimer=claimer,
            on_dead_letter=on_dead_letter,
            on_cancelled=on_cancelled,
            chain=MiddlewareChain(middleware),
        )
        self._address = Address.of(url, redis)
        self._connect_timeout = wait("connect_timeout", connect_timeout)
        self._membership = SessionUser(self._address)
        self._running = LastRun[J]()
        self._senders = Senders()

    @property
    def policy(self) -> Policy:
        """The effective policy: the schema's, with the arguments of `Queue` applied."""
        return self._options.policy

    @property
    def address(self) -> Address:
        """The address of the server; as text, without the password."""
        return self._address

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """The middleware of this queue, the outermost first."""
        return self._options.chain.middleware

    def add_middleware(self, middleware: Middleware) -> None:
        """Add a middleware as the outermost one, before the queue runs.

        Args:
            middleware: an object whose class derives from `Middleware`.

        Raises:
            OptionError: it is not a `Middleware`, or the queue runs already.
        """
        if self._running.active is not None:
            rule = "it must be added before the queue runs"
            raise OptionError("middleware", middleware, rule)
        before = self._options.chain
        after = MiddlewareChain((middleware, *before.middleware))
        self._options = dataclasses.replace(self._options, chain=after)
        self._senders.clear()
        for session in self._membership.joined():
            session.events.unsubscribe(before.listeners)
            session.events.subscribe(after.listeners)

    @property
    def failing(self) -> str | None:
        """Why the queue does not work now, for a readiness probe; None if it works.

        It does not run, or cannot read jobs, settle them or renew their leases.
        """
        for session in self._membership.joined():
            if why := session.outage.reason(self._options.policy.stream):
                return why
        handle = self._running.handle
        return "it does not run yet" if handle is None else handle.failing

    async def __aenter__(self) -> Self:
        try:
            await self.init()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Shut down running handlers, with 25 s of grace, and close the connections."""
        try:
            handle = self._running.here() or self._running.active
            if handle is not None:
                await handle.shutdown()
        finally:
            self._running.handle = None
            self._senders.clear()
            await self._membership.leave(self._options.chain.listeners)

    async def init(self) -> None:
        """Create the stream and its group (XGROUP CREATE MKSTREAM) if they are missing.

        If the server cannot be reached, this waits for it, with one line in the log.

        Raises:
            StreamShared: another group reads the stream.
            FatalError: wrong password, a missing right, a key of another type, or a
                PATH of `embedded:PATH` that cannot be a folder.
        """
        session, stream = self._open()
        try:
            await call_until_available(
                lambda: set_up(stream, self._options.policy, self._options.job_class),
                session.outage,
                "setting up",
                stream.keys.stream,
            )
        except StreamShared:
            # It was listed in the same round trip.
            await unlist_queue(stream)
            raise
        session.note_set_up(stream)

    def run(self) -> QueueHandle[J]:
        """Start to read and run jobs, and return at once; call `init` before.

        Raises:
            OptionError: the queue runs already.
        """
        if self._running.active is not None:
            raise OptionError(
                "run", self._options.policy.stream, "this queue runs already"
            )
        handle = QueueHandle(self._session(), self._options)
        self._running.handle = handle
        return handle

    async def run_until_stopped(self, grace: float | None = 25.0) -> None:
        """Run until SIGTERM or SIGINT, then shut down gracefully and return.

        The shutdown reads no more jobs, waits `grace` for running handlers, cancels the
        others and releases their jobs. The program's own handlers of these signals are
        called as well, and restored at the end. Threads that handlers started
        (`asyncio.to_thread`) cannot be cancelled: this returns without them, but Python
        waits for them before the process ends.

        Args:
            grace: seconds for running handlers; None: no limit. A second signal ends
                the wait.

        Raises:
            OptionError: `grace` is not a time.
            FatalError: Redis refuses, and an operator must change something.
        """
        await until_stopped(self._running.here() or self.run(), grace)

    async def drain(self) -> None:
        """Return when no job waits, runs or is delayed.

        Some process must run the queue. This waits for an unreachable server.

        Raises:
            FatalError: Redis refuses, and an operator must change something.
        """
        session, stream = self._open()
        parts = counting(stream, self._options.job_class.SPEC.gate)
        while any(
            await call_until_available(
                lambda: stream.remaining(parts),
                session.outage,
                "draining",
                stream.keys.stream,
            )
        ):
            handle = self._running.here()
            if handle is not None and handle.ended:
                await handle.wait()
            await asyncio.sleep(_LEFT_POLL)

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
        durable: Durable | bool = False,
    ) -> str:
        """Enqueue one job into this queue's stream and return its id.

        Args:
            job: an instance of the queue's class.
            id: the stream's entry id; `*` lets the server choose.
            delay: how long until the job may start: seconds, or a `timedelta`; None:
                it may start at once.
            at: when it may start, instead of `delay`: a `datetime` with a time zone.
                The server's clock decides; a time in the past is due at once.
            key: an idempotency key. While Redis remembers it, enqueuing under the same
                key stores nothing and returns the first job's id.
            key_ttl: how long `key` is remembered, also after the job has ended:
                seconds, or a `timedelta`. The retries of this call are safe even if it
                is shorter than they take.
            expires: until when it may start; then it ends as expired. Seconds or a
                `timedelta`, from the time it may start on, or a `datetime` with a time
                zone. An attempt that runs goes on; a retry starts by then, or not at
                all. The default is the schema's `expires_after`; `math.inf`: never.
            priority: a level of the schema's `priority`, as "high".
            durable: True: return only when the job is confirmed to be on the server's
                disk. A `Durable` chooses disk or replicas, and a timeout.

        Raises:
            EncodeError: a value cannot be serialized.
            PayloadTooLarge: the fields have more than 256 KiB.
            OptionError: an invalid argument, or `delay` and `at` together; nothing was
                sent.
            IdNotIncreasing: `id` is not above the stream's last.
            Unreachable: no connection within `connect_timeout`; nothing was stored.
            OutcomeUnknown: the answer was lost, so the job may be stored. With a
                `key` the call is first repeated, for up to `connect_timeout`, and
                raises this if one of its tries may have stored the job.
            QueueFull: Redis is out of memory; nothing was stored.
            NotDurable: the job was not confirmed in time, or cannot be. Enqueue again
                under the same `key` to wait again.
        """
        item = Item(
            job, id, delay, key, key_ttl, at=at, expires=expires, priority=priority
        )
        return await self._senders.of(self._session(), self._sender).send(item, durable)

    async def enqueue_bulk(
        self, jobs: Iterable[J | Item[J]], *, durable: Durable | bool = False
    ) -> list[str]:
        """Enqueue many jobs, one round trip for each 500 jobs or 1 MB.

        Args:
            jobs: an iterable of jobs; an `Item` gives a job its own id, delay or key.
            durable: True or a `Durable`: return only when all are confirmed to be on the
                server's disk; one confirmation for each round trip.

        Returns:
            The job ids, in order.

        Raises:
            OptionError: `jobs` is not an iterable; nothing was sent.
            BulkError: the batch was interrupted: `ids` are stored, `unknown` more may
                be, and nothing after them is. Its `cause` says why; it may be an error
                of the iterable.
        """
        sender = self._senders.of(self._session(), self._sender)
        return await sender.send_all(many(jobs), durable)

    def _event_bus(self) -> EventBus:
        policy = self._options.policy
        listeners = self._options.chain.listeners
        return EventBus.to(policy.stream, policy.group, listeners)

    def _open(self) -> tuple[Session, Stream]:
        session = self._session()
        return session, self._stream(session)

    def _stream(self, session: Session) -> Stream:
        policy = self._options.policy
        return Stream(session.connection, policy.stream, policy.group)

    def _session(self) -> Session:
        return self._membership.here(self._options.chain.listeners)

    def _sender(self, session: Session) -> Sender:
        return Sender(
            session,
            OneStream(self._stream(session), self._options.job_class),
            self._connect_timeout,
            around=self._options.chain.enqueue,
            promoter=self._running,
            policy=self._options.policy,
        )
