"""A queue: one job class, its handler, and where its jobs are."""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Final, Generic, Self, TypeVar

import redis.asyncio

from flowd.broker.durability import Durable
from flowd.broker.outage import RECONNECT
from flowd.broker.sender import Promoter, Sender
from flowd.broker.session import Session, SessionUser
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.errors import (
    NotReady,
    OptionError,
    OutcomeUnknown,
    StreamShared,
    Unreachable,
)
from flowd.errors.option import instance, wait
from flowd.model.claimer import Claimer
from flowd.model.item import KEY_TTL, Item
from flowd.model.job import Job, spec_of
from flowd.model.letter import Letter
from flowd.model.middleware import Middleware, MiddlewareChain
from flowd.model.policy import Policy
from flowd.model.timing import Seconds
from flowd.worker.handle import QueueHandle
from flowd.worker.handler import Handler
from flowd.worker.options import QueueOptions
from flowd.worker.signals import until_stopped

__all__ = ["Queue"]

J = TypeVar("J", bound=Job)
R = TypeVar("R")

_CLAIMER: Final = Claimer()
_LEFT_POLL: Final = 0.05


class Queue(Generic[J]):
    """Runs a handler for the jobs of one stream, and enqueues them.

    As an async context manager it is set up on entry and shut down on exit:

        async with Queue(Email, send, url="redis://localhost:6379") as queue:
            await queue.enqueue(Email(to="a@b.c", subject="hi"))
            await queue.run_until_stopped()

    Args:
        job_class: a class that `flowd-gen` wrote.
        handler: a coroutine function of `(job)` or `(job, ctx)`; a plain function runs
            in a thread. What it raises fails the attempt, except for `Retry`, `Snooze`
            and `Reject`.
        url: `redis://`, `rediss://`, `unix://`, `embedded:` or `embedded:PATH`; falls
            back to the environment variable `FLOWD_URL`.
        redis: a redis-py client, instead of `url`. Only its settings are used: flowd
            opens connections of its own.
        stream: instead of the schema's.
        group: instead of the schema's.
        consumer: a name for this process, shown by Redis; made unique for each run.
        concurrency: how many handlers run at once, and how many jobs are taken.
        block: the longest time one read waits, in seconds.
        starting_id: instead of the schema's; where a new group begins.
        policy: instead of the schema's, before the arguments above are applied.
        claimer: how abandoned jobs are taken over; None: not by this process.
        on_dead_letter: told after a dead letter was stored; the seed's `dlq_worker`.
        connect_timeout: seconds after which `enqueue` gives up on a server that cannot
            be reached. A worker waits for ever.
        middleware: what runs around every enqueue and every handler; the first is the
            outermost.

    Raises:
        OptionError: an argument that cannot be; the message says which and why.
        FormatError: `job_class` was written by another generation of `flowd-gen`.
    """

    def __init__(
        self,
        job_class: type[J],
        handler: Handler[J],
        *,
        url: str | None = None,
        redis: redis.asyncio.Redis | None = None,
        stream: str | None = None,
        group: str | None = None,
        consumer: str | None = None,
        concurrency: int = 10,
        block: float = 2.0,
        starting_id: str | None = None,
        policy: Policy | None = None,
        claimer: Claimer | None = _CLAIMER,
        on_dead_letter: Callable[[Letter[J]], object] | None = None,
        connect_timeout: float = 5.0,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        if policy is None:
            policy = spec_of(job_class).policy
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
            stack=MiddlewareChain(middleware),
        )
        self._address = Address.of(url, redis)
        self._connect_timeout = wait("connect_timeout", connect_timeout)
        self._membership = SessionUser(self._address)
        self._handle: QueueHandle[J] | None = None
        self._worker = _Worker()
        self._senders: weakref.WeakKeyDictionary[Session, Sender] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def policy(self) -> Policy:
        """The rules in force: the schema's, where no argument replaced them."""
        return self._options.policy

    @property
    def address(self) -> Address:
        """Where its server is; as text, without the password."""
        return self._address

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """What runs around its jobs, the outermost first."""
        return self._options.stack.middleware

    def add_middleware(self, middleware: Middleware) -> None:
        """Let one more run around all that the queue has.

        Raises:
            OptionError: it is none, or the queue runs already.
        """
        if self._handle is not None and not self._handle.ended:
            rule = "it must be added before the queue runs"
            raise OptionError("middleware", middleware, rule)
        before = self._options.stack
        after = MiddlewareChain((middleware, *before.middleware))
        self._options = dataclasses.replace(self._options, stack=after)
        self._senders.clear()
        for session in self._membership.joined():
            session.events.unsubscribe(before.listeners)
            session.events.subscribe(after.listeners)

    @property
    def failing(self) -> str | None:
        """What of it fails just now, for a readiness probe; None if all of it works.

        It takes no jobs, or does not settle them, or does not renew their leases.
        """
        for session in self._membership.joined():
            if why := session.outage.reason(self._options.policy.stream):
                return why
        return "it does not run yet" if self._handle is None else self._handle.failing

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
        """Shut down what runs, with the usual grace, and close the connections."""
        try:
            if (handle := self._here()) is not None:
                await handle.shutdown()
            elif self._handle is not None and not self._handle.ended:
                shutdown = self._handle.shutdown()
                await asyncio.wrap_future(
                    asyncio.run_coroutine_threadsafe(shutdown, self._handle.loop)
                )
        finally:
            self._handle = self._worker.handle = None
            self._senders.clear()
            await self._membership.leave(self._options.stack.listeners)

    async def init(self) -> None:
        """Create stream and group (XGROUP CREATE MKSTREAM); fine if they are there.

        A server that cannot be reached is waited for, with one line in the log.

        Raises:
            StreamShared: another group reads the stream.
            FatalError: wrong password, a missing right, a key of another type, or a
                PATH of `embedded:PATH` that cannot be a folder.
        """
        session, stream = self._open()
        try:
            await self._patiently(
                "setting up",
                lambda: asyncio.gather(
                    stream.init(self._options.policy.starting_id), stream.register()
                ),
            )
        except StreamShared:
            # Both went out in one round trip.
            await stream.unregister()
            raise
        session.note_registered(stream)

    def run(self) -> QueueHandle[J]:
        """Start reading and running jobs; returns at once.

        Raises:
            OptionError: the queue runs already.
        """
        if self._handle is not None and not self._handle.ended:
            raise OptionError(
                "run", self._options.policy.stream, "this queue runs already"
            )
        session, _ = self._open()
        self._handle = QueueHandle(session, self._options)
        self._worker.handle, self._worker.loop = self._handle, self._handle.loop
        return self._handle

    async def run_until_stopped(self, grace: float | None = 25.0) -> None:
        """Run until SIGTERM or SIGINT: stop reading, drain, hand back, return.

        A handler that the program has for these signals is called as well, and put back
        at the end. Threads that handlers started (`asyncio.to_thread`) cannot be cancelled:
        this returns all the same, but Python waits for them before the process ends.

        Args:
            grace: seconds for running handlers; None waits for ever. A second signal
                ends the wait.

        Raises:
            FatalError: Redis refuses, and will until somebody changes something.
        """
        await until_stopped(self._here() or self.run(), grace)

    async def drain(self) -> None:
        """Return when no job waits, runs or is delayed; the queue must run somewhere.

        A server that cannot be reached is waited for.

        Raises:
            FatalError: what ended this queue, or would have.
        """
        _, stream = self._open()
        while any(await self._patiently("draining", stream.remaining)):
            handle = self._here()
            if handle is not None and handle.ended:
                await handle.wait()
            await asyncio.sleep(_LEFT_POLL)

    async def enqueue(
        self,
        job: J,
        *,
        id: str = "*",  # noqa: A002 - the seed's name
        delay: Seconds = 0.0,
        at: datetime | None = None,
        key: str | None = None,
        key_ttl: Seconds = KEY_TTL,
        durable: Durable | bool = False,
    ) -> str:
        """Enqueue one job and return its id; as `Producer.enqueue`."""
        return await self._sender().send(
            Item(job, id, delay, key, key_ttl, at=at), durable
        )

    async def enqueue_bulk(
        self, jobs: Iterable[J | Item[J]], *, durable: Durable | bool = False
    ) -> list[str]:
        """Enqueue many jobs and return their ids; as `Producer.enqueue_bulk`."""
        return await self._sender().send_all(jobs, durable)

    def _open(self) -> tuple[Session, Stream]:
        session = self._membership.here(self._options.stack.listeners)
        stream = Stream(
            session.connection, self._options.policy.stream, self._options.policy.group
        )
        return session, stream

    def _here(self) -> QueueHandle[J] | None:
        """What runs in this event loop."""
        handle = self._handle
        if handle is None or handle.loop is not asyncio.get_running_loop():
            return None
        return handle

    async def _patiently(self, what: str, ask: Callable[[], Awaitable[R]]) -> R:
        """Ask until the server answers; a whole outage is one line in the log."""
        session, _ = self._open()
        failures = 0
        try:
            while True:
                try:
                    answer = await ask()
                except (Unreachable, OutcomeUnknown, NotReady) as error:
                    session.outage.report_failure(
                        what, self._options.policy.stream, error
                    )
                    failures += 1
                    await asyncio.sleep(RECONNECT.delay(failures))
                else:
                    session.outage.report_recovery(what, self._options.policy.stream)
                    return answer
        finally:
            # A caller that gives up must not keep an outage from ending.
            session.outage.clear(self._options.policy.stream, what)

    def _sender(self) -> Sender:
        session = self._membership.here(self._options.stack.listeners)
        sender = self._senders.get(session)
        if sender is None:
            _, stream = self._open()
            sender = self._senders[session] = Sender(
                session,
                _OwnStream(stream, self._options.job_class),
                self._connect_timeout,
                around=self._options.stack.enqueue,
                promoter=self._worker,
            )
        return sender


class _Worker:
    """What promotes the jobs of a queue in this process, while it runs here."""

    def __init__(self) -> None:
        self.handle: Promoter | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def due_in(self, delay: float) -> None:
        """A job will be due in so many seconds."""
        if self.handle is not None and self.loop is asyncio.get_running_loop():
            self.handle.due_in(delay)


class _OwnStream:
    """Where the jobs of one class go, and no others."""

    def __init__(self, stream: Stream, job_class: type[Job]) -> None:
        self._stream = stream
        self._job_class = job_class

    def stream_of(self, job: Job) -> Stream:
        """The queue's; raises OptionError for jobs of another class."""
        given: object = job
        if not isinstance(given, self._job_class):
            rule = (
                f"this queue is of {self._job_class.__name__}; enqueue it with a"
                " Producer, or with a queue of its own class"
            )
            raise OptionError("job", type(given).__name__, rule)
        return self._stream
