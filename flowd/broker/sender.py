"""Send jobs: encode, gather into batches, append; for producers and queues.

Path: producer -> here -> stream -> fetcher.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final, Protocol, TypeGuard, cast

from flowd.broker.batches import Batch, Streams, batches
from flowd.broker.commands import EnqueueCommand, enqueue_command
from flowd.broker.durability import Durability, Durable, check_durable
from flowd.broker.extension import EnqueueCall, EnqueueExtension
from flowd.broker.gate import GateAdmission
from flowd.broker.idempotency import Idempotency
from flowd.broker.retry import call_with_retry
from flowd.broker.session import Session
from flowd.broker.stream import Stream
from flowd.errors import (
    BulkError,
    NotDurable,
    NotReady,
    OptionError,
    OutcomeUnknown,
    ServerError,
    Unreachable,
)
from flowd.model.item import Item, items_of
from flowd.model.job import Job
from flowd.model.middleware import EnqueueMiddleware
from flowd.model.policy import Policy

__all__ = ["Promoter", "Sender", "Senders"]

_IDEMPOTENCY: Final = Idempotency()
_GATE: Final = GateAdmission()


class Promoter(Protocol):
    """A worker of this process that promotes jobs when they are due."""

    def due_in(self, delay: float) -> None:
        """A job will be due in so many seconds."""
        ...


class Senders:
    """The sender of each session that its user joins, made at the first job.

    Weak: a session ends with its event loop, and its sender with it.
    """

    def __init__(self) -> None:
        self._senders: weakref.WeakKeyDictionary[Session, Sender] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, session: Session, make: Callable[[Session], Sender]) -> Sender:
        """The sender of a session."""
        sender = self._senders.get(session)
        if sender is None:
            sender = self._senders[session] = make(session)
        return sender

    def clear(self) -> None:
        """Forget them: what they are made of has changed, or their user closes."""
        self._senders.clear()


class Sender:
    """Sends jobs over a session that its user opens and closes.

    Args:
        session: the open one.
        streams: where jobs go.
        connect_timeout: as `Producer`.
        around: the middleware.
        promoter: has to know when a delayed job is due; None: no worker runs here.
        policy: the rules of the jobs; None: those of their classes.
    """

    def __init__(
        self,
        session: Session,
        streams: Streams,
        connect_timeout: float,
        *,
        around: EnqueueMiddleware | None,
        promoter: Promoter | None = None,
        policy: Policy | None = None,
    ) -> None:
        # Weak, because a producer remembers its sender for as long as there is a session.
        self._session = weakref.ref(session)
        self._around = around
        self._promoter = promoter
        self._policy = policy
        self._durability = session.durability
        self._streams = streams
        self._connect_timeout = connect_timeout

    async def send(self, item: Item[Job], durable: Durable | bool) -> str:
        """Enqueue one job; returns its id. Errors are those of `Producer.enqueue`."""
        check_durable(durable)
        if self._around is None:
            return await self._send(item, durable)

        async def send(items: Iterable[Item[Job]]) -> list[str]:
            return [await self._send(each, durable) for each in items]

        stream = self._streams.stream_of(item.job).keys.stream
        # Whatever its annotation says, it is code of the user.
        ids = cast("object", await self._around(stream, (item,), send))
        if not _are_ids(ids) or len(ids) != 1:
            rule = "one job was enqueued, so it must return what send returned: one id"
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
        stored: list[str] = []
        unknown = 0

        async def send(each: Iterable[Item[Job]]) -> list[str]:
            nonlocal unknown
            try:
                sent = await self._send_all(each, durable)
            except BulkError as error:
                stored.extend(error.ids)
                unknown += error.unknown
                raise
            stored.extend(sent)
            return sent

        try:
            items = items_of(jobs)
            for stream, some in groupby(
                items, lambda each: self._streams.stream_of(each.job)
            ):
                ids += await self._around(stream.keys.stream, some, send)
        except Exception as error:  # of the iterable, or of the middleware
            # What it says may be less than what is stored: it may fail after it has sent.
            cause = error.cause if isinstance(error, BulkError) else error
            raise BulkError(stored, unknown, cause) from cause
        return ids

    async def _send(self, item: Item[Job], durable: Durable | bool) -> str:
        stream = self._streams.stream_of(item.job)
        command = enqueue_command(item, self._policy)
        self._list_queue(stream, durable)
        plain = command.key is None and command.gate is None and not command.waits
        if plain and not durable:
            return await call_with_retry(
                lambda: stream.add(command.fields, command.id), self._connect_timeout
            )
        (result,) = await self._enqueue(Batch(stream, [command]), durable)
        if isinstance(result, ServerError):
            raise result
        return result

    def _list_queue(self, stream: Stream, durable: Durable | bool) -> None:
        session = self._session()
        if session is not None:
            session.keep_listed(self._durability.over(stream) if durable else stream)

    async def _send_all(
        self, jobs: Iterable[Job | Item[Job]], durable: Durable | bool
    ) -> list[str]:
        ids: list[str] = []
        sending: asyncio.Task[None] | None = None
        try:
            try:
                for batch in batches(jobs, self._streams, self._policy):
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
        self, batch: Batch, ids: list[str], durable: Durable | bool
    ) -> None:
        self._list_queue(batch.stream, durable)
        try:
            results = await self._enqueue(batch, durable)
        except (Unreachable, NotReady):
            raise  # nothing was stored
        except NotDurable as error:
            if not error.ids:
                raise
            raise _Unknown(len(error.ids), error) from error
        except ServerError as error:
            raise _Unknown(len(batch), error) from error
        for result in results:
            if not isinstance(result, ServerError):
                ids.append(result)
            elif isinstance(result, OutcomeUnknown):
                unknown = sum(isinstance(each, OutcomeUnknown) for each in results)
                raise _Unknown(unknown, result) from result
            else:
                raise result

    async def _enqueue(
        self, batch: Batch, durable: Durable | bool
    ) -> list[str | ServerError]:
        extensions: list[EnqueueExtension] = []
        if durable:
            wanted = Durable() if durable is True else durable
            extensions.append(Durability(self._durability, wanted))
        if batch.commands:
            extensions += (_IDEMPOTENCY, _GATE)
        call = EnqueueCall(
            stream=batch.stream,
            jobs=batch.commands,
            entries=batch.entries,
            lasts=self._connect_timeout,
        )
        for extension in extensions:
            call = extension.on_enqueue(call)
        try:
            return await call_with_retry(
                call.send, self._connect_timeout, repeatable=call.repeatable
            )
        finally:
            if self._promoter is not None and (
                waits := [_due_in(each) for each in batch.commands if each.waits]
            ):
                self._promoter.due_in(min(waits))


def _are_ids(given: object) -> TypeGuard[Sequence[str]]:
    return isinstance(given, list | tuple)


def _due_in(command: EnqueueCommand) -> float:
    """Seconds until a job is due, by the clock of this machine."""
    if command.due:
        return max(0.0, command.due - time.time())
    return command.delay


class _Unknown(Exception):
    """So many jobs of a batch may be stored."""

    def __init__(self, jobs: int, cause: ServerError) -> None:
        super().__init__(jobs, cause)
        self.jobs = jobs
        self.cause = cause
