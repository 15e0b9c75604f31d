"""How parked jobs come into the stream."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from flowd import Concurrency, Context, Fair, Gate, Queue, Unique
from flowd.broker.connection import connection_to
from flowd.broker.gate import GateScripts
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery
from flowd.model.keys import Keys
from jobs.email import Email
from tests.support.gated import gated, leftovers
from tests.support.monitor import Monitor
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"

_TICKETS_LAST = """
local jobs = redis.call('HGETALL', KEYS[1])
for n = 2, #jobs, 2 do
  local fields, other = cmsgpack.unpack(jobs[n]), {}
  for f = 1, #fields, 2 do
    if fields[f] ~= '_gate' then
      table.insert(other, fields[f])
      table.insert(other, fields[f + 1])
    end
  end
  for f = 1, #fields, 2 do
    if fields[f] == '_gate' then
      table.insert(other, fields[f])
      table.insert(other, fields[f + 1])
    end
  end
  redis.call('HSET', KEYS[1], jobs[n - 1], cmsgpack.pack(other))
end
return #jobs / 2
"""
"""Bodies as earlier versions of flowd have stored them."""


async def test_one_round_admits_from_fifty_lanes(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Of a hundred keys with a limit of 1, of which an enqueue has admitted sixteen jobs."""
    gate = Gate(concurrency=Concurrency(per=("to",), limit=1))
    job = gated(gate)
    async with Queue(job, lambda _: None, url=redis_url, stream=stream) as queue:
        await queue.enqueue_bulk(job(to=f"k{n}", subject="") for n in range(100))
        connection = connection_to(Address.of(redis_url))
        async with aclosing(connection):
            scripts = GateScripts(Stream(connection, stream, GROUP), gate)
            for admitted in (66, 100):
                await scripts.admit("worker", 100, 0.0)
                assert raw("XLEN", stream) == admitted
                parked = raw("ZCARD", Keys(stream, GROUP).gate[1])
                assert parked == 100 - admitted


@pytest.mark.one_server
async def test_a_stream_that_holds_enough_is_left_alone(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A settle has admitted what the next read takes: that is counted, and nothing else is."""
    gate = Gate(concurrency=Concurrency(limit=100))
    job = gated(gate)
    async with Queue(job, lambda _: None, url=redis_url, stream=stream) as queue:
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(40))
        connection = connection_to(Address.of(redis_url))
        async with aclosing(connection):
            scripts = GateScripts(Stream(connection, stream, GROUP), gate)
            await scripts.admit("worker", 16, 0.0)  # the server knows the script
            with Monitor(redis_url) as monitor:
                assert await scripts.admit("worker", 16, 0.0) is None
                inside = [name for name, _ in monitor.words(inside=True)]
            assert inside == ["XINFO", "XLEN", "XRANGE"]
            assert raw("XLEN", stream) == 16
            await scripts.admit("worker", 20, 0.0)
            assert raw("XLEN", stream) == 20


@pytest.mark.one_server
async def test_a_settle_where_turns_matter_admits_for_those_that_wait(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Without a worker that waits it does not look at lanes; with one it admits for that one."""
    gate = Gate(fair=Fair(per=("to",)))
    job = gated(gate)
    async with Queue(job, lambda _: None, url=redis_url, stream=stream) as queue:
        await queue.enqueue_bulk(job(to="a", subject=str(n)) for n in range(3))
        connection = connection_to(Address.of(redis_url))
        async with aclosing(connection):
            place = Stream(connection, stream, GROUP)
            scripts = GateScripts(place, gate)
            await place.init("0")
            await scripts.admit("busy", 2, 0.0)
            first, second = (
                [Delivery(entry, 0.0)] for entry in await place.read("busy", 2)
            )
            with Monitor(redis_url) as monitor:
                await place.settle("busy", first, [], parts=(scripts.settle,))
                inside = [name for name, _ in monitor.words(inside=True)]
            assert "ZRANGE" not in inside
            assert raw("XLEN", stream) == 1
            raw("HSET", Keys(stream, GROUP).gate[10], "idle", 1)
            await place.settle("busy", second, [], parts=(scripts.settle,))
            assert raw("XLEN", stream) == 1
            assert raw("ZCARD", Keys(stream, GROUP).gate[1]) == 0


async def test_jobs_that_an_earlier_version_has_parked_run(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Their ticket is the last of their fields; each keeps its fields and its id."""
    policies = Gate(
        concurrency=Concurrency(per=("to",), limit=1),
        unique=Unique(fields=("subject",)),
    )
    job = gated(policies)
    ran: dict[str, str] = {}

    async def work(each: Email, ctx: Context) -> None:
        ran[each.subject] = ctx.id

    async with Queue(job, work, url=redis_url, stream=stream) as queue:
        many = [job(to="a", subject=str(n)) for n in range(5)]
        ids = [await queue.enqueue(each) for each in many]
        assert raw("EVAL", _TICKETS_LAST, 1, Keys(stream, GROUP).bodies) == 4
        queue.run()
        await wait_until(lambda: len(ran) == 5)
        await queue.drain()
    assert [ran[str(n)] for n in range(5)] == ids
    assert leftovers(raw, stream) == []
