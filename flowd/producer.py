"""Enqueue jobs without a handler.

Path: here -> sender -> stream -> consumer.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from datetime import datetime
from typing import Self

import redis.asyncio

from flowd.broker.connection import Connection
from flowd.broker.durability import Durable
from flowd.broker.sender import Sender
from flowd.broker.session import Session, SessionUser
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.item import KEY_TTL, Item
from flowd.model.job import Job, spec_of
from flowd.model.middleware import Middleware, MiddlewareChain
from flowd.model.timing import Seconds, seconds

__all__ = ["Producer"]


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
        self._stack = MiddlewareChain(middleware)
        self._connect_timeout = seconds("connect_timeout", connect_timeout)
        self._membership = SessionUser(self._address)
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
                _Streams(session.connection),
                self._connect_timeout,
                around=self._stack.enqueue,
            )
        return self._senders[session]


class _Streams:
    """Where jobs go by the rules of their class, over one link."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams: dict[tuple[str, str], Stream] = {}

    def stream_of(self, job: Job) -> Stream:
        """By the rules of its class."""
        policy = spec_of(type(job)).policy
        place = (policy.stream, policy.group)
        if place not in self._streams:
            self._streams[place] = Stream(self._connection, *place)
        return self._streams[place]
