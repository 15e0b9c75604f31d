"""Enqueue jobs: check, encode, append.

Path: here -> stream -> consumer.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final, Self, TypeVar

import redis.asyncio

from flowd.broker.commands import Addition, addition_of
from flowd.broker.connection import Link
from flowd.broker.durability import Durability, Durable, check_durable
from flowd.broker.extension import EnqueueCall, EnqueueExtension
from flowd.broker.idempotency import Idempotency
from flowd.broker.retry import insist
from flowd.broker.session import Membership, Session
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.errors import (
    BulkError,
    NotDurable,
    NotReady,
    OptionError,
    OutcomeUnknown,
    ServerError,
    Unreachable,
)
from flowd.model.item import KEY_TTL, Item, items_of
from flowd.model.job import Job, spec_of
from flowd.model.middleware import Middleware, Sending, Stack
from flowd.model.timing import Seconds, seconds

__all__ = ["BATCH_JOBS", "Producer", "Sender"]

R = TypeVar("R")

BATCH_JOBS: Final = 500
"""How many jobs go in one round trip, at most."""

_BATCH_BYTES: Final = 1_000_000
_IDEMPOTENCY: Final = Idempotency()


class Sender:
    """Sends jobs over a session that somebody else opened and closes.

    Args:
        session: the open one.
        stream_of: where a job goes.
        connect_timeout: as `Producer`.
        around: the middleware.
        delayed: told of every job that was sent with a delay, in seconds.
    """

    def __init__(
        self,
        session: Session,
        stream_of: Callable[[Job], Stream],
        connect_timeout: float,
        *,
        around: Sending | None,
        delayed: Callable[[float], None] | None = None,
    ) -> None:
        # Weak, because a producer remembers its sender for as long as there is a session.
        self._session = weakref.ref(session)
        self._around = around
        self._delayed = delayed
        self._prover = session.prover
        self._stream_of = stream_of
        self._connect_timeout = connect_timeout

    async def send(self, item: Item[Job], durable: Durable | bool) -> str:
        """Enqueue one job; returns its id. Errors are those of `Producer.enqueue`."""
        check_durable(durable)
        if self._around is None:
            return await self._send(item, durable)

        async def send(items: Iterable[Item[Job]]) -> list[str]:
            return [await self._send(each, durable) for each in items]

        stream = self._stream_of(item.job).keys.stream
        ids = await self._around(stream, (item,), send)
        if len(ids) != 1:
            rule = "one job was enqueued, so it must return one id"
            raise OptionError("middleware", ids, rule)
        return ids[0]

    async def send_all(
        self, jobs: Iterable[Job | Item[Job]], durable: Durable | bool
    ) -> list[str]:
        """Enqueue many jobs; returns their ids. Errors as `Producer.enqueue_bulk`."""
        check_durable(durable)
        if self._around is None:
            return await self._send_all(jobs, durable)
        ids: list[str] = []
        try:
            items = items_of(jobs)
            for stream, some in groupby(items, lambda each: self._stream_of(each.job)):
                ids += await self._around(
                    stream.keys.stream, some, lambda each: self._send_all(each, durable)
                )
        except BulkError as error:
            sent = [*ids, *error.ids]
            raise BulkError(sent, error.unknown, error.cause) from error.cause
        except Exception as error:  # of the iterable, or of the middleware
            raise BulkError(ids, 0, error) from error
        return ids

    async def _send(self, item: Item[Job], durable: Durable | bool) -> str:
        stream, addition = self._stream_of(item.job), addition_of(item)
        self._register(stream, durable)
        if addition.key is None and not addition.waits and not durable:
            return await insist(
                lambda: stream.add(addition.fields, addition.id), self._connect_timeout
            )
        (result,) = await self._enqueue(stream, [addition], durable)
        if isinstance(result, ServerError):
            raise result
        return result

    def _register(self, stream: Stream, durable: Durable | bool) -> None:
        session = self._session()
        if session is not None:
            session.register_once(self._prover.over(stream) if durable else stream)

    async def _send_all(
        self, jobs: Iterable[Job | Item[Job]], durable: Durable | bool
    ) -> list[str]:
        ids: list[str] = []
        sending: asyncio.Task[None] | None = None
        try:
            try:
                for batch in _batches(jobs, self._stream_of):
                    if sending is not None:
                        await sending
                    sending = asyncio.create_task(self._send_batch(batch, ids, durable))
                    # While the server has this one, the next is made ready.
                    await asyncio.sleep(0)  # it begins
                    await asyncio.sleep(0)  # and is written
            finally:
                if sending is not None:
                    await sending
        except _Unknown as error:
            raise BulkError(ids, error.jobs, error.cause) from error.cause
        except Exception as error:  # that of the caller's iterable as well
            raise BulkError(ids, 0, error) from error
        return ids

    async def _send_batch(
        self, batch: _Batch, ids: list[str], durable: Durable | bool
    ) -> None:
        self._register(batch.stream, durable)
        try:
            results = await self._enqueue(batch.stream, batch.additions, durable)
        except (Unreachable, NotReady):
            raise  # nothing was stored
        except NotDurable as error:
            if not error.ids:
                raise
            raise _Unknown(len(error.ids), error) from error
        except ServerError as error:
            raise _Unknown(len(batch.additions), error) from error
        for result in results:
            if isinstance(result, OutcomeUnknown):
                raise _Unknown(1, result) from result
            if isinstance(result, ServerError):
                raise result
            ids.append(result)

    async def _enqueue(
        self, stream: Stream, additions: Sequence[Addition], durable: Durable | bool
    ) -> list[str | ServerError]:
        extensions: list[EnqueueExtension] = [_IDEMPOTENCY]
        if durable:
            proof = Durable() if durable is True else durable
            extensions.insert(0, Durability(self._prover, proof))
        call = EnqueueCall(stream=stream, jobs=additions, lasts=self._connect_timeout)
        for extension in extensions:
            call = extension.on_enqueue(call)
        try:
            return await insist(
                call.send, self._connect_timeout, repeatable=call.repeatable
            )
        finally:
            if self._delayed is not None and (
                waits := [_wait(each) for each in additions if each.waits]
            ):
                self._delayed(min(waits))


def _wait(addition: Addition) -> float:
    """Seconds until a job is due, as far as this machine's clock tells."""
    if addition.due:
        return max(0.0, addition.due - time.time())
    return addition.delay


class _Unknown(Exception):
    """So many jobs of a batch may be stored."""

    def __init__(self, jobs: int, cause: ServerError) -> None:
        super().__init__(jobs, cause)
        self.jobs = jobs
        self.cause = cause


@dataclass(slots=True)
class _Batch:
    """Consecutive jobs of one stream, as many as go in one round trip."""

    stream: Stream
    additions: list[Addition]


def _batches(
    jobs: Iterable[Job | Item[Job]], stream_of: Callable[[Job], Stream]
) -> Iterator[_Batch]:
    batch: _Batch | None = None
    size = 0
    for job in jobs:
        stream = stream_of(job.job if isinstance(job, Item) else job)
        addition = addition_of(job)
        size += addition.size
        if batch is not None and (
            stream is not batch.stream
            or len(batch.additions) == BATCH_JOBS
            or size > _BATCH_BYTES
        ):
            yield batch
            batch = None
        if batch is None:
            batch, size = _Batch(stream, []), addition.size
        batch.additions.append(addition)
    if batch is not None:
        yield batch


class Producer:
    """Enqueues jobs of any class, without a handler; an async context manager.

    Args:
        url: as `Queue`; falls back to `FLOWD_URL`.
        redis: a client whose connection settings are used, instead of `url`.
        connect_timeout: seconds after which `enqueue` gives up on a server that
            cannot be reached.
        middleware: what runs around every enqueue; the first is the outermost.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        redis: redis.Redis | redis.asyncio.Redis | None = None,
        connect_timeout: float = 5.0,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self._address = Address.of(url, redis)
        self._stack = Stack(middleware)
        self._connect_timeout = seconds("connect_timeout", connect_timeout)
        self._membership = Membership(self._address)
        self._senders: weakref.WeakKeyDictionary[Session, Sender] = (
            weakref.WeakKeyDictionary()
        )

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, unless somebody else in this process uses it."""
        self._senders.clear()
        await self._membership.leave()

    async def enqueue(
        self,
        job: Job,
        *,
        id: str = "*",  # noqa: A002 - the seed's name
        delay: Seconds = 0.0,
        at: datetime | None = None,
        key: str | None = None,
        key_ttl: Seconds = KEY_TTL,
        durable: Durable | bool = False,
    ) -> str:
        """Enqueue one job and return its id.

        Args:
            job: an instance of a generated class; its stream is the schema's.
            id: the stream's entry id, as in the seed; `*` lets the server choose.
            delay: how long until the job may start: seconds, or a `timedelta`.
            at: when it may start, instead of `delay`: a `datetime` with a time zone.
                The server's clock decides; what is past is due at once.
            key: an idempotency key. While it is remembered, enqueuing under the same
                key stores nothing and returns the first job's id.
            key_ttl: how long `key` is remembered, whatever becomes of the job:
                seconds, or a `timedelta`. The call repeats itself safely even if it is
                shorter than its tries take.
            durable: return only when the job is proved to be on the server's disk, or
                what else `Durable` says.

        Raises:
            EncodeError: a value has no form on the wire.
            PayloadTooLarge: the fields have more than 256 KiB.
            OptionError: an argument that cannot be, or two that exclude each other, as
                `delay` and `at`; nothing was sent.
            IdNotIncreasing: `id` is not above the stream's last.
            Unreachable: no connection within `connect_timeout`; nothing was stored.
            OutcomeUnknown: the answer was lost, so the job may be stored. With a
                `key` the call is repeated instead, for up to `connect_timeout`, and
                raises this if one of its tries may have stored the job.
            QueueFull: Redis is out of memory; nothing was stored.
            NotDurable: the proof did not come in time, or cannot be had. Enqueue again
                under the same `key` to wait again.
        """
        item = Item(job, id, delay, key, key_ttl, at=at)
        return await self._open().send(item, durable)

    async def enqueue_bulk(
        self, jobs: Iterable[Job | Item[Job]], *, durable: Durable | bool = False
    ) -> list[str]:
        """Enqueue many jobs, one round trip for each 500 jobs or 1 MB of one class.

        Args:
            jobs: any iterable; an `Item` gives a job its own id, delay or key.
            durable: as for `enqueue`; one proof for each round trip.

        Returns:
            The job ids, in order.

        Raises:
            BulkError: it broke off; `ids` are certainly stored, `unknown` more may be,
                and nothing behind them is. The cause may be the iterable's own.
        """
        return await self._open().send_all(jobs, durable)

    def _open(self) -> Sender:
        session = self._membership.here()
        if session not in self._senders:
            self._senders[session] = Sender(
                session,
                _Streams(session.link),
                self._connect_timeout,
                around=self._stack.enqueue,
            )
        return self._senders[session]


class _Streams:
    """Where jobs go by the rules of their class, over one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._streams: dict[tuple[str, str], Stream] = {}

    def __call__(self, job: Job) -> Stream:
        policy = spec_of(type(job)).policy
        place = (policy.stream, policy.group)
        if place not in self._streams:
            self._streams[place] = Stream(self._link, *place)
        return self._streams[place]
