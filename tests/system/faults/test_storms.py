"""No fault makes a worker hammer: what it sends in a second is bounded.

Counted at the link: connections, and writes, each of which may carry several commands.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import pytest

from flowd import Queue
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.log import events, outages
from tests.support.proxy import Proxy, proxy_to
from tests.support.raw import Raw
from tests.support.waiting import wait_until
from tests.system.faults.recovery import recovering_worker

_WATCHED: Final = 2.0
_MOST_WHEN_IDLE: Final = 5 * 2.0

# Reading, maintaining, settling and leases wait up to 0.5 s each, with full jitter: a try
# every 0.25 s. One that is refused makes a new connection, which takes five requests.
_MOST_TRIES: Final = 5 * 16.0
_MOST_REFUSED: Final = 5 * _MOST_TRIES


async def test_an_idle_worker_is_quiet(redis_url: str, stream: str) -> None:
    """Without work there are two requests a second at most, to read and look around."""
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email, RecordingHandler(), url=proxy.url, policy=policy(stream, lease=30.0)
        ) as queue,
    ):
        queue.run()
        await queue.enqueue(email())
        await queue.drain()
        asked = await _asked(proxy)
        print(f"asked: {asked:.1f} a second, idle")

    assert asked < _MOST_WHEN_IDLE


async def test_a_server_that_is_gone(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While no server listens, connections are tried a few times a second."""
    async with (
        proxy_to(redis_url) as proxy,
        recovering_worker(proxy.url, stream, caplog) as worker,
    ):
        proxy.cut()
        await worker.suffers()
        before, began = proxy.accepted, time.monotonic()
        await _asked(proxy)
        tried = (proxy.accepted - before) / (time.monotonic() - began)
        proxy.restore()
        await worker.recovers()
        print(f"asked: {tried:.1f} connections a second, gone")

    assert 0 < tried < _MOST_TRIES


async def test_a_server_that_refuses(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While every write is refused, loops ask a few times a second each."""
    with Raw(own_server.url) as raw:
        async with (
            proxy_to(own_server.url) as proxy,
            recovering_worker(proxy.url, stream, caplog) as worker,
        ):
            raw("CONFIG", "SET", "min-replicas-to-write", 1)
            await worker.suffers()
            asked = await _asked(proxy)
            raw("CONFIG", "SET", "min-replicas-to-write", 0)
            await worker.recovers()
            print(f"asked: {asked:.1f} a second, refused")

    assert 0 < asked < _MOST_REFUSED


async def test_a_group_that_cannot_be_made(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A flushed server without memory is asked for the group a few times a second."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler()
    with Raw(own_server.url) as raw:
        async with (
            proxy_to(own_server.url) as proxy,
            Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
        ):
            queue.run()
            await queue.enqueue(email("before"))
            await queue.drain()
            raw("CONFIG", "SET", "maxmemory", 1)
            raw("FLUSHALL")
            await wait_until(lambda: "outage" in events(caplog.records))
            asked = await _asked(proxy)
            raw("CONFIG", "SET", "maxmemory", 0)
            await wait_until(lambda: "group_recreated" in events(caplog.records))
            await queue.enqueue(email("after"))
            await queue.drain()
            await wait_until(lambda: "recovery" in events(caplog.records))
            print(f"asked: {asked:.1f} a second, no group")

    assert 0 < asked < _MOST_TRIES
    assert recorder.done == ["before", "after"]
    said = events(caplog.records)
    assert (outages(said), said.count("recovery")) == (1, 1)
    assert said.count("group_recreated") == 1


async def _asked(proxy: Proxy) -> float:
    """How many requests come in a second, from now on."""
    before, began = proxy.requests, time.monotonic()
    await wait_until(lambda: time.monotonic() - began > _WATCHED)
    return (proxy.requests - before) / (time.monotonic() - began)
