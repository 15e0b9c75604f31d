"""Enqueue from code that does not await: Django, Flask, scripts.

A background thread with an event loop (`background`) runs a `Producer`. A call passes the
job to that thread and waits. Guarantees and errors are those of `Producer`, and threads that enqueue
at the same time share one connection and its round trips.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final, Self, TypeVar

from flowd.background import BackgroundProducer
from flowd.broker.control import CancelResult
from flowd.broker.durability import Durable
from flowd.broker.settings import Client
from flowd.errors import BulkError, OutcomeUnknown, ServerError
from flowd.errors.option import iterable
from flowd.model.expiry import Expires
from flowd.model.item import KEY_TTL, Item, many
from flowd.model.job import Job
from flowd.model.middleware import MIDDLEWARE, Middleware
from flowd.model.timing import Seconds
from flowd.producer import Producer

__all__ = ["SyncProducer"]

R = TypeVar("R")

_AT_ONCE: Final = 5_000
_STORED: Final = "flowd: the {} jobs before these are stored."


class SyncProducer:
    """A producer with blocking methods, for code without asyncio; a context manager.

    Create one for the whole process and use it in any thread. It connects at the first
    call and closes when the program ends. If its background thread dies, the next call
    starts another. A forked child, as of a prefork web server, opens its own connection.
    In a thread that runs an event loop a call blocks that loop: use `Producer` there.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://HOST,HOST/NAME`,
            `redis+cluster://HOST,HOST`, `embedded:` or `embedded:PATH`; the
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
        redis: Client | None = None,
        connect_timeout: float = 5.0,
        middleware: Iterable[Middleware] = (),
    ) -> None:
        iterable("middleware", middleware, MIDDLEWARE)
        self._background = BackgroundProducer(
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
        delay: Seconds | None = None,
        at: datetime | None = None,
        key: str | None = None,
        key_ttl: Seconds = KEY_TTL,
        expires: Expires | None = None,
        priority: str | None = None,
        durable: Durable | bool = False,
    ) -> str:
        """Enqueue one job and return its id.

        If Ctrl-C or a signal interrupts the call, its exception has a note: the job may
        be stored.

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
        return self._wait(
            lambda producer: producer.enqueue(
                job,
                id=id,
                delay=delay,
                at=at,
                key=key,
                key_ttl=key_ttl,
                expires=expires,
                priority=priority,
                durable=durable,
            )
        )

    def enqueue_bulk(
        self, jobs: Iterable[Job | Item[Job]], *, durable: Durable | bool = False
    ) -> list[str]:
        """Enqueue many jobs, one round trip for each 500 jobs or 1 MB of one class.

        The iterable is read in this thread, up to 5,000 jobs ahead of the sending.

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
        ids: list[str] = []
        rest = iter(many(jobs))
        while some := _read(rest, ids):
            try:
                ids += self._wait(partial(_send, some, durable))
            except BulkError as error:
                raise error.after(ids) from error.cause
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

    def cancel(self, job_class: type[Job], job_id: str) -> CancelResult:
        """Cancel a job: one that waits is gone at once, a running one is marked.

        The worker that runs it hears of it at once and cancels the handler; where its
        channel is away, it sees the mark within a quarter of its lease, or within two
        seconds if that is less. A job that ends by itself before that is done. For a job
        that waited, the middleware here gets the event `removed`.

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
        return self._wait(lambda producer: producer.cancel(job_class, job_id))

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
