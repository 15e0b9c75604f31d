"""What every queue holds, and who works on it."""

from __future__ import annotations

import asyncio
import time

from flowd import Item, Queue, ServerError, WrongKeyType
from flowd.broker.connection import Connection
from flowd.broker.url import Address
from flowd.ops import ConsumerView, QueueView, overview
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, expire
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import RECOVERY, wait_until

GROUP = "senders"


async def overview_of(
    url: str, *, lease: float = 30.0
) -> list[QueueView | ServerError]:
    """All queues of a server."""
    connection = Connection(Address.of(url))
    try:
        return await overview(connection, lease=lease)
    finally:
        await connection.aclose()


async def only(url: str, *, lease: float = 30.0) -> QueueView:
    """The only queue of a server."""
    (view,) = await overview_of(url, lease=lease)
    assert isinstance(view, QueueView)
    return view


async def set_up(url: str, stream: str, *jobs: Email | Item[Email]) -> None:
    """A queue without workers, with these jobs."""
    async with Queue(
        Email, RecordingHandler(), url=url, policy=policy(stream)
    ) as queue:
        await queue.enqueue_bulk(jobs)


def consumers(view: QueueView) -> dict[str, ConsumerView]:
    """By name."""
    assert view.consumers is not None
    return {each.name: each for each in view.consumers}


async def test_an_empty_server(redis_url: str) -> None:
    """There is nothing to see, and that is no error."""
    assert await overview_of(redis_url) == []


async def test_an_empty_queue(redis_url: str, stream: str) -> None:
    """Where nothing waits, nothing is old, and nothing is due."""
    await set_up(redis_url, stream)
    view = await only(redis_url)

    assert (view.stream, view.group) == (stream, GROUP)
    assert (view.waiting, view.running, view.delayed, view.dead) == (0, 0, 0, 0)
    assert (view.oldest, view.next_due, view.consumers) == (None, None, ())


async def test_overview_counts_what_a_queue_holds(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Numbers, the age of the oldest that waits, and when the first delayed is due."""
    later = Item(email(), delay=600.0)
    await set_up(redis_url, stream, email(), email(), email(), later, later)
    die_with(raw, stream, GROUP, jobs=1)
    raw("XADD", f"{{{stream}}}:{GROUP}:dlq", "*", "to", "a")
    view = await only(redis_url)

    assert (view.waiting, view.running, view.delayed, view.dead) == (2, 1, 2, 1)
    assert view.next_due is not None
    assert 300 < view.next_due <= 600
    assert view.oldest is not None
    assert 0 <= view.oldest < 300


async def test_the_oldest_is_one_that_waits(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Not one that runs, however old its entry is; and what is overdue is below 0."""
    await set_up(redis_url, stream)
    for entry_id in ("1000-0", "1600000000000-0", "1600000060000-0"):
        raw("XADD", stream, entry_id, "to", "a")
    die_with(raw, stream, GROUP, jobs=1)
    raw("ZADD", f"{{{stream}}}:delayed", 1_600_000_000_000, "job")
    age = time.time() - 1_600_000_000
    view = await only(redis_url)

    assert view.oldest is not None
    assert view.next_due is not None
    assert abs(view.oldest - age) < 60
    assert abs(view.next_due + age) < 60


async def test_overview_shows_a_worker_and_what_it_runs(
    redis_url: str, make_queue: MakeQueue
) -> None:
    """Host, process, lease, and each job with its id."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=30.0, concurrency=2) as queue:
        handle = queue.run()
        await wait_until(lambda: handle.consumer)
        ids = await queue.enqueue_bulk([email("a"), email("b"), email("c")])
        await wait_until(lambda: len(recorder.started) == 2)
        view = await only(redis_url)
        await handle.shutdown(grace=0.0)

    (one,) = consumers(view).values()
    assert one.name == handle.consumer == f"{one.host}-{one.pid}-{one.name[-8:]}"
    assert (one.state, one.owned, one.slots, one.free) == ("working", 2, 2, 0)
    assert (one.job, one.version, one.lease) == ("Email", 1, 30.0)
    assert (view.slots, view.busy) == (2, 2)
    assert [job.id for job in one.runs] == ids[:2]
    assert (view.waiting, view.running) == (1, 2)


async def test_consumers_without_a_heartbeat_are_judged_by_their_silence(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It works, is idle, or is dead: a lease ran out, or it is silent for ten of them."""
    await set_up(redis_url, stream, email("a"), email("b"))
    die_with(raw, stream, GROUP, jobs=1)
    expire(raw, stream, GROUP)
    reading = ("XREADGROUP", "GROUP", GROUP, "well", "COUNT", 1, "STREAMS", stream)
    raw(*reading, ">")
    raw("XGROUP", "CREATECONSUMER", stream, GROUP, "new")
    found = consumers(await only(redis_url))

    assert {name: each.state for name, each in found.items()} == {
        "dead": "dead",
        "well": "working",
        "new": "idle",
    }
    assert {each.host for each in found.values()} == {None}
    async with asyncio.timeout(RECOVERY):
        while found["new"].state == "idle":
            found = consumers(await only(redis_url, lease=0.0001))
    assert found["new"].state == "dead"


async def test_a_group_that_is_gone(redis_url: str, raw: Raw, stream: str) -> None:
    """Its consumers are unknown, and what is in the stream waits."""
    await set_up(redis_url, stream, email())
    raw("XGROUP", "DESTROY", stream, GROUP)
    view = await only(redis_url)
    assert (view.waiting, view.consumers) == (1, None)
    assert view.oldest is not None

    raw("DEL", stream)
    view = await only(redis_url)
    assert (view.waiting, view.oldest, view.consumers) == (0, None, None)


async def test_a_broken_queue_hides_no_other(redis_url: str, raw: Raw) -> None:
    """The reason is shown in its place, under its name."""
    await set_up(redis_url, "a", email())
    await set_up(redis_url, "c", email())
    raw("SADD", "flowd:queues", f"b\n{GROUP}")
    raw("SET", "b", "something else")
    first, fault, last = await overview_of(redis_url)

    assert isinstance(first, QueueView)
    assert isinstance(last, QueueView)
    assert (first.waiting, last.waiting) == (1, 1)
    assert isinstance(fault, WrongKeyType)
    assert str(fault).startswith(f"b ({GROUP}): ")


async def test_two_queues_of_one_stream_are_counted_apart(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Each group has what it holds and what it has not got; what is delayed is for both."""
    await set_up(redis_url, stream, *map(email, "abcde"), Item(email(), delay=600.0))
    raw("XGROUP", "CREATE", stream, "auditors", "0")
    raw("SADD", "flowd:queues", f"{stream}\nauditors")
    die_with(raw, stream, GROUP, jobs=3)
    die_with(raw, stream, "auditors", jobs=1)
    raw("XADD", f"{{{stream}}}:auditors:dlq", "*", "to", "a")
    auditors, senders = await overview_of(redis_url)

    assert isinstance(auditors, QueueView)
    assert isinstance(senders, QueueView)
    assert (auditors.group, senders.group) == ("auditors", GROUP)
    assert (auditors.waiting, auditors.running, auditors.dead) == (4, 1, 1)
    assert (senders.waiting, senders.running, senders.dead) == (2, 3, 0)
    assert (auditors.delayed, senders.delayed) == (1, 1)
    assert [each.owned for each in consumers(auditors).values()] == [1]


async def test_a_queue_whose_group_is_not_there_has_no_jobs_of_another(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A group was renamed: what the new one gets is not counted twice."""
    await set_up(redis_url, stream, email(), email(), Item(email(), delay=600.0))
    raw("SADD", "flowd:queues", f"{stream}\nbefore")
    raw("XADD", f"{{{stream}}}:before:dlq", "*", "to", "a")
    before, now = await overview_of(redis_url)

    assert isinstance(before, QueueView)
    assert isinstance(now, QueueView)
    assert (before.waiting, before.running, before.delayed, before.dead) == (0, 0, 0, 1)
    assert (before.oldest, before.next_due, before.consumers) == (None, None, None)
    assert (now.waiting, now.delayed, now.dead) == (2, 1, 0)


async def test_entries_before_the_group_do_not_count_as_waiting(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Of a stream that was full before, it has what came later, where Redis knows."""
    await set_up(redis_url, stream, email())
    raw("XGROUP", "DESTROY", stream, GROUP)
    raw("XGROUP", "CREATE", stream, GROUP, "$")
    assert (await only(redis_url)).waiting == 0
    raw("XADD", stream, "*", "to", "a")
    lags = b"lag" in str(raw("XINFO", "GROUPS", stream)).encode()
    assert (await only(redis_url)).waiting == (1 if lags else 2)
