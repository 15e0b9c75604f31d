"""A script that ran and whose answer was lost: what is repeated is done once.

Reads, takeovers and what a settle does are in `tests/runtime`.
"""

from __future__ import annotations

import pytest

from flowd import DeadLetters, LetterNotFound, OutcomeUnknown, Queue, Reject
from flowd.scripts import REDRIVE, RENEW, SETTLE, TEND
from jobs.email import Email
from tests.faults.trial import GROUP
from tests.raw import Raw
from tests.runtime.expire import pending
from tests.runtime.faults import Bench, email, events, policy, until
from tests.runtime.proxy import proxy_to


async def test_a_lost_promotion_is_made_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A delayed job whose promotion was answered into the void runs once."""
    bench = Bench()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, bench, url=proxy.url, policy=policy(stream)) as queue,
    ):
        queue.run()
        await queue.enqueue(email("before"))
        await queue.drain()
        proxy.lose(TEND.sha.encode())
        await queue.enqueue(email("delayed"), delay=0.001)
        await queue.drain()
        assert proxy.lost == 1

    assert bench.started == bench.done == ["before", "delayed"]
    assert raw("EXISTS", f"{{{stream}}}:delayed:jobs") == 0


async def test_a_lost_release_is_made_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that a shutdown hands back is in the stream once, and nobody's."""
    bench = Bench(closed=True)
    raw("SCRIPT", "LOAD", SETTLE.source)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, bench, url=proxy.url, policy=policy(stream)) as queue,
    ):
        handle = queue.run()
        await queue.enqueue(email())
        await until(lambda: bench.started)
        proxy.lose(SETTLE.sha.encode())
        await handle.shutdown(grace=0.0)
        assert proxy.lost == 1

    ((_, fields),) = raw.entries(stream)
    assert fields[b"to"] == b"a"
    assert not pending(raw, stream, GROUP)


async def test_a_lost_renewal_is_repeated(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not to know whether a lease was renewed is not to have lost it."""
    bench = Bench(closed=True)
    raw("SCRIPT", "LOAD", RENEW.source)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, bench, url=proxy.url, policy=policy(stream, lease=2.0)) as queue,
    ):
        queue.run()
        await queue.enqueue(email())
        await until(lambda: bench.started)
        proxy.lose(RENEW.sha.encode())
        await until(lambda: proxy.lost == 1)
        seen = bench.contexts[0].lease_deadline
        await until(lambda: bench.contexts[0].lease_deadline > seen)
        bench.gate.set()
        await queue.drain()

    assert bench.started == bench.done == ["a"]
    assert "lease_lost" not in events(caplog.records)


async def test_a_lost_redrive_is_made_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The operator is told that it is not known, and asking again moves nothing."""

    async def refuse(job: Email) -> None:
        raise Reject("no")

    raw("SCRIPT", "LOAD", REDRIVE.source)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, refuse, url=proxy.url, policy=policy(stream)) as queue,
        DeadLetters(Email, proxy.url, stream=stream) as letters,
    ):
        handle = queue.run()
        await queue.enqueue(email())
        await queue.drain()
        await handle.shutdown()
        (letter,) = [letter async for letter in letters.list()]
        proxy.lose(REDRIVE.sha.encode())
        with pytest.raises(OutcomeUnknown):
            await letters.redrive(letter.id)
        with pytest.raises(LetterNotFound):
            await letters.redrive(letter.id)
        assert await letters.redrive_all() == 0

    assert raw("XLEN", stream) == 1


async def test_a_lost_set_up_is_repeated(redis_url: str, raw: Raw, stream: str) -> None:
    """A group that was created all the same is found, and is the only one."""
    bench = Bench()
    async with proxy_to(redis_url) as proxy:
        proxy.lose(b"MKSTREAM")
        async with Queue(Email, bench, url=proxy.url, policy=policy(stream)) as queue:
            assert proxy.lost == 1
            groups = raw("XINFO", "GROUPS", stream)
            queue.run()
            await queue.enqueue(email())
            await queue.drain()

    assert isinstance(groups, list)
    assert len(groups) == 1
    assert bench.done == ["a"]
