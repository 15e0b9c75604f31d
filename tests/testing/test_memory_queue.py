"""`flowd.testing`: a queue without a server for users' own tests."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Iterator

import pytest

from flowd import (
    Backoff,
    BulkError,
    Context,
    DecodeError,
    EncodeError,
    IdNotIncreasing,
    Item,
    Job,
    Letter,
    Middleware,
    OptionError,
    OutcomeUnknown,
    Reject,
    Retry,
    Run,
    Send,
    ServerError,
    Snooze,
    Unreachable,
)
from flowd.testing import FakeClock, MemoryQueue, debug_map, from_text, round_trip
from jobs.crawl import Crawl
from jobs.email import Email

HELLO = Email(to="a@b.c", subject="hi")
STEADY = dataclasses.replace(
    Email.SPEC.policy, backoff=Backoff(kind="fixed", base=10.0, jitter=False)
)


async def accept(email: Email) -> None:
    """Take every job."""


async def test_a_job_runs_and_is_done() -> None:
    """What was enqueued is run by the handler and listed as done."""
    seen: list[Email] = []
    queue = MemoryQueue(Email, seen.append)
    job_id = await queue.enqueue(HELLO)
    await queue.drain()

    assert seen == queue.done == queue.enqueued == [HELLO]
    assert job_id.endswith("-0")
    assert len(queue) == 0


async def test_a_value_without_a_form_fails_at_once() -> None:
    """Every job goes through its own codecs, so a test sees what production would."""
    queue = MemoryQueue(Crawl, lambda _: None)
    with pytest.raises(EncodeError, match=r"Crawl\.priority"):
        await queue.enqueue(Crawl(url="u", priority=-1, tags=[]))


async def test_a_failure_waits_for_its_backoff() -> None:
    """A failed job runs again when the clock has moved on, and not before."""
    attempts: list[int] = []

    async def fail_once(email: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("no")

    queue = MemoryQueue(Email, fail_once, policy=STEADY)
    await queue.enqueue(HELLO)
    await queue.run_due()
    queue.clock.advance(9.9)
    assert await queue.run_due() == 0
    queue.clock.advance(0.1)
    assert await queue.run_due() == 1

    assert attempts == [1, 2]
    assert queue.done == [HELLO]


async def test_drain_moves_the_clock() -> None:
    """`drain` runs delayed jobs without waiting for them."""
    clock = FakeClock(1_000_000.0)
    queue = MemoryQueue(Email, accept, clock=clock)
    await queue.enqueue(HELLO, delay=3600.0)
    await queue.drain()

    assert queue.done == [HELLO]
    assert clock.now == 1_003_600.0


async def test_time_passes_job_by_job() -> None:
    """`travel` runs each job when it is due, and a retry within the time as well."""
    seen: list[tuple[float, int]] = []

    async def fail_once(email: Email, ctx: Context) -> None:
        seen.append((clock.now, ctx.attempt))
        if ctx.attempt == 1:
            raise ValueError("no")

    clock = FakeClock(1_000.0)
    queue = MemoryQueue(Email, fail_once, policy=STEADY, clock=clock)
    await queue.enqueue(HELLO, delay=5.0)
    await queue.advance_time(4.0)
    assert (seen, clock.now) == ([], 1_004.0)
    await queue.advance_time(100.0)
    assert (seen, clock.now) == ([(1_005.0, 1), (1_015.0, 2)], 1_104.0)


async def test_a_spent_job_is_a_dead_letter() -> None:
    """After `max_retries` failures the letter has job, reason and attempts."""
    notified: list[Letter[Email]] = []

    async def fail(email: Email) -> None:
        raise ValueError("never")

    queue = MemoryQueue(Email, fail, policy=STEADY, on_dead_letter=notified.append)
    await queue.enqueue(HELLO)
    await queue.drain()

    assert queue.dead == notified
    assert notified[0].job == HELLO
    assert notified[0].error == "ValueError: never"
    assert notified[0].attempts == 1 + STEADY.max_retries


async def test_signals_end_a_delivery_as_in_production() -> None:
    """Snooze spends no attempt, Retry spends one, Reject gives up at once."""
    attempts: list[int] = []

    async def signal(email: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        match len(attempts):
            case 1:
                raise Snooze(5.0)
            case 2:
                raise Retry(after=5.0)
            case _:
                raise Reject("enough")

    queue = MemoryQueue(Email, signal)
    await queue.enqueue(HELLO)
    await queue.drain()

    assert attempts == [1, 1, 2]
    assert queue.dead[0].reason == "rejected"


async def test_a_key_is_remembered_for_its_time() -> None:
    """Under a known key nothing is stored, until the key has run out."""
    queue = MemoryQueue(Email, accept)
    first = await queue.enqueue(HELLO, key="k", key_ttl=60.0)
    assert await queue.enqueue(HELLO, key="k", key_ttl=60.0) == first
    queue.clock.advance(60.0)
    assert await queue.enqueue(HELLO, key="k", key_ttl=60.0) != first
    assert len(queue) == 2


async def test_ids_and_items_are_as_in_a_queue() -> None:
    """Explicit ids must increase, and an item has its own delay."""
    queue = MemoryQueue(Email, accept)
    assert await queue.enqueue(HELLO, id="5-1") == "5-1"
    with pytest.raises(IdNotIncreasing):
        await queue.enqueue(HELLO, id="5-1")
    with pytest.raises(OptionError):
        await queue.enqueue(HELLO, id="6-0", delay=1.0)
    ids = await queue.enqueue_bulk([HELLO, Item(HELLO, delay=9.0)])
    assert len(set(ids)) == 2
    await queue.run_due()
    assert len(queue) == 1


async def test_a_job_of_another_class_is_refused() -> None:
    """As a queue with a server does, one by one and in bulk; those before it are kept."""
    queue, other = MemoryQueue(Email, accept), Crawl(url="u", priority=1, tags=[])
    with pytest.raises(OptionError, match=r"Crawl.*this queue is of Email"):
        await queue.enqueue(other)  # type: ignore[arg-type]
    with pytest.raises(BulkError, match=r"Crawl.*this queue is of Email"):
        await queue.enqueue_bulk([other])  # type: ignore[list-item]
    assert len(queue) == 0


async def test_a_timeout_is_real() -> None:
    """A handler past its policy's timeout is cancelled and has failed."""
    policy = dataclasses.replace(STEADY, timeout=0.01, max_retries=0)

    async def sleep(email: Email) -> None:
        await asyncio.Event().wait()

    queue = MemoryQueue(Email, sleep, policy=policy)
    await queue.enqueue(HELLO)
    await queue.drain()

    assert queue.dead[0].error == "TimeoutError: timed out after 0.01 s"


async def test_a_handler_may_enqueue() -> None:
    """A job that a handler enqueues is run by the same drain."""

    async def chain(email: Email) -> None:
        if email.subject != "end":
            await queue.enqueue(dataclasses.replace(email, subject="end"))

    queue = MemoryQueue(Email, chain)
    await queue.enqueue(HELLO)
    await queue.drain()

    assert [email.subject for email in queue.done] == ["hi", "end"]


def test_crate_helpers_are_available() -> None:
    """`debug_map`, `round_trip` and `from_text` mirror the crate's."""
    crawl = Crawl(url="u", priority=7, tags=["a", "b"])

    assert debug_map(crawl) == {"url": "u", "priority": "7", "tags": "a,b"}
    assert round_trip(crawl) == crawl
    assert from_text(Crawl, {"url": "u", "priority": "7", "tags": "a,b"}) == crawl
    with pytest.raises(DecodeError, match="priority: required field is missing"):
        from_text(Crawl, {"url": "u", "tags": ""})


async def test_a_drain_that_is_given_up_loses_no_job() -> None:
    """As at a shutdown, what was running is released, uncounted."""
    begun = asyncio.Event()
    attempts: list[int] = []

    async def handle(email: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        begun.set()
        if len(attempts) == 1:
            await asyncio.Event().wait()

    queue = MemoryQueue(Email, handle)
    await queue.enqueue(HELLO)
    draining = asyncio.ensure_future(queue.drain())
    await begun.wait()
    draining.cancel()
    await asyncio.wait([draining])
    assert draining.cancelled()
    assert len(queue) == 1
    await queue.drain()
    assert (queue.done, attempts) == ([HELLO], [1, 1])


async def test_a_delayed_job_takes_no_entry_id_before_its_time() -> None:
    """So an id of one's own only has to be above those of the stream."""
    queue = MemoryQueue(Email, accept)
    await queue.enqueue(HELLO, delay=10.0)
    assert await queue.enqueue(HELLO, id="12-0") == "12-0"
    await queue.drain()
    assert queue.done == [HELLO, HELLO]


async def test_bulk_enqueue_is_atomic() -> None:
    """A generator that raises stores nothing of its batch, as with a server."""

    def some(count: int) -> Iterator[Email]:
        for number in range(count):
            yield Email(to=str(number), subject="")
        raise ValueError("the file ends here")

    queue = MemoryQueue(Email, accept)
    with pytest.raises(BulkError) as caught:
        await queue.enqueue_bulk(some(2))
    assert (caught.value.ids, len(queue)) == ((), 0)
    with pytest.raises(BulkError) as caught:
        await queue.enqueue_bulk(some(501))
    assert (len(caught.value.ids), len(queue)) == (500, 500)


@pytest.mark.parametrize(
    ("error", "unknown"), [(OutcomeUnknown("lost"), 2), (Unreachable("down"), 0)]
)
async def test_a_batch_without_an_answer_is_unknown(
    error: ServerError, unknown: int
) -> None:
    """What a program does then can be seen in a test."""
    queue = MemoryQueue(Email, accept)
    queue.memory.error = error
    with pytest.raises(BulkError) as caught:
        await queue.enqueue_bulk([HELLO, HELLO])
    assert (caught.value.ids, caught.value.unknown) == ((), unknown)


async def test_middleware_runs_around_enqueues_and_handlers() -> None:
    """What a handler relies on is there, and what travels with the job."""

    class Stamp(Middleware):
        async def enqueue(
            self, stream: str, items: Iterable[Item[Job]], send: Send
        ) -> list[str]:
            """Send with a header."""
            return await send(
                dataclasses.replace(item, headers={"by": stream}) for item in items
            )

        async def handle(self, job: Job, ctx: Context, run: Run) -> object:
            """Note the header, and run."""
            seen.append(ctx.headers["by"])
            return await run()

    seen: list[str] = []
    queue = MemoryQueue(Email, accept, middleware=[Stamp()])
    await queue.enqueue(HELLO)
    await queue.enqueue_bulk([HELLO])
    await queue.drain()
    assert (seen, queue.done) == (["emails", "emails"], [HELLO, HELLO])
