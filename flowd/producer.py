"""Enqueue jobs without a handler.

Path: Producer -> broker.sender -> broker.stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from flowd.broker.connection import Connection
from flowd.broker.control import CancelResult, cancel_by_id
from flowd.broker.durability import Durable
from flowd.broker.sender import Sender, Senders
from flowd.broker.session import Session, SessionUser
from flowd.broker.settings import Client
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.errors import FormatError, OptionError
from flowd.errors.option import wait
from flowd.model.event import EventBus
from flowd.model.expiry import Expires
from flowd.model.item import KEY_TTL, Item, many
from flowd.model.job import Job, JobSpec, spec_of
from flowd.model.middleware import Middleware, MiddlewareChain
from flowd.model.timing import Seconds

__all__ = ["OneStream", "Producer", "check_class"]


class Producer:
    """Enqueues jobs of any class, without a handler; an async context manager.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://HOST,HOST/NAME`,
            `redis+cluster://HOST,HOST`, `embedded:` or `embedded:PATH`; the
            default is the environment variable `FLOWD_URL`.
        redis: a redis-py client, instead of `url`. Only its settings are used.
        connect_timeout: seconds after which `enqueue` raises `Unreachable`.
        middleware: runs around every enqueue; the first is the outermost.

    Raises:
        OptionError: no server is named, or an argument is invalid.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        redis: Client | None = None,
        connect_timeout: float = 5.0,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self._address = Address.of(url, redis)
        self._chain = MiddlewareChain(middleware)
        self._connect_timeout = wait("connect_timeout", connect_timeout)
        self._membership = SessionUser(self._address)
        self._senders = Senders()

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, unless another object in this process uses it."""
        self._senders.clear()
        await self._membership.leave()

    async def enqueue(
        self,
        job: Job,
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
        """Enqueue one job and return its id.

        Args:
            job: an instance of a generated class; its stream is the schema's.
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
        return await self._open().send(item, durable)

    async def enqueue_bulk(
        self, jobs: Iterable[Job | Item[Job]], *, durable: Durable | bool = False
    ) -> list[str]:
        """Enqueue many jobs, one round trip for each 500 jobs or 1 MB of one class.

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
        return await self._open().send_all(many(jobs), durable)

    async def cancel(self, job_class: type[Job], job_id: str) -> CancelResult:
        """Cancel a job: one that waits is gone at once, a running one is marked.

        The worker that runs it hears of it at once and cancels the handler; where its
        channel is away, it sees the mark within a quarter of its lease, or within two
        seconds (a longer `block`: within that) if that is less. A job that ends by itself
        before that is done. For a job that waited, the middleware here gets the event
        `removed`.

        Args:
            job_class: its stream is the schema's.
            job_id: as `enqueue` returned it.

        Returns:
            `cancelled`, `cancelling` for one that runs, or `not_found` for one that has
            ended or never was.

        Raises:
            FormatError: `flowd-gen` did not write the class.
            StreamShared: another group reads the stream.
            ServerError: the server cannot be asked. Repeating the call is safe; of a job
                that was cancelled when the answer was lost it says `not_found`.
        """
        policy = spec_of(job_class).policy
        connection = self._membership.here().connection
        events = EventBus.to(policy.stream, policy.group, self._chain.listeners)
        return await cancel_by_id(
            Stream(connection, policy.stream, policy.group), job_id, events
        )

    def _open(self) -> Sender:
        return self._senders.of(self._membership.here(), self._sender)

    def _sender(self, session: Session) -> Sender:
        streams = _Streams(session.connection)
        return Sender(
            session, streams, self._connect_timeout, around=self._chain.enqueue
        )


class OneStream:
    """Sends the jobs of one class to one stream, and refuses other jobs."""

    def __init__(self, stream: Stream, job_class: type[Job]) -> None:
        self._stream = stream
        self._job_class = job_class

    def stream_of(self, job: Job) -> Stream:
        """The queue's stream; raises OptionError for jobs of another class."""
        check_class(job, self._job_class)
        return self._stream


class _Streams:
    """Sends each job to the stream of its class, over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams: dict[tuple[str, str], Stream] = {}

    def stream_of(self, job: Job) -> Stream:
        """The stream of the job's class; raises OptionError if it is not a job."""
        try:
            policy = spec_of(type(job)).policy
        except FormatError:
            if type(job).__module__ == "builtins":  # a class, a dict, a text, None
                raise _not_a_job(job) from None
            raise
        place = (policy.stream, policy.group)
        if place not in self._streams:
            self._streams[place] = Stream(self._connection, *place)
        return self._streams[place]


def check_class(given: object, job_class: type[Job]) -> None:
    """Refuse what is no job of a queue's class.

    Raises:
        OptionError: it is a job of another class, or none.
    """
    if not isinstance(given, job_class):
        raise _not_a_job(given, job_class.__name__)


def _not_a_job(given: object, wanted: str = "") -> OptionError:
    """Why an object cannot be enqueued, and what to enqueue instead."""
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    if isinstance(given, type):
        rule = f"enqueue an instance of the class, as {name}(...)"
        return OptionError("job", given, rule)
    if wanted and isinstance(getattr(given, "SPEC", None), JobSpec):
        rule = (
            f"this queue is of {wanted}; enqueue it with a Producer, or with a queue of"
            " its own class"
        )
    else:
        example = wanted or "Email"
        rule = f"enqueue an instance of a class that flowd-gen wrote, as {example}(...)"
    return OptionError("job", name, rule)
