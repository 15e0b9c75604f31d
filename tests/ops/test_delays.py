"""Why delayed jobs wait: counted apart in numbers and for each job."""

from __future__ import annotations

from flowd import Item, Queue
from flowd.broker.connection import Connection
from flowd.broker.url import Address
from flowd.ops import Delays, QueueView, list_jobs, overview, server_time
from flowd.ops.queries import Queries
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def delays(url: str) -> Delays:
    """Of the only queue of a server."""
    connection = Connection(Address.of(url))
    try:
        (view,) = await overview(connection)
    finally:
        await connection.aclose()
    assert isinstance(view, QueueView)
    return view.delays


async def whys(url: str, stream: str) -> list[str | None]:
    """Why each delayed job waits, in order of their due times."""
    connection = Connection(Address.of(url))
    try:
        queries = Queries(connection, stream, GROUP)
        now = await server_time(connection)
        return [each.why async for each in list_jobs(queries, "delayed", now)]
    finally:
        await connection.aclose()


async def delay(
    url: str, raw: Raw, stream: str, envelope: dict[str, str], seconds: int
) -> None:
    """A delayed job whose entry has these fields of flowd's."""
    async with Queue(
        Email, RecordingHandler(), url=url, policy=policy(stream)
    ) as queue:
        job_id = await queue.enqueue(email(), delay=float(seconds))
    add = """
      local body = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))
      for i = 2, #ARGV do body[#body + 1] = ARGV[i] end
      redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(body))"""
    flat = [each for pair in envelope.items() for each in pair]
    raw("EVAL", add, 1, f"{{{stream}}}:delayed:jobs", job_id, *flat)


async def test_delayed_jobs_name_why_they_wait(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Scheduled, released, retried, and of a version that no live worker reads."""
    await delay(redis_url, raw, stream, {}, 100)
    await delay(redis_url, raw, stream, {"_attempt": "1", "_deliveries": "0"}, 200)
    await delay(redis_url, raw, stream, {"_attempt": "2", "_deliveries": "1"}, 300)
    await delay(redis_url, raw, stream, {"_attempt": "2", "_v": "3"}, 400)
    unknown = await delays(redis_url)
    async with make_queue(lease=30.0) as queue:
        handle = queue.run()
        await wait_until(lambda: raw("EXISTS", f"{{{stream}}}:{GROUP}:workers"))
        # Redis 6.2 lists a consumer from its first entry on.
        raw("XGROUP", "CREATECONSUMER", stream, GROUP, handle.consumer)
        known = await delays(redis_url)
        each = await whys(redis_url, stream)
        await handle.shutdown()

    assert unknown == Delays(scheduled=1, released=1, retrying=2)
    assert known == Delays(scheduled=1, released=1, retrying=1, newer_version=1)
    assert each == ["scheduled", "released", "retrying", "newer version"]


async def test_many_delayed_jobs_are_sampled_evenly(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It is spread evenly, though retries are due before all others."""
    async with make_queue() as queue:
        await queue.enqueue_bulk(Item(email(), delay=1_000.0) for _ in range(3_000))
    retry = """
      for n = 1, 1000 do
        redis.call('ZADD', KEYS[1], n + 1e13, 'r' .. n)
        redis.call('HSET', KEYS[2], 'r' .. n, cmsgpack.pack({'_attempt', '2'}))
      end"""
    raw("EVAL", retry, 2, f"{{{stream}}}:delayed", f"{{{stream}}}:delayed:jobs")
    found = await delays(redis_url)
    assert found.estimated
    assert abs(found.scheduled - 3_000) < 100
    assert abs(found.retrying - 1_000) < 100


async def test_large_jobs_are_looked_at_evenly_too(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Where a few megabytes are looked at, they come from the whole set."""
    fill = """
      local large = string.rep('x', 20000)
      for n = 1, 400 do
        local attempt = n > 200 and '2' or '1'
        redis.call('ZADD', KEYS[1], n + 1e13, n)
        redis.call('HSET', KEYS[2], n, cmsgpack.pack({'b', large, '_attempt', attempt}))
      end"""
    async with make_queue() as queue:
        await queue.init()
    raw("EVAL", fill, 2, f"{{{stream}}}:delayed", f"{{{stream}}}:delayed:jobs")
    found = await delays(redis_url)
    assert found.estimated
    assert found.released + found.retrying == 400
    assert abs(found.retrying - 200) < 60


async def test_broken_body_hides_no_other(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What is no job in the delayed jobs is not counted, and does no harm."""
    await delay(redis_url, raw, stream, {}, 100)
    raw("ZADD", f"{{{stream}}}:delayed", 1e13, "bad", 2e13, "none")
    raw("HSET", f"{{{stream}}}:delayed:jobs", "bad", b"\xc1")
    found = await delays(redis_url)
    assert found.scheduled == 3
    assert found.estimated
