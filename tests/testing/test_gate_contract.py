"""Unique and debounced jobs: the same with a server and without one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeAlias

import pytest

from flowd import (
    BulkError,
    Concurrency,
    Context,
    Debounce,
    Duplicate,
    Fair,
    Gate,
    Item,
    OptionError,
    Priority,
    Queue,
    Rate,
    Reject,
    Retry,
    Unique,
)
from flowd.testing import MemoryQueue
from jobs.email import Email
from tests.support.email_job import policy
from tests.support.gated import gated
from tests.support.scheduled import every, scheduled

HOUR = 3_600.0
ONCE = gated(Gate(unique=Unique(fields=("to",))))
LAST = gated(Gate(unique=Unique(fields=("to",), again="last")))
QUIET = gated(Gate(debounce=Debounce(fields=("to",), wait=0.2)))


class Asked(Protocol):
    """What both kinds of queue are asked here."""

    async def enqueue(
        self, job: Email, *, delay: float | None = None, key: str | None = None
    ) -> str:
        """Enqueue one job."""
        ...

    async def enqueue_bulk(self, jobs: Sequence[Email | Item[Email]]) -> list[str]:
        """Enqueue many."""
        ...

    async def cancel(
        self, job_id: str
    ) -> Literal["cancelled", "cancelling", "not_found"]:
        """Cancel one."""
        ...

    async def run_now(self, job_id: str) -> bool:
        """Hurry one."""
        ...


class Handler:
    """Records the subjects of what it runs; fails once where the subject says so."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ids: dict[str, str] = {}
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, job: Email, ctx: Context) -> None:
        """Run one."""
        self.ran.append(job.subject)
        self.ids[job.subject] = ctx.id
        if job.subject == "rejected":
            raise Reject("no")
        if job.subject == "again" and ctx.attempt == 1:
            raise Retry(after=0.01)
        if self.meanwhile is not None:
            step, self.meanwhile = self.meanwhile, None
            await step()


@dataclass
class Bench:
    """A queue, what its handler saw, and how to let it run all that is due."""

    queue: Asked
    handler: Handler
    drain: Callable[[], Awaitable[object]]

    async def expect(self, *ran: str) -> None:
        """Let the queue run until nothing is left; exactly these jobs have run then."""
        await self.drain()
        assert self.handler.ran == [*ran]


MakeBench: TypeAlias = Callable[[type[Email]], AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=["server", "memory"])
def bench(request: pytest.FixtureRequest, redis_url: str, stream: str) -> MakeBench:
    """Opens one of both kinds."""

    @asynccontextmanager
    async def on_a_server(job: type[Email]) -> AsyncGenerator[Bench]:
        handler = Handler()
        async with Queue(
            *(job, handler), url=redis_url, policy=policy(stream), concurrency=1
        ) as queue:
            running: list[object] = []

            async def drain() -> None:
                if not running:
                    running.append(queue.run())
                await queue.drain()

            yield Bench(queue, handler, drain)

    @asynccontextmanager
    async def in_memory(job: type[Email]) -> AsyncGenerator[Bench]:
        handler = Handler()
        queue = MemoryQueue(job, handler)
        yield Bench(queue, handler, queue.drain)

    return on_a_server if request.param == "server" else in_memory


async def test_a_duplicate_is_not_stored(bench: MakeBench) -> None:
    """It gets the id of the job that has the key; when that has ended the key is free."""
    async with bench(ONCE) as own:
        first = await own.queue.enqueue(ONCE(to="a", subject="1"))
        again = await own.queue.enqueue(ONCE(to="a", subject="2"))
        other = await own.queue.enqueue(ONCE(to="b", subject="3"))
        assert not isinstance(first, Duplicate)
        assert not isinstance(other, Duplicate)
        assert isinstance(again, Duplicate)
        assert (again, again.replaced) == (first, False)
        await own.expect("1", "3")
        assert own.handler.ids == {"1": first, "3": other}
        assert not isinstance(
            await own.queue.enqueue(ONCE(to="a", subject="4")), Duplicate
        )
        await own.expect("1", "3", "4")


async def test_a_batch_finds_its_own_duplicates(bench: MakeBench) -> None:
    """Each is asked for in order, behind those before it."""
    async with bench(ONCE) as own:
        ids = await own.queue.enqueue_bulk(
            [
                ONCE(to="a", subject="1"),
                Item(ONCE(to="a", subject="2"), delay=HOUR),
                ONCE(to="b", subject="3"),
            ]
        )
        assert [isinstance(each, Duplicate) for each in ids] == [False, True, False]
        assert ids[1] == ids[0]
        await own.expect("1", "3")


async def test_a_key_is_taken_while_its_job_runs_or_waits(bench: MakeBench) -> None:
    """Delayed, running, and while it waits for its next attempt."""
    async with bench(ONCE) as own:
        delayed = await own.queue.enqueue(ONCE(to="a", subject="again"), delay=HOUR)
        assert await own.queue.enqueue(ONCE(to="a", subject="2")) == delayed
        assert await own.queue.run_now(delayed)
        heard = list[str]()

        async def meanwhile() -> None:
            heard.append(await own.queue.enqueue(ONCE(to="a", subject="3")))

        own.handler.meanwhile = meanwhile
        await own.expect("again", "again")
        assert heard == [delayed]
        assert isinstance(heard[0], Duplicate)


@pytest.mark.parametrize("end", ["rejected", "cancelled"])
async def test_a_key_is_free_when_its_job_has_ended(bench: MakeBench, end: str) -> None:
    """As a dead letter, or because it was cancelled."""
    async with bench(ONCE) as own:
        first = await own.queue.enqueue(
            ONCE(to="a", subject=end), delay=HOUR if end == "cancelled" else None
        )
        if end == "cancelled":
            assert await own.queue.cancel(first) == "cancelled"
        else:
            await own.expect("rejected")
        second = await own.queue.enqueue(ONCE(to="a", subject="next"))
        assert not isinstance(second, Duplicate)
        await own.expect(*(["rejected"] if end == "rejected" else []), "next")


async def test_the_last_one_runs_afterwards(bench: MakeBench) -> None:
    """One follower at most, with the newest data."""
    async with bench(LAST) as own:
        await own.queue.enqueue(LAST(to="a", subject="1"))
        second = await own.queue.enqueue(LAST(to="a", subject="2"))
        third = await own.queue.enqueue(LAST(to="a", subject="3"))
        assert not isinstance(second, Duplicate)
        assert isinstance(third, Duplicate)
        assert (third, third.replaced) == (second, True)
        await own.expect("1", "3")


async def test_a_follower_may_be_cancelled(bench: MakeBench) -> None:
    """Then none does, and the next one that comes does."""
    async with bench(LAST) as own:
        await own.queue.enqueue(LAST(to="a", subject="1"))
        gone = await own.queue.enqueue(LAST(to="a", subject="2"))
        assert await own.queue.cancel(gone) == "cancelled"
        assert await own.queue.cancel(gone) == "not_found"
        third = await own.queue.enqueue(LAST(to="a", subject="3"))
        assert not isinstance(third, Duplicate)
        await own.expect("1", "3")


async def test_a_follower_waits_for_its_own_time(bench: MakeBench) -> None:
    """It is delayed until it is due, whether its key is free before, or only afterwards."""
    async with bench(LAST) as own:
        queue = own.queue
        # Before the other, so that it is due before it, however far apart they come.
        await queue.enqueue(LAST(to="b", subject="3"), delay=0.1)
        await queue.enqueue(LAST(to="a", subject="1"))
        delayed = await queue.enqueue(LAST(to="a", subject="2"), delay=0.3)
        assert not isinstance(delayed, Duplicate)
        await own.expect("1", "3", "2")
        assert own.handler.ids["2"] == delayed
        await queue.enqueue(LAST(to="a", subject="4"), delay=0.1)
        await queue.enqueue(LAST(to="a", subject="5"), delay=0.01)
        await own.expect("1", "3", "2", "4", "5")
        assert not isinstance(
            await queue.enqueue(LAST(to="a", subject="6"), delay=HOUR), Duplicate
        )


async def test_a_newer_job_takes_the_place_of_a_delayed_follower(
    bench: MakeBench,
) -> None:
    """With its own time or none, also after the key is free; else it is run or cancelled."""
    async with bench(LAST) as own:
        queue = own.queue
        await queue.enqueue(LAST(to="a", subject="1"))
        second = await queue.enqueue(LAST(to="a", subject="2"), delay=HOUR)
        for delay in (None, 2 * HOUR):
            third = await queue.enqueue(LAST(to="a", subject="3"), delay=delay)
            assert isinstance(third, Duplicate)
            assert (third, third.replaced) == (second, True)
        last = await queue.enqueue(LAST(to="a", subject="4"))
        assert last == second
        await own.expect("1", "4")
        await queue.enqueue(LAST(to="a", subject="5"))
        gone = await queue.enqueue(LAST(to="a", subject="6"), delay=HOUR)
        assert await queue.cancel(gone) == "cancelled"
        hurried = await queue.enqueue(LAST(to="a", subject="7"), delay=HOUR)
        assert not isinstance(hurried, Duplicate)
        assert await queue.run_now(hurried)
        await own.expect("1", "4", "5", "7")


async def test_a_key_of_its_own_comes_first(bench: MakeBench) -> None:
    """Under a known idempotency key the same id comes again, whatever has the unique one."""
    async with bench(ONCE) as own:
        first = await own.queue.enqueue(ONCE(to="a", subject="1"), key="k")
        assert await own.queue.enqueue(ONCE(to="a", subject="2"), key="l") == first
        await own.expect("1")
        assert await own.queue.enqueue(ONCE(to="b", subject="3"), key="k") == first
        assert await own.queue.enqueue(ONCE(to="b", subject="4"), key="l") == first
        await own.expect("1")


async def test_a_debounced_job_runs_once_with_the_newest_data(bench: MakeBench) -> None:
    """It takes the place of the first, whose id it gets; a retry is not debounced again."""
    async with bench(QUIET) as own:
        first = await own.queue.enqueue(QUIET(to="a", subject="1"))
        again = await own.queue.enqueue(QUIET(to="a", subject="again"))
        other = await own.queue.enqueue(QUIET(to="b", subject="3"))
        assert isinstance(again, Duplicate)
        assert (again, again.replaced) == (first, True)
        assert not isinstance(other, Duplicate)
        with pytest.raises(OptionError, match=r"^delay is 5\.0; .* 0\.2 s") as refused:
            await own.queue.enqueue(QUIET(to="a", subject="x"), delay=5.0)
        assert (refused.value.option, refused.value.value) == ("delay", 5.0)
        timed = Item(QUIET(to="a", subject="x"), at=datetime(2100, 1, 1, tzinfo=UTC))
        with pytest.raises(BulkError, match=r"at is datetime.*debounced.*leave at out"):
            await own.queue.enqueue_bulk([timed])
        await own.drain()
        assert sorted(own.handler.ran) == ["3", "again", "again"]
        assert own.handler.ids == {"3": other, "again": first}
        later = await own.queue.enqueue(QUIET(to="a", subject="5"))
        assert not isinstance(later, Duplicate)
        await own.drain()
        assert own.handler.ran[-1] == "5"


@pytest.mark.parametrize(
    "gate",
    [
        Gate(concurrency=Concurrency(limit=1)),
        Gate(rate=Rate(limit=1_000, every=1, burst=10)),
        Gate(fair=Fair(per=("to",))),
        Gate(priority=Priority(order=("high", "low"))),
    ],
    ids=["limit", "rate", "fair", "priority"],
)
async def test_other_policies_lose_no_job(bench: MakeBench, gate: Gate) -> None:
    """What only says when a job may start is accepted, and each job runs once."""
    job = gated(gate)
    async with bench(job) as own:
        ids = await own.queue.enqueue_bulk(
            [job(to="a", subject=str(number)) for number in range(5)]
        )
        assert len({*ids}) == 5
        await own.drain()
        assert sorted(own.handler.ran) == ["0", "1", "2", "3", "4"]


async def test_debounce_has_a_longest_wait() -> None:
    """A steady stream of changes delays a job for so long, counted from the first."""
    job = gated(Gate(debounce=Debounce(fields=("to",), wait=10.0, longest=25.0)))
    handler = Handler()
    queue = MemoryQueue(job, handler)
    for number in range(6):
        await queue.enqueue(job(to="a", subject=str(number)))
        await queue.advance_time(6.0)
    assert handler.ran == ["4"]
    await queue.drain()
    assert handler.ran == ["4", "5"]


async def test_a_tick_waits_until_its_key_is_free() -> None:
    """It was accepted, so it is no duplicate that is dropped."""
    handler = Handler()
    job = gated(Gate(unique=Unique(fields=("to",))), scheduled(every(60, "minutely")))
    queue = MemoryQueue(job, handler)
    held = await queue.enqueue(job(to="nightly", subject="holds"), delay=90.0)
    await queue.advance_time(61.0)
    assert (handler.ran, len(queue)) == ([], 2)
    assert await queue.cancel(held) == "cancelled"
    await queue.drain()
    assert len(handler.ran) == 1
    assert len(queue) == 0


async def test_items_are_what_is_queued() -> None:
    """A duplicate is not among `items`; one that takes another's place is."""
    queue = MemoryQueue(ONCE, Handler())
    for subject in "123":
        await queue.enqueue(ONCE(to="a", subject=subject))
    assert [job.subject for job in queue.enqueued] == ["1"]
    last = MemoryQueue(LAST, Handler())
    for subject in "123":
        await last.enqueue(LAST(to="a", subject=subject))
    assert [job.subject for job in last.enqueued] == ["1", "2", "3"]
    assert (len(queue), len(last)) == (1, 2)
