"""Every attempt has an ending, whatever a handler or a class raises."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import wraps
from typing import Any, ClassVar, Self

import pytest

from flowd import (
    Backoff,
    Claimer,
    Context,
    DeadLetters,
    JobSpec,
    Letter,
    Queue,
    Reject,
    Retry,
    Snooze,
)
from jobs.email import Email
from tests.support.email_job import email, policy
from tests.support.leases import pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


class Panic(BaseException):
    """As an extension in Rust raises it."""


class MuteSnooze(Snooze):
    """Does not call the `__init__` of what it derives from."""

    def __init__(self) -> None:
        pass


class NoText(Exception):
    """Raises where it is to be shown."""

    def __str__(self) -> str:
        raise Panic

    __repr__ = __str__


class NoAttributes(Snooze):
    """Raises wherever one looks."""

    def __init__(self) -> None:
        pass

    def __getattribute__(self, name: str) -> Any:
        raise Panic(name)


class LateRetry(Retry):
    """Has a wait that cannot be read."""

    @property
    def after(self) -> float:
        raise GeneratorExit

    @after.setter
    def after(self, value: object) -> None: ...


class Everything(Exception):
    """Has no text, no name that can be asked for and no traceback."""

    def __getattribute__(self, name: str) -> Any:
        raise NoText

    __str__ = __repr__ = NoText.__str__


async def dead_letter(url: str, stream: str) -> Letter[Email]:
    """The only letter of a queue."""
    async with DeadLetters(Email, url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]
    return letter


RAISED: list[Callable[[], BaseException]] = [
    Panic,
    GeneratorExit,
    SystemExit,
    MuteSnooze,
    NoText,
    NoAttributes,
    LateRetry,
    Everything,
    lambda: BaseExceptionGroup("", [NoText(), Everything(), NoAttributes()]),
    lambda: ExceptionGroup("", [ExceptionGroup("", [NoAttributes()])]),
]


@pytest.mark.parametrize("make", RAISED)
@pytest.mark.parametrize("in_thread", [False, True])
async def test_handler_exception_of_any_type_is_a_failure(
    redis_url: str,
    raw: Raw,
    stream: str,
    make: Callable[[], BaseException],
    make_queue: MakeQueue,
    *,
    in_thread: bool,
) -> None:
    """It spends its attempts and is given up with a text, and no entry stays pending."""

    async def fail(job: Email) -> None:
        raise make()

    def fail_in_thread(job: Email) -> None:
        raise make()

    handler = fail_in_thread if in_thread else fail
    async with make_queue(handler, max_retries=1) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    letter = await dead_letter(redis_url, stream)
    assert (letter.reason, letter.attempts) == ("failed", 2)
    assert letter.error
    assert not pending(raw, stream, GROUP)


@pytest.mark.parametrize(
    "kind", [Panic, asyncio.CancelledError, GeneratorExit, SystemExit, NoText]
)
async def test_decoder_exception_of_any_type_is_undecodable(
    redis_url: str, stream: str, kind: type[BaseException]
) -> None:
    """A class written by hand may raise anything; its job is a dead letter at once."""

    class ByHand:
        SPEC: ClassVar[JobSpec] = Email.SPEC
        decoded = 0

        def to_fields(self) -> dict[bytes, bytes]:
            return {b"to": b"a", b"subject": b"s"}

        @classmethod
        def from_fields(cls, fields: Mapping[bytes, bytes]) -> Self:
            cls.decoded += 1
            raise kind(str(len(fields))) if kind is not NoText else kind

    async def run(job: ByHand) -> None:
        raise AssertionError("there is no such job")

    letters: list[Letter[ByHand]] = []
    async with Queue(
        ByHand,
        run,
        url=redis_url,
        policy=policy(stream),
        on_dead_letter=letters.append,
    ) as queue:
        await queue.enqueue(ByHand())
        queue.run()
        await queue.drain()
        await wait_until(lambda: letters)

    assert [letter.reason for letter in letters] == ["undecodable"]
    assert letters[0].error
    assert ByHand.decoded == 1


async def test_an_error_of_any_size_is_cut(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """The letter holds its beginning, which names it."""

    async def fail(job: Email) -> None:
        raise ValueError("x" * 3_000_000)

    async with make_queue(fail, max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    letter = await dead_letter(redis_url, stream)
    assert letter.error.startswith("ValueError: xxx")
    assert len(letter.error) < 2_100
    assert len(letter.traceback) < 8_100


async def test_a_cancellation_by_others_counts(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """A task that a library cancels has failed; only flowd's own are uncounted."""
    runs = 0

    async def cancel_itself(job: Email) -> None:
        nonlocal runs
        runs += 1
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with make_queue(cancel_itself, max_retries=2) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert runs == 3
    assert "CancelledError" in (await dead_letter(redis_url, stream)).error


async def test_a_task_that_is_cancelled_before_its_first_step_has_failed(
    make_queue: MakeQueue,
) -> None:
    """Its handler never ran; the slot is free again and the attempt is counted."""
    seen: list[tuple[str, int]] = []
    cancelled: list[asyncio.Task[Any]] = []

    async def note(job: Email, ctx: Context) -> None:
        if job.to == "first":
            # The task of the second job exists and has not begun.
            own = asyncio.current_task()
            cancelled.extend(
                task
                for task in asyncio.all_tasks() - {own}
                if _coroutine_name(task) == _coroutine_name(own)
            )
            for task in cancelled:
                task.cancel()
        seen.append((job.to, ctx.attempt))

    async with make_queue(note, max_retries=1) as queue:
        await queue.enqueue_bulk([email("first"), email("second")])
        queue.run()
        await queue.drain()

    assert len(cancelled) == 1
    assert seen == [("first", 1), ("second", 2)]


def _coroutine_name(task: asyncio.Task[Any] | None) -> str:
    """Which coroutine function a task runs."""
    assert task is not None
    return str(getattr(task.get_coro(), "__qualname__", ""))


async def grouped(*errors: BaseException) -> None:
    """Raise them out of a TaskGroup within a TaskGroup."""

    async def fail(error: BaseException) -> None:
        raise error

    async with asyncio.TaskGroup() as outer:

        async def inner() -> None:
            async with asyncio.TaskGroup() as group:
                for error in errors:
                    group.create_task(fail(error))

        outer.create_task(inner())


@pytest.mark.parametrize(
    ("errors", "reason", "attempts"),
    [
        ([Reject("never")], "rejected", 1),
        ([Reject("never"), Reject("ever")], "rejected", 1),
        ([Snooze(0), Reject("never"), Retry(after=0)], "rejected", 1),
        ([Retry("busy", after=0), Snooze(9)], "failed", 2),
        ([Reject("never"), ValueError("no")], "failed", 2),
    ],
)
async def test_a_group_of_signals_is_the_gravest(
    redis_url: str,
    stream: str,
    errors: list[BaseException],
    reason: str,
    attempts: int,
    make_queue: MakeQueue,
) -> None:
    """Reject before Retry before Snooze; together with an error, they are a failure."""

    async def fail(job: Email) -> None:
        await grouped(*errors)

    async with make_queue(fail, max_retries=1) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    letter = await dead_letter(redis_url, stream)
    assert (letter.reason, letter.attempts) == (reason, attempts)


async def test_a_snooze_in_a_group_spends_nothing(make_queue: MakeQueue) -> None:
    """However deep it is."""
    runs = 0

    async def snooze(job: Email) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await grouped(Snooze(0))

    async with make_queue(snooze, max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert runs == 2


async def test_a_group_is_described_by_its_leaves(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """So that `--error TimeoutError` finds it."""

    async def fail(job: Email) -> None:
        await grouped(TimeoutError("no answer"), ValueError("bad"), ValueError("bad"))

    async with make_queue(fail, max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    letter = await dead_letter(redis_url, stream)
    assert letter.error == "TimeoutError: no answer; ValueError: bad"


async def test_a_group_that_is_too_deep_is_a_failure_with_a_text(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """Where the search for leaves ends, the group itself is described."""

    async def fail(job: Email) -> None:
        group: ExceptionGroup[Exception] = ExceptionGroup("group 0", [Reject("never")])
        for number in range(1, 1_500):
            group = ExceptionGroup(f"group {number}", [group])
        raise group

    async with make_queue(fail, max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    letter = await dead_letter(redis_url, stream)
    assert letter.reason == "failed"
    assert "group 499" in letter.error


async def _child_turns_its_cancellation_into_an_error() -> None:
    async def driver() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("closed") from None

    async with asyncio.TaskGroup() as group:
        group.create_task(driver())


async def _becomes_an_error_elsewhere() -> None:
    waiter = asyncio.get_running_loop().create_future()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        waiter.set_exception(ConnectionError("closed"))
    await waiter


@pytest.mark.parametrize(
    "body", [_child_turns_its_cancellation_into_an_error, _becomes_an_error_elsewhere]
)
async def test_an_error_made_of_the_shutdown_spends_nothing(
    raw: Raw, stream: str, body: Callable[[], Awaitable[None]], make_queue: MakeQueue
) -> None:
    """A deploy dead-letters no job of `max_retries=0`."""
    started = asyncio.Event()

    async def handle(job: Email) -> None:
        started.set()
        await body()

    async with make_queue(handle, max_retries=0) as queue:
        await queue.enqueue(email())
        handler = queue.run()
        await started.wait()
        await handler.shutdown(grace=0.0)

    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 0
    assert raw("XLEN", stream) == 1
    assert not pending(raw, stream, GROUP)


async def test_an_error_before_the_shutdown_is_a_failure(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """A group that failed, and only waits for its other task to end, has failed."""
    ending, cancelled, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        await ending.wait()
        raise ValueError("before")

    async def slow_to_end() -> None:
        ending.set()
        try:
            await end.wait()
        except asyncio.CancelledError:  # by the group; the shutdown finds it at its end
            cancelled.set()
            await end.wait()

    tasks: list[asyncio.Task[None] | None] = []

    async def handle(job: Email) -> None:
        tasks.append(asyncio.current_task())
        async with asyncio.TaskGroup() as group:
            group.create_task(slow_to_end())
            group.create_task(fail())

    async with make_queue(handle, max_retries=0) as queue:
        await queue.enqueue(email())
        handler = queue.run()
        await cancelled.wait()
        assert tasks[0] is not None
        before = tasks[0].cancelling()
        handler.stop(grace=0.0)
        await wait_until(lambda: tasks[0] and tasks[0].cancelling() > before)
        end.set()
        await handler.wait()

    assert (await dead_letter(redis_url, stream)).error == "ValueError: before"


@pytest.mark.parametrize(
    "after", [Decimal(1), -(10**400), "1", True, float("nan"), -1, timedelta(-1), [1]]
)
@pytest.mark.parametrize("kind", ["snooze", "retry"])
async def test_a_signal_with_a_wait_that_cannot_be_is_a_failure(
    redis_url: str, stream: str, after: Any, kind: str, make_queue: MakeQueue
) -> None:
    """The attempt fails and says which argument; the queue goes on."""

    async def handle(job: Email) -> None:
        raise Snooze(after) if kind == "snooze" else Retry(after=after)

    async with make_queue(handle, max_retries=1) as queue:
        await queue.enqueue(email())
        running = queue.run()
        await queue.drain()
        assert running.failing is None

    letter = await dead_letter(redis_url, stream)
    assert letter.attempts == 2
    assert "after is" in letter.error


def test_a_wait_may_be_a_timedelta() -> None:
    """In seconds, as a float; an int above every float has no end."""
    assert Snooze(10**400).after == 1e11
    assert Snooze(timedelta(minutes=1)).after == 60.0
    assert Retry(after=timedelta(milliseconds=1)).after == 0.001


Ran = Callable[[Email], Any]


def forgets_await(handler: Ran) -> Ran:
    """A decorator that is a coroutine function and does not await."""

    @wraps(handler)
    async def wrapped(job: Email) -> object:
        return handler(job)

    return wrapped


def forgets_await_in_thread(handler: Ran) -> Ran:
    """The same for a plain function."""

    def wrapped(job: Email) -> object:
        return handler(job)

    return wrapped


@pytest.mark.parametrize("decorate", [forgets_await, forgets_await_in_thread])
async def test_a_coroutine_that_is_returned_is_run(
    decorate: Callable[[Ran], Ran], make_queue: MakeQueue
) -> None:
    """What it raises fails the attempt; the job is acknowledged when it has ended."""
    runs = 0

    async def handle(job: Email) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError
        await asyncio.sleep(0)

    async with make_queue(decorate(decorate(handle))) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert runs == 2


@pytest.mark.parametrize("decorate", [forgets_await, forgets_await_in_thread])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_generator_that_is_returned_is_a_failure(
    redis_url: str,
    stream: str,
    decorate: Callable[[Ran], Ran],
    make_queue: MakeQueue,
    *,
    asynchronous: bool,
) -> None:
    """Nothing of it ran, so the job is not done."""

    def generate(job: Email) -> Generator[None, None, None]:
        yield

    async def generate_later(job: Email) -> AsyncGenerator[None, None]:
        yield

    inner: Ran = generate_later if asynchronous else generate
    async with make_queue(decorate(inner), max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert "generator" in (await dead_letter(redis_url, stream)).error


@pytest.mark.parametrize("decorate", [forgets_await, forgets_await_in_thread])
async def test_a_future_of_a_pool_that_is_returned_is_awaited(
    redis_url: str,
    stream: str,
    decorate: Callable[[Ran], Ran],
    make_queue: MakeQueue,
) -> None:
    """The work is in the pool; what it raises fails the attempt."""
    may_end = threading.Event()

    def work() -> None:
        may_end.wait(20)
        raise ValueError("in the pool")

    with ThreadPoolExecutor(1) as pool:
        queue = make_queue(decorate(lambda _: pool.submit(work)), max_retries=0)
        async with queue:
            await queue.enqueue(email())
            queue.run()
            may_end.set()
            await queue.drain()

    letter = await dead_letter(redis_url, stream)
    assert letter.error == "ValueError: in the pool"


class OpenedByAwait:
    """Gives itself when it is awaited, as connections of some drivers do."""

    def __await__(self) -> Generator[object, None, OpenedByAwait]:
        yield from asyncio.sleep(0).__await__()
        return self


class AnotherAwaitable:
    """Gives another one of its kind each time."""

    def __await__(self) -> Generator[object, None, AnotherAwaitable]:
        yield from asyncio.sleep(0).__await__()
        return AnotherAwaitable()


async def test_an_awaitable_that_gives_itself_is_awaited_once(
    make_queue: MakeQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """It has ended then, and the job is done."""
    opened = OpenedByAwait()
    async with make_queue(forgets_await(lambda _: opened)) as queue:
        await queue.enqueue(email())
        queue.run()
        await asyncio.wait_for(queue.drain(), 20)

    assert "retry" not in events(caplog.records)


async def test_awaitables_without_an_end_are_a_failure(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """They would keep the slot and the loop busy."""
    async with make_queue(
        forgets_await(lambda _: AnotherAwaitable()), max_retries=0
    ) as queue:
        await queue.enqueue(email())
        queue.run()
        await asyncio.wait_for(queue.drain(), 20)

    assert "without an end" in (await dead_letter(redis_url, stream)).error


WRONG: list[tuple[str, Callable[[str, Any], object], list[Any]]] = [
    ("concurrency", lambda n, v: _queue(**{n: v}), [1.5, True, 0, "3", None]),
    ("block", lambda n, v: _queue(**{n: v}), [Decimal(1), float("nan"), 61, True]),
    ("connect_timeout", lambda n, v: _queue(**{n: v}), [Decimal(1), -1, "5"]),
    ("consumer", lambda n, v: _queue(**{n: v}), ["", "a\nb", 7]),
    ("policy", lambda n, v: _queue(**{n: v}), ["fast", 0]),
    ("claimer", lambda n, v: _queue(**{n: v}), [True, 0, "on"]),
    ("on_dead_letter", lambda n, v: _queue(**{n: v}), ["print", 0]),
    ("concurrency", lambda n, v: Claimer(**{n: v}), [2.5, Decimal(2), True, 0]),
    (
        "min_idle",
        lambda n, v: Claimer(**{n: v}),
        [Decimal(30), float("nan"), float("inf"), timedelta(1), True, 10**400],
    ),
    ("interval", lambda n, v: Claimer(**{n: v}), [float("nan"), Decimal(1), "1"]),
    ("max_crashes", lambda n, v: Claimer(**{n: v}), [1.5, float("nan"), True, -1]),
]


def _queue(**options: Any) -> object:
    async def handle(job: Email) -> None: ...

    return Queue(Email, handle, url="redis://localhost:1", **options)


@pytest.mark.parametrize(("name", "build", "values"), WRONG)
def test_options_of_a_wrong_kind_are_refused_where_they_are_given(
    name: str, build: Callable[[str, Any], object], values: list[Any]
) -> None:
    """The error names the option."""
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} is "):
            build(name, value)


class Unsendable(str):
    """A text that cannot become bytes."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        raise ArithmeticError(encoding, errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endless(Backoff):
    """Computes a wait that is no number."""

    def delay(self, failures: int) -> float:
        return math.nan * failures


@pytest.mark.parametrize("max_retries", [0, 1])
async def test_an_ending_that_cannot_be_written_fails_alone(
    redis_url: str, stream: str, max_retries: int, make_queue: MakeQueue
) -> None:
    """The text is a constant one, and what ended with it is settled."""
    gate = asyncio.Event()
    started: list[str] = []

    async def handle(job: Email) -> None:
        started.append(job.to)
        await gate.wait()
        if job.to == "bad":
            raise Reject(Unsendable("why"))
        if job.to == "fails":
            raise ValueError("no")

    names = ["bad", "done", "fails"]
    async with make_queue(handle, max_retries=max_retries) as queue:
        await queue.enqueue_bulk([email(name) for name in names])
        queue.run()
        await wait_until(lambda: len(started) == 3)
        gate.set()
        await queue.drain()
    async with DeadLetters(Email, redis_url, stream=stream, group=GROUP) as dead:
        letters = {each.fields[b"to"]: each async for each in dead.list()}

    text = "the handler failed, and what it raised cannot be sent to Redis"
    assert {name: each.error for name, each in letters.items()} == {
        b"bad": text,
        b"fails": "ValueError: no",
    }
    assert letters[b"bad"].attempts == max_retries + 1
    assert started.count("done") == 1


async def test_a_delivery_whose_failure_cannot_be_written_is_left_to_others(
    raw: Raw, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """It is released as a crash, and the queue goes on."""
    done: list[str] = []

    async def handle(job: Email, ctx: Context) -> None:
        if job.to == "bad" and ctx.deliveries == 1:
            delivery: Any = getattr(ctx, "_delivery")  # noqa: B009 - not for users
            delivery.fields = {}
            delivery.entry_id = Unfit(delivery.entry_id)
            raise ValueError
        done.append(job.to)

    async with make_queue(handle, lease=0.4) as queue:
        await queue.enqueue_bulk([email("bad"), email("next")])
        queue.run()
        await queue.drain()

    assert sorted(done) == ["bad", "next"]
    assert events(caplog.records).count("stuck") == 1


class Unfit(bytes):
    """An entry id of which no job id can be made."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise ArithmeticError(encoding, errors)


async def test_a_backoff_that_computes_no_wait_is_replaced(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """The failed job waits as the default backoff says."""

    async def fail(job: Email) -> None:
        raise ValueError(job.to)

    rules = replace(policy(stream), backoff=Endless())
    async with make_queue(fail, rules=rules) as queue:
        await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 1)
        assert queue.failing is None
