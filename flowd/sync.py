"""Enqueue from code that does not await: Django, Flask, scripts.

A background thread with an event loop runs a `Producer`. A call passes the job to that
thread and waits. Guarantees and errors are those of `Producer`, and threads that enqueue
at the same time share one connection and its round trips.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, Self, TypeVar, cast

import redis.asyncio

from flowd.broker.durability import Durable
from flowd.errors import BulkError, OutcomeUnknown, ServerError, Unreachable
from flowd.model.item import KEY_TTL, Item, many
from flowd.model.job import Job
from flowd.model.middleware import Middleware
from flowd.model.timing import Seconds
from flowd.producer import Producer

__all__ = ["SyncProducer"]

R = TypeVar("R")

_AT_ONCE: Final = 5_000
_JOIN_TIMEOUT: Final = 2.0
_STORED: Final = "flowd: the {} jobs before these are stored."


class SyncProducer:
    """A producer with blocking methods, for code without asyncio; a context manager.

    Create one for the whole process and use it in any thread. It connects at the first
    call and closes when the program ends. If its background thread dies, the next call
    starts another. A forked child, as of a prefork web server, opens its own connection.
    In a thread that runs an event loop a call blocks that loop: use `Producer` there.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `embedded:` or `embedded:PATH`; the
            default is the environment variable `FLOWD_URL`.
        redis: a redis-py client, instead of `url`. Only its settings are used.
        connect_timeout: seconds after which `enqueue` raises `Unreachable`.
        middleware: runs around every enqueue, in the background thread; the first is
            the outermost.

    Raises:
        OptionError: no server is named, or an argument is invalid.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        redis: redis.Redis | redis.asyncio.Redis | None = None,
        connect_timeout: float = 5.0,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self._background = _Background(
            partial(
                Producer,
                url,
                redis=redis,
                connect_timeout=connect_timeout,
                middleware=tuple(middleware),
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the background thread.

        Calls that still wait, in other threads, raise `OutcomeUnknown`. A later call
        opens a new connection.
        """
        self._background.close()

    def enqueue(
        self,
        job: Job,
        *,
        id: str = "*",  # noqa: A002 - the name in the Rust crate flowd
        delay: Seconds = 0.0,
        at: datetime | None = None,
        key: str | None = None,
        key_ttl: Seconds = KEY_TTL,
        durable: Durable | bool = False,
    ) -> str:
        """Enqueue one job and return its id.

        If Ctrl-C or a signal interrupts the call, its exception has a note: the job may
        be stored.

        Args:
            job: an instance of a generated class; its stream is the schema's.
            id: the stream's entry id; `*` lets the server choose.
            delay: how long until the job may start: seconds, or a `timedelta`.
            at: when it may start, instead of `delay`: a `datetime` with a time zone.
                The server's clock decides; a time in the past is due at once.
            key: an idempotency key. While Redis remembers it, enqueuing under the same
                key stores nothing and returns the first job's id.
            key_ttl: how long `key` is remembered, also after the job has ended:
                seconds, or a `timedelta`.
            durable: return only when the job is confirmed to be on the server's disk,
                or as `Durable` says.

        Raises:
            EncodeError: a value cannot be serialized.
            PayloadTooLarge: the fields have more than 256 KiB.
            OptionError: an invalid argument, or `delay` and `at` together.
            IdNotIncreasing: `id` is not above the stream's last.
            Unreachable: no connection within `connect_timeout`; nothing was stored.
            OutcomeUnknown: the answer was lost, so the job may be stored. With a `key`
                the call is first repeated, for up to `connect_timeout`.
            QueueFull: Redis is out of memory; nothing was stored.
            NotDurable: the job was not confirmed in time, or cannot be. Enqueue again
                under the same `key` to wait again.
        """
        return self._wait(
            lambda producer: producer.enqueue(
                job,
                id=id,
                delay=delay,
                at=at,
                key=key,
                key_ttl=key_ttl,
                durable=durable,
            )
        )

    def enqueue_bulk(
        self, jobs: Iterable[Job | Item[Job]], *, durable: Durable | bool = False
    ) -> list[str]:
        """Enqueue many jobs, one round trip for each 500 jobs or 1 MB of one class.

        Args:
            jobs: an iterable of jobs; an `Item` gives a job its own id, delay or key.
                It is read in the calling thread, up to 5,000 jobs ahead of the sending.
            durable: as for `enqueue`; one confirmation for each round trip.

        Returns:
            The job ids, in order.

        Raises:
            OptionError: `jobs` is not an iterable; nothing was sent.
            BulkError: the batch was interrupted: `ids` are stored, `unknown` more may
                be, and nothing after them is. Its `cause` says why.
        """
        ids: list[str] = []
        rest = iter(many(jobs))
        while some := _read(rest, ids):
            try:
                ids += self._wait(partial(_send, some, durable))
            except BulkError as error:
                stored = [*ids, *error.ids]
                raise BulkError(stored, error.unknown, error.cause) from error.cause
            except OutcomeUnknown as error:
                raise BulkError(ids, len(some), error) from error
            except Exception as error:
                if not ids and not isinstance(error, ServerError):
                    raise  # an invalid argument
                raise BulkError(ids, 0, error) from error
            except BaseException as error:
                error.add_note(_STORED.format(len(ids)))
                raise
        return ids

    def _wait(self, ask: Callable[[Producer], Coroutine[object, object, R]]) -> R:
        answer = self._background.ask(ask)
        try:
            return answer.result().value
        except CancelledError:
            raise OutcomeUnknown("the producer was closed before an answer") from None
        except BaseException as error:
            if answer.cancel() or answer.exception() is not error:
                # Not the answer: a signal handler raised it in this thread.
                error.add_note(
                    "flowd: the enqueue was interrupted. The jobs that were being sent"
                    " may be stored; with key= it is safe to enqueue again."
                )
            raise


class _Answer(Generic[R]):
    """The result of a call, or an exception that would end the thread (`SystemExit`)."""

    def __init__(self, result: R | None, raised: BaseException | None = None) -> None:
        self._result = result
        self._raised = raised

    @property
    def value(self) -> R:
        """The result.

        Raises:
            BaseException: the exception, if the call raised one.
        """
        if self._raised is not None:
            raise self._raised
        return cast("R", self._result)


class _Background:
    """Runs a producer in a thread, which the first call starts."""

    def __init__(self, make: Callable[[], Producer]) -> None:
        self._make = make
        # Invalid arguments raise here; the first thread uses this producer.
        self._made: Producer | None = make()
        # A signal handler may interrupt at any line, and call enqueue or close itself.
        self._lock = threading.RLock()
        self._threads: list[_Thread] = []
        """None or one. It is ended with the program, or with this object. An exit handler
        that enqueues later may start another."""

        weakref.finalize(self, _end_all, self._threads)
        _backgrounds.add(self)

    def ask(
        self, ask: Callable[[Producer], Coroutine[object, object, R]]
    ) -> Future[_Answer[R]]:
        """Begin a call, from any thread; starts a new thread if the last has died."""
        with self._lock:
            if self._threads and self._threads[0].over:
                self._threads.clear()
            if not self._threads:
                producer, self._made = self._made or self._make(), None
                self._threads.append(_Thread(producer))
            return self._threads[0].ask(ask)

    def close(self) -> None:
        """End the thread, if there is one."""
        with self._lock:
            _end_all(self._threads)

    def forget(self) -> None:
        """Reset in a forked child, where only the thread that forked runs."""
        self._lock = threading.RLock()
        while self._threads:
            self._threads.pop().disown()


def _end_all(threads: list[_Thread]) -> None:
    while threads:
        threads.pop().end()


class _Thread:
    """A thread with an event loop that runs a producer."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._ending = False
        self.over = False
        """Whether the thread accepts no more calls."""

        self._calls: dict[Future[_Answer[Any]], Coroutine[object, object, object]] = {}
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._thread = threading.Thread(
            target=self._run, name="flowd-producer", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            # Since Python 3.12 no thread can start while the interpreter shuts down.
            self._loop.close()
            raise Unreachable(f"nothing was sent: {error}") from error

    def ask(
        self, ask: Callable[[Producer], Coroutine[object, object, R]]
    ) -> Future[_Answer[R]]:
        """Begin a call; it is cancelled if the thread ends first."""
        call = _caught(ask, self._producer)
        try:
            answer = asyncio.run_coroutine_threadsafe(call, self._loop)
        except RuntimeError as error:  # the loop was closed in the meantime
            call.close()
            raise Unreachable(f"nothing was sent: {error}") from error
        self._calls[answer] = call
        answer.add_done_callback(lambda done: self._calls.pop(done, None))
        if self.over:
            answer.cancel()
        return answer

    def end(self) -> None:
        """Cancel waiting calls, close the connection and end the thread."""
        self._ending = True
        with suppress(RuntimeError):  # the thread has died and its loop is closed
            self._loop.call_soon_threadsafe(self._loop.stop)
        # The garbage collector may call this anywhere, also in the thread itself.
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_TIMEOUT)

    def disown(self) -> None:
        """Detach from the parent's sockets, in a forked child.

        Their descriptors now refer to /dev/null, so that no destructor in the child
        reaches the server. The selector too: parent and child share it, and a socket
        that the child unregisters would be gone for the parent.
        """
        nowhere = os.open(os.devnull, os.O_RDWR)
        sockets = [key.fd for key in self._selector.get_map().values()]
        for descriptor in (self._selector.fileno(), *sockets):
            os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                while not self._ending:
                    # A middleware's task must end neither the thread nor the calls.
                    with suppress(SystemExit, KeyboardInterrupt):
                        runner.get_loop().run_forever()
            finally:
                self.over = True
                try:
                    runner.run(self._close())
                finally:
                    for answer, call in tuple(self._calls.items()):
                        answer.cancel()
                        call.close()

    async def _close(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._producer.aclose()


async def _caught(
    ask: Callable[[Producer], Coroutine[object, object, R]], producer: Producer
) -> _Answer[R]:
    try:
        return _Answer(await ask(producer))
    except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end its loop
        return _Answer(None, error)


async def _send(
    jobs: Sequence[Job | Item[Job]], durable: Durable | bool, producer: Producer
) -> list[str]:
    return await producer.enqueue_bulk(jobs, durable=durable)


def _read(jobs: Iterator[Job | Item[Job]], ids: Sequence[str]) -> list[Job | Item[Job]]:
    """The next jobs of the iterable; its errors become a `BulkError`."""
    try:
        return list(islice(jobs, _AT_ONCE))
    except Exception as error:
        raise BulkError(ids, 0, error) from error
    except BaseException as error:
        error.add_note(_STORED.format(len(ids)))
        raise


_backgrounds: Final[weakref.WeakSet[_Background]] = weakref.WeakSet()


def _forked() -> None:
    for background in list(_backgrounds):
        background.forget()


os.register_at_fork(after_in_child=_forked)
