"""A worker reads ahead while its handlers are short, and keeps no job from other workers."""

from __future__ import annotations

import asyncio
import time

import pytest

from flowd import Queue, QueueHandle
from flowd.model.delivery import Delivery, Entry
from flowd.worker import ahead
from flowd.worker.in_flight import InFlight
from flowd.worker.options import QueueOptions
from jobs.email import Email
from tests.support.abandoned import collect_abandoned
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.events import Seen
from tests.support.leases import pending
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
JOBS = 1_000
SHORT = 500
SLOTS = 10


class Suddenly:
    """A handler that is done at once, until it takes as long as the gate is closed.

    Attributes:
        began: the jobs (their `to`) in the order of their start.
        waiting: how many wait at the gate.
        most_waited: how many have waited there at once.
    """

    def __init__(self) -> None:
        self.began: list[str] = []
        self.waiting = self.most_waited = 0
        self._gate = asyncio.Semaphore(0)

    def let_through(self, jobs: int = JOBS) -> None:
        """Let so many end that wait, or that come; all as it is."""
        for _ in range(jobs):
            self._gate.release()

    async def __call__(self, job: Email) -> None:
        """Run one job."""
        self.began.append(job.to)
        if len(self.began) > SHORT:
            self.waiting += 1
            self.most_waited = max(self.most_waited, self.waiting)
            await self._gate.acquire()
            self.waiting -= 1


@pytest.fixture
def at_any_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine reads ahead as many as a quiet one."""
    monkeypatch.setattr(ahead, "_AHEAD", 1e6)


@pytest.fixture
def patiently(at_any_pace: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read ahead is kept until it may start."""
    monkeypatch.setattr(ahead, "_PATIENCE", 60.0)


async def fill(queue: Queue[Email]) -> list[str]:
    """Enqueue the jobs, by number; returns their ids."""
    return await queue.enqueue_bulk(email(str(number)) for number in range(JOBS))


async def read_ahead(
    raw: Raw, queue: Queue[Email], handler: Suddenly
) -> tuple[QueueHandle[Email], dict[int, str]]:
    """Run a queue until its slots are taken and it has read half of what may wait.

    Returns:
        what stops it, and the ids of the jobs that wait in it, by number.
    """
    ids = await fill(queue)
    handle = queue.run()

    def waiting() -> dict[int, str]:
        held = [each.id for each in pending(raw, queue.policy.stream, GROUP)]
        numbers = {ids.index(each): each for each in held}
        return {n: each for n, each in numbers.items() if n >= SHORT + SLOTS}

    await wait_until(lambda: handler.waiting == SLOTS)
    # A read is for half of the slots and of what may wait, which are 100, so one more is
    # asked for while 40 wait.
    await wait_until(lambda: len(waiting()) > 40)
    return handle, waiting()


@pytest.mark.usefixtures("at_any_pace")
async def test_handlers_that_become_long_keep_no_job(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """What was read ahead goes to other workers, and what had ended before is settled."""
    slow, quick = Suddenly(), RecordingHandler()
    async with (
        make_queue(slow, concurrency=SLOTS, lease=30.0) as queue,
        make_queue(quick, lease=30.0) as other,
    ):
        await fill(queue)
        queue.run()
        await wait_until(lambda: slow.waiting == SLOTS)
        other.run()
        await wait_until(lambda: raw("XLEN", stream) == SLOTS)
        assert len(pending(raw, stream, GROUP)) == SLOTS
        assert len(slow.began) + len(quick.done) == JOBS
        slow.let_through()
        await queue.drain()
    assert {*slow.began, *quick.done} == {str(number) for number in range(JOBS)}


@pytest.mark.usefixtures("patiently")
async def test_short_handlers_read_ahead(raw: Raw, make_queue: MakeQueue) -> None:
    """More is held than has a slot, and no more runs than there are slots."""
    handler = Suddenly()
    async with make_queue(handler, concurrency=SLOTS, lease=30.0) as queue:
        _, waiting = await read_ahead(raw, queue, handler)
        assert len(waiting) <= 100
        # The end of one starts one. A second one that starts with it waits as well, for
        # none of them ends before the next step of this test.
        handler.let_through(1)
        await wait_until(lambda: len(handler.began) > SHORT + SLOTS)
        handler.let_through()
        await queue.drain()
    assert handler.most_waited == SLOTS
    assert sorted(map(int, handler.began)) == [*range(JOBS)]


@pytest.mark.usefixtures("patiently")
async def test_one_slot_reads_nothing_ahead(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """With one slot jobs run in their order, also those that are released by a shutdown."""
    handler = Suddenly()
    async with make_queue(handler, concurrency=1, lease=30.0) as queue:
        await fill(queue)
        queue.run()
        await wait_until(lambda: handler.waiting == 1)
        await wait_until(lambda: len(pending(raw, stream, GROUP)) == 1)
        handler.let_through()
        await queue.drain()
    assert handler.began == [str(number) for number in range(JOBS)]


@pytest.mark.usefixtures("patiently")
async def test_a_job_that_was_read_ahead_can_be_cancelled(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It does not start, although the worker has it already."""
    handler = Suddenly()
    async with make_queue(handler, concurrency=SLOTS, lease=30.0) as queue:
        _, waiting = await read_ahead(raw, queue, handler)
        number, last = waiting.popitem()
        assert await queue.cancel(last) == "cancelling"
        await wait_until(lambda: raw("XRANGE", stream, last, last) == [])
        handler.let_through()
        await queue.drain()
    assert {*map(int, handler.began)} == {*range(JOBS)} - {number}


@pytest.mark.usefixtures("patiently")
async def test_a_shutdown_releases_what_was_read_ahead(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It waits for no handler, and none of it counts as tried."""
    handler = Suddenly()
    async with make_queue(handler, concurrency=SLOTS, lease=30.0) as queue:
        handle, _ = await read_ahead(raw, queue, handler)
        stopping = asyncio.create_task(handle.shutdown())
        await wait_until(lambda: len(pending(raw, stream, GROUP)) == SLOTS)
        handler.let_through()
        await stopping
        assert len(handler.began) == SHORT + SLOTS
        assert raw("XLEN", stream) == JOBS - SHORT - SLOTS
        released = repr(raw("XRANGE", stream, "-", "+")).count("b'_attempt', b'1'")
        assert released > SLOTS


@pytest.mark.usefixtures("patiently")
async def test_a_lost_lease_keeps_what_was_read_ahead_from_starting(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It is another worker's then."""
    handler, seen = Suddenly(), Seen()
    async with make_queue(
        handler, concurrency=SLOTS, lease=1.0, middleware=[seen], claimer=None
    ) as queue:
        handle, waiting = await read_ahead(raw, queue, handler)
        raw("XCLAIM", stream, GROUP, "thief", 0, *waiting.values())
        await wait_until(lambda: len(seen.named("lease_lost")) == len(waiting))
        handler.let_through()
        await wait_until(lambda: len(handler.began) == JOBS - len(waiting))
        await handle.shutdown()
    assert not {*waiting} & {*map(int, handler.began)}


async def test_a_job_that_waited_beyond_its_lease_is_released() -> None:
    """The process stood still for longer: another worker may run the job by now."""
    options = QueueOptions(
        job_class=Email,
        handler=RecordingHandler(),
        policy=policy("emails", lease=30.0),
        concurrency=2,
    )
    started: list[bytes] = []
    released: list[bytes] = []
    waiting = ahead.ReadAhead(options, InFlight(2))
    waiting.open(
        lambda each: started.append(each.entry_id),
        lambda each: released.append(each.entry_id),
    )
    now = time.monotonic()
    for entry_id, confirmed in (b"1-0", now - 31.0), (b"2-0", now):
        delivery = Delivery(Entry(entry_id, 1, {}, 0), now)
        delivery.held_since = confirmed
        assert waiting.takes(delivery)
    waiting.handler_done()
    waiting.close()
    assert released == [b"1-0"]
    assert started == [b"2-0"]


# A loop that ends without `aclose` leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.usefixtures("patiently")
def test_the_end_of_the_event_loop_starts_nothing(
    redis_url: str, raw: Raw, make_queue: MakeQueue
) -> None:
    """`asyncio.run` cancels the handlers; what waits for their slots does not begin."""
    handler = Suddenly()

    async def program() -> None:
        queue = make_queue(handler, concurrency=SLOTS, lease=30.0)
        await queue.init()
        await read_ahead(raw, queue, handler)

    asyncio.run(program())
    collect_abandoned(redis_url)
    assert len(handler.began) == SHORT + SLOTS
