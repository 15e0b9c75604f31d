"""A server that goes away and comes back: with its data, late, slowly, or not yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from flowd import Claimer, Queue
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, expire, pending
from tests.support.log import events, outages
from tests.support.proxy import proxy_to
from tests.support.raw import Raw, RawError
from tests.support.servers import chosen, serving
from tests.support.waiting import wait_until
from tests.system.faults.recovery import GROUP, recovering_worker, recovery


@pytest.mark.parametrize("end", [Server.terminate, Server.kill], ids=["stop", "kill"])
async def test_a_server_that_is_started_again(
    own_server: Server,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    end: Callable[[Server], None],
) -> None:
    """Terminated or killed, it costs no job as long as it kept its data."""
    async with recovering_worker(own_server.url, stream, caplog) as worker:
        await asyncio.to_thread(end, own_server)
        await worker.suffers()
        await asyncio.to_thread(own_server.start)
        await worker.recovers()


async def test_a_server_that_is_not_there_yet(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that is started first sets its queue up as soon as it can, and runs."""
    caplog.set_level(logging.INFO, "flowd")
    own_server.terminate()
    recorder = RecordingHandler()
    queue = Queue(Email, recorder, url=own_server.url, policy=policy(stream))
    queue.run()
    setting_up = asyncio.create_task(queue.init())
    await wait_until(lambda: "outage" in events(caplog.records))
    await asyncio.to_thread(own_server.start)
    async with recovery():
        await setting_up
        await queue.enqueue(email())
        await queue.drain()
        await wait_until(lambda: "recovery" in events(caplog.records))
    await queue.aclose()

    assert recorder.done == ["a"]
    said = events(caplog.records)
    assert (outages(said), said.count("recovery")) == (1, 1)


@pytest.fixture
def slow_server() -> Iterator[Server]:
    """A server that takes seconds to load what it kept."""
    program = chosen().find()
    if program is None:
        pytest.skip(f"{chosen().name}: {chosen().missing}")
    # Microseconds for each command; clients are looked at after every thousand.
    # Redis 6.2 takes no setting while it loads, so there the load is not cut short.
    slow = ("--key-load-delay", "80" if chosen().name == "redis62" else "200")
    kept = ("--appendonly", "yes", "--appendfsync", "always")
    with serving(*kept, *slow, binary=program) as server:
        yield server


async def test_a_server_that_is_loading(
    slow_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """LOADING: a server that answers and has not read its data yet is waited for."""
    with Raw(slow_server.url) as raw:
        count = "for i = 1, ARGV[1] do redis.call('SET', KEYS[1], i) end"
        raw("EVAL", count, 1, f"{stream}-count", 30_000)
    async with recovering_worker(slow_server.url, stream, caplog) as worker:
        slow_server.kill()
        starting = asyncio.create_task(asyncio.to_thread(slow_server.start))
        await worker.suffers()
        # It goes on loading until the worker was refused, however slow that is.
        await wait_until(lambda: _refuses_a_script(slow_server))
        with Raw(slow_server.url) as raw, suppress(RawError):
            raw("CONFIG", "SET", "key-load-delay", 0)
        await starting
        await worker.recovers()


async def test_a_server_that_is_away_for_longer_than_a_lease(
    own_server: Server, stream: str
) -> None:
    """Jobs that ran all the while are their worker's still, whichever worker sweeps."""
    recorder, other = RecordingHandler(closed=True), RecordingHandler()
    rules, eager = policy(stream, lease=8.0), Claimer(interval=0.02)
    async with (
        proxy_to(own_server.url) as mine,
        proxy_to(own_server.url) as theirs,
        Queue(Email, recorder, url=mine.url, policy=rules, claimer=None) as queue,
        Queue(Email, other, url=theirs.url, policy=rules, claimer=eager) as hunter,
    ):
        queue.run()
        await queue.enqueue(email("kept"))
        await wait_until(lambda: recorder.started)
        hunter.run()
        mine.cut()
        theirs.cut()
        with Raw(own_server.url) as raw:
            await wait_until(lambda: raw.info("connected_clients") == "1")
            raw("XADD", stream, "*", "to", "abandoned", "subject", "hi")
            die_with(raw, stream, GROUP, jobs=1)
            expire(raw, stream, GROUP)
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        with Raw(own_server.url) as raw:
            assert min(each.idle for each in pending(raw, stream, GROUP)) > 8_000
            # The worker that sweeps for abandoned jobs is back first, and has to be patient.
            theirs.restore()
            await wait_until(lambda: raw.info("blocked_clients") == "1")
        mine.restore()
        async with recovery():
            await wait_until(lambda: other.done)
        recorder.gate.set()
        await queue.drain()

    assert recorder.started == recorder.done == ["kept"]
    assert other.started == other.done == ["abandoned"]


async def test_a_server_that_dies_with_delayed_jobs(
    own_server: Server, stream: str
) -> None:
    """Jobs that were due while it was away, and those due later, run once each."""
    recorder = RecordingHandler()
    async with Queue(
        Email, recorder, url=own_server.url, policy=policy(stream)
    ) as queue:
        for number in range(20):
            await queue.enqueue(email(str(number)), delay=0.05 * number + 0.001)
        queue.run()
        await wait_until(lambda: len(recorder.done) >= 3)
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        async with recovery():
            await queue.drain()

    assert sorted(recorder.done, key=int) == [str(number) for number in range(20)]


def _refuses_a_script(server: Server) -> bool:
    try:
        with Raw(server.url) as raw:
            return _refused(raw, "evalsha") > 0
    except OSError:
        return False  # it does not listen yet


def _refused(raw: Raw, command: str) -> int:
    stats = raw("INFO", "commandstats")
    assert isinstance(stats, bytes)
    for line in stats.decode().splitlines():
        if line.startswith(f"cmdstat_{command}:"):
            return int(line.split("rejected_calls=")[1].split(",")[0])
    return 0
