"""A link that breaks, stalls, stutters or crawls."""

from __future__ import annotations

import pytest

from flowd.broker.scripts import SETTLE
from flowd.embedded import Server
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.scripts import MAINTAIN
from tests.support.waiting import wait_until
from tests.system.faults.recovery import recovering_worker


async def test_connections_that_are_killed(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """CLIENT KILL of everything: reader, commands and leases connect again."""
    async with recovering_worker(redis_url, stream, caplog) as worker:
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        worker.recorder.gate.set()
        await worker.recovers()


async def test_clients_that_are_paused(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """CLIENT PAUSE: what is not answered in time is asked again, and done once."""
    with Raw(own_server.url) as raw:
        async with recovering_worker(own_server.url, stream, caplog) as worker:
            raw("CLIENT", "PAUSE", 60_000, "WRITE")
            await worker.suffers()
            assert worker.reason("no answer in time")
            raw("CLIENT", "UNPAUSE")
            await worker.recovers()


@pytest.mark.parametrize(
    "asked",
    [b"XREADGROUP", SETTLE.sha.encode(), MAINTAIN.sha.encode()],
    ids=["read", "settle", "maintain"],
)
async def test_broken_off_answer_loses_nothing(
    redis_url: str,
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    asked: bytes,
) -> None:
    """An answer that breaks off was never given: nothing in it is lost or done twice."""
    async with (
        proxy_to(redis_url) as proxy,
        recovering_worker(proxy.url, stream, caplog) as worker,
    ):
        proxy.lose(asked, passed_on=0.5)
        raw("XADD", stream, "*", "to", "meanwhile", "subject", "hi")
        worker.jobs.append("meanwhile")
        worker.recorder.gate.set()
        await worker.recovers()
        assert proxy.lost == 1


@pytest.mark.parametrize(
    "asked", [SETTLE.sha.encode(), MAINTAIN.sha.encode()], ids=["settle", "maintain"]
)
async def test_an_answer_that_never_comes(
    redis_url: str,
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    asked: bytes,
) -> None:
    """A connection that is open and silent is given up, and what was asked is repeated."""
    async with (
        proxy_to(redis_url) as proxy,
        recovering_worker(proxy.url, stream, caplog) as worker,
    ):
        proxy.lose(asked, hang=True)
        worker.recorder.gate.set()
        await worker.recovers()
        assert worker.reason("no answer in time")


async def test_a_link_of_a_kilobyte_a_second(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Small jobs get through, each once, and none of them is given up."""
    async with (
        proxy_to(redis_url) as proxy,
        recovering_worker(proxy.url, stream, caplog) as worker,
    ):
        worker.recorder.gate.set()
        await wait_until(lambda: raw("XLEN", stream) == 0)
        await wait_until(lambda: "delayed" in worker.recorder.done)
        proxy.rate = 1_000
        for number in range(5):
            raw("XADD", stream, "*", "to", f"small-{number}", "subject", "hi")
            worker.jobs.append(f"small-{number}")
        await wait_until(lambda: sorted(worker.recorder.done) == sorted(worker.jobs))
        await wait_until(lambda: raw("XLEN", stream) == 0)

    assert sorted(worker.recorder.started) == sorted(worker.jobs)


async def test_a_link_on_which_nothing_gets_through(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Too slow for any answer in time, it is an outage until it is repaired.

    What is under way then is lost: a read that reaches the server after its worker
    gave it up takes jobs that wait until their lease expires.
    """
    async with (
        proxy_to(redis_url) as proxy,
        recovering_worker(proxy.url, stream, caplog) as worker,
    ):
        proxy.rate = 20
        await worker.suffers()
        proxy.cut()
        proxy.rate = 0
        proxy.restore()
        await worker.recovers()
