"""Whatever a handler is: a coroutine function, a function, a method, an object."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import TypeAlias

import pytest

from flowd import Context, FlowdError, OptionError, Queue, Retry
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

Call: TypeAlias = tuple[str, str, bool]
"""What a handler got: a word, the job's `to`, and whether on the main thread."""

calls: list[Call] = []


def note(word: str, job: Email) -> None:
    on_main = threading.current_thread() is threading.main_thread()
    calls.append((word, job.to, on_main))


async def with_job(job: Email) -> None:
    note("no context", job)


async def with_context(job: Email, ctx: Context) -> None:
    note(ctx.id, job)


async def with_defaults(job: Email, retries: int = 3, *, quiet: bool = False) -> None:
    note(f"{retries} {quiet}", job)


async def with_everything(*args: Email, **options: bool) -> None:
    note(f"{len(args)} {options}", args[0])


async def two_words(word: str, job: Email, ctx: Context) -> None:
    note(f"{word} {ctx.id}", job)


def in_thread(job: Email) -> None:
    note("no context", job)


def in_thread_with_context(job: Email, ctx: Context) -> None:
    note(ctx.id, job)


def decorated(job: Email) -> Coroutine[object, object, None]:
    """A decorator that forgot to be async returns the coroutine of what it wraps."""
    return with_job(job)


class Mailer:
    """An object whose methods are handlers, and which is one."""

    async def send(self, job: Email, ctx: Context) -> None:
        note(ctx.id, job)

    @classmethod
    async def send_all(cls, job: Email) -> None:
        note("class", job)

    @staticmethod
    async def send_any(job: Email) -> None:
        note("static", job)

    async def __call__(self, job: Email) -> None:
        note("object", job)


class Printer:
    """An object that works in a thread."""

    def __call__(self, job: Email) -> None:
        note("object", job)


Form: TypeAlias = Callable[[Email], object] | Callable[[Email, Context], object]

FORMS: list[tuple[Form, str, bool]] = [
    (with_job, "no context", True),
    (with_context, "1-1", True),
    (with_defaults, "3 False", True),
    (with_everything, "1 {}", True),
    (functools.partial(two_words, "partial"), "partial 1-1", True),
    (functools.partial(with_defaults, quiet=True), "3 True", True),
    (Mailer().send, "1-1", True),
    (Mailer.send_all, "class", True),
    (Mailer.send_any, "static", True),
    (Mailer(), "object", True),
    (lambda job: with_job(job), "no context", True),  # noqa: PLW0108 - a lambda
    (decorated, "no context", True),
    (in_thread, "no context", False),
    (in_thread_with_context, "1-1", False),
    (Printer(), "object", False),
]


@pytest.mark.parametrize(("handler", "word", "on_main"), FORMS)
async def test_every_form_is_called(
    redis_url: str, stream: str, handler: Form, word: str, *, on_main: bool
) -> None:
    """With the job, or with job and context; coroutines on the loop, functions in threads."""
    calls.clear()
    async with Queue(Email, handler, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email(), id="1-1")
        queue.run()
        await queue.drain()

    assert calls == [(word, "a", on_main)]


async def nothing() -> None:
    """A handler that wants no job."""


async def three(job: Email, ctx: Context, more: int) -> None:
    """A handler that wants too much."""


async def by_name(job: Email, *, must: bool) -> None:
    """A handler that wants something by name."""


@pytest.mark.parametrize("handler", [nothing, three, by_name, None, "send", 7])
def test_uncallable_handler_is_refused(handler: Form) -> None:
    """The queue is not built, and the error says what a handler looks like."""
    rule = r"handler is .*; must be a function of \(job\) or of \(job, ctx\)"
    with pytest.raises(OptionError, match=rule):
        Queue(Email, handler, url="redis://localhost:1")


async def test_return_value_of_a_handler_is_ignored(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job is done when its handler returns, whatever that is."""

    async def refuse(job: Email) -> bool:
        return False

    async with Queue(Email, refuse, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert raw("XLEN", f"{{{stream}}}:senders:dlq") == 0


async def test_each_attempt_is_its_own_task(make_queue: MakeQueue) -> None:
    """No two handlers share a task, and none runs in the queue's own."""
    tasks: list[asyncio.Task[object] | None] = []

    async def fail_once(job: Email, ctx: Context) -> None:
        tasks.append(asyncio.current_task())
        if ctx.attempt == 1:
            raise ValueError

    async with make_queue(fail_once) as queue:
        await queue.enqueue_bulk([email(), email()])
        queue.run()
        await queue.drain()

    assert len(set(tasks)) == 4


async def test_a_thread_does_not_hold_up_the_loop(redis_url: str, stream: str) -> None:
    """While a plain function waits, coroutines of the process run."""
    started, gate = threading.Event(), threading.Event()

    def block(job: Email) -> None:
        started.set()
        assert gate.wait(10)

    async with Queue(Email, block, url=redis_url, stream=stream) as queue:
        await queue.enqueue(email())
        queue.run()
        await wait_until(started.is_set)
        gate.set()
        await queue.drain()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), StopIteration()])
async def test_a_thread_that_raises_has_failed(
    error: BaseException, make_queue: MakeQueue
) -> None:
    """An error in a thread is an error of the attempt, as on the loop."""
    attempts: list[int] = []

    def fail_once(job: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise error

    async with make_queue(fail_once) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert attempts == [1, 2]


@pytest.mark.parametrize("error", [ValueError, SystemExit, StopAsyncIteration])
async def test_no_exception_of_a_handler_ends_the_worker(
    error: type[BaseException], make_queue: MakeQueue
) -> None:
    """The attempt fails and the next jobs run."""
    recorder = RecordingHandler()

    async def handle(job: Email, ctx: Context) -> None:
        if job.to == "bad" and ctx.attempt == 1:
            raise error
        await recorder(job, ctx)

    async with make_queue(handle) as queue:
        await queue.enqueue_bulk([email("bad"), email("good")])
        queue.run()
        await queue.drain()

    assert sorted(recorder.done) == ["bad", "good"]


async def test_a_cancellation_of_the_handlers_own_is_a_failure(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """A handler that lets a CancelledError escape has failed; flowd did not cancel it."""
    attempts: list[int] = []

    async def cancel(job: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            inner = asyncio.ensure_future(asyncio.Event().wait())
            inner.cancel()
            await inner

    async with make_queue(cancel) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert attempts == [1, 2]
    assert events(caplog.records).count("retry") == 1


async def test_a_returned_awaitable_can_be_cancelled(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """The coroutine that a plain function returned is released at the shutdown."""
    recorder = RecordingHandler(closed=True)

    def wrapped(job: Email, ctx: Context) -> Awaitable[None]:
        return recorder(job, ctx)

    async with make_queue(wrapped, lease=60.0) as queue:
        await queue.enqueue(email())
        handle = queue.run()
        await wait_until(lambda: recorder.started)
        await handle.shutdown(grace=0.0)
        assert recorder.cancelled == ["a"]
        assert not pending(raw, stream, "senders")

    assert raw("XLEN", stream) == 1


async def test_a_retry_is_no_error_of_flowd(make_queue: MakeQueue) -> None:
    """A handler that catches flowd's errors does not catch its signals to flowd."""
    attempts: list[int] = []

    async def handle(job: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        try:
            if ctx.attempt == 1:
                raise Retry(after=0)
        except FlowdError:
            return

    async with make_queue(handle) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert attempts == [1, 2]


async def yields_later(job: Email) -> AsyncGenerator[int]:
    yield 1


def yields(job: Email) -> Generator[int]:
    yield 1


class Yields:
    """Callable."""

    async def __call__(self, job: Email) -> AsyncGenerator[int]:
        """Run nothing."""
        yield 1


@pytest.mark.parametrize("handler", [yields, yields_later, Yields()])
def test_a_generator_is_no_handler(handler: Callable[[Email], object]) -> None:
    """To call it runs nothing, so its jobs would be done without a line of it."""
    with pytest.raises(OptionError, match="yield"):
        Queue(Email, handler)
