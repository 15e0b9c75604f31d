"""Enqueue from code that does not await: Django, Flask, scripts.

A thread with an event loop runs a `Producer`; a call hands it the job and waits. So
scripts, guarantees and errors are the same, and threads that enqueue at the same time
share one connection and its round trips.
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
from flowd.model.item import KEY_TTL, Item
from flowd.model.job import Job
from flowd.model.middleware import Middleware
from flowd.model.timing import Seconds
from flowd.producer import Producer

__all__ = ["SyncProducer"]

R = TypeVar("R")

_AT_ONCE: Final = 5_000
_PATIENCE: Final = 2.0
_STORED: Final = "flowd: the {} jobs before these are stored."


class SyncProducer:
    """A `Producer` whose methods wait, instead of being awaited; also as `with`.

    Make one for the whole process, where its settings are, and use it in any thread. It
    connects at the first call and closes when the program ends. If its thread dies, the
    next call starts another. A forked child, as of a
    server that forks its workers, has a connection of its own. Where an event loop runs,
    a call works, but holds up that loop: use `Producer` there.

    Args:
        url: as `Producer`.
        redis: as `Producer`.
        connect_timeout: as `Producer`.
        middleware: as `Producer`; it runs in the thread with the event loop.

    Raises:
        OptionError: no server is named, or the URL is none.
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
        """Close the connection and end the thread; a later call opens them anew.

        Calls that still wait, in other threads, raise `OutcomeUnknown`.
        """
        self._background.close()

    def enqueue(
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
        """Enqueue one job and return its id; as `Producer.enqueue`.

        What interrupts the wait, as Ctrl-C does, is raised with a note: the job may be
        stored, if it was under way by then.
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
        """Enqueue many jobs and return their ids; as `Producer.enqueue_bulk`.

        `jobs` is read in the calling thread, up to 5,000 ahead of what is stored.
        """
        ids: list[str] = []
        rest = iter(jobs)
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
                    raise  # an argument that cannot be
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
                # It is not the answer, but what a signal has raised in this thread.
                error.add_note(
                    "flowd: the enqueue was broken off. What was under way may be"
                    " stored; under a key= it is safe to enqueue again."
                )
            raise


class _Answer(Generic[R]):
    """What a call returned, or raised of what would end the thread (`SystemExit`)."""

    def __init__(self, result: R | None, raised: BaseException | None = None) -> None:
        self._result = result
        self._raised = raised

    @property
    def value(self) -> R:
        """The result.

        Raises:
            BaseException: what was raised instead.
        """
        if self._raised is not None:
            raise self._raised
        return cast("R", self._result)


class _Background:
    """Where a producer runs: a thread that is started when there is something to do."""

    def __init__(self, make: Callable[[], Producer]) -> None:
        self._make = make
        # What is wrong with the arguments is said now; the first thread has this one.
        self._made: Producer | None = make()
        # A signal's handler may come in at any line, and enqueue or close as well.
        self._lock = threading.RLock()
        self._threads: list[_Thread] = []
        """None or one. At the end of the program, or of this object, it is ended; what
        the program does later at its exit may start another."""

        weakref.finalize(self, _end_all, self._threads)
        _backgrounds.add(self)

    def ask(
        self, ask: Callable[[Producer], Coroutine[object, object, R]]
    ) -> Future[_Answer[R]]:
        """Begin a call, from any thread; in a new one, if the last has died."""
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
        """Start afresh in a forked child, where no thread runs but the one that forked."""
        self._lock = threading.RLock()
        while self._threads:
            self._threads.pop().disown()


def _end_all(threads: list[_Thread]) -> None:
    while threads:
        threads.pop().end()


class _Thread:
    """A producer, and the event loop that it runs on, in a thread of their own."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._ending = False
        self.over = False
        """Whether the thread takes no call any more."""

        self._calls: dict[Future[_Answer[Any]], Coroutine[object, object, object]] = {}
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._thread = threading.Thread(
            target=self._run, name="flowd-producer", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            # From Python 3.12 on none can be started once the program is ending.
            self._loop.close()
            raise Unreachable(f"nothing was sent: {error}") from error

    def ask(
        self, ask: Callable[[Producer], Coroutine[object, object, R]]
    ) -> Future[_Answer[R]]:
        """Begin a call; it is cancelled if the thread ends before."""
        call = _caught(ask, self._producer)
        try:
            answer = asyncio.run_coroutine_threadsafe(call, self._loop)
        except RuntimeError as error:  # it has ended just now
            call.close()
            raise Unreachable(f"nothing was sent: {error}") from error
        self._calls[answer] = call
        answer.add_done_callback(lambda done: self._calls.pop(done, None))
        if self.over:
            answer.cancel()
        return answer

    def end(self) -> None:
        """Cancel what waits, close the connection and end the thread."""
        self._ending = True
        with suppress(RuntimeError):  # the thread has died, and its loop is closed
            self._loop.call_soon_threadsafe(self._loop.stop)
        # The garbage collector may call this anywhere, also in the thread itself.
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)

    def disown(self) -> None:
        """Let go of the sockets, in a forked child: they are the parent's.

        What still refers to them here, be it a destructor, then reaches nobody. So with
        the selector: to take a socket out of it would make the parent deaf.
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
                    # What a task of a middleware raises ends neither thread nor calls.
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
    """The next few; the iterable may fail, as it may in `Producer.enqueue_bulk`."""
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
