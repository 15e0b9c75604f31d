"""A script that ran and whose answer was lost: what is repeated is done once.

Reads and takeovers are in `tests/worker`.
"""

from __future__ import annotations

import logging

import pytest

from flowd import (
    DeadLetters,
    Letter,
    LetterNotFound,
    OutcomeUnknown,
    Queue,
    Reject,
    Retry,
    Snooze,
)
from flowd.broker.connection import Connection
from flowd.broker.scripts import REDRIVE, SETTLE
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import pending, steal
from tests.support.log import events
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.scripts import MAINTAIN, RENEW
from tests.support.waiting import wait_until
from tests.system.faults.recovery import GROUP


async def test_a_lost_promotion_is_made_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A delayed job whose promotion was answered into the void runs once."""
    recorder = RecordingHandler()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
    ):
        queue.run()
        await queue.enqueue(email("before"))
        await queue.drain()
        proxy.lose(MAINTAIN.sha.encode())
        await queue.enqueue(email("delayed"), delay=0.001)
        await queue.drain()
        assert proxy.lost == 1

    assert recorder.started == recorder.done == ["before", "delayed"]
    assert raw("EXISTS", f"{{{stream}}}:delayed:jobs") == 0


async def test_a_lost_release_is_made_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that a shutdown releases is in the stream once, without an owner."""
    recorder = RecordingHandler(closed=True)
    raw("SCRIPT", "LOAD", SETTLE.source)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
    ):
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
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
    recorder = RecordingHandler(closed=True)
    raw("SCRIPT", "LOAD", RENEW.source)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email, recorder, url=proxy.url, policy=policy(stream, lease=4.0)
        ) as queue,
    ):
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        proxy.lose(RENEW.sha.encode())
        await wait_until(lambda: proxy.lost == 1)
        seen = recorder.contexts[0].lease_deadline
        await wait_until(lambda: recorder.contexts[0].lease_deadline > seen)
        recorder.gate.set()
        await queue.drain()

    assert recorder.started == recorder.done == ["a"]
    assert "lease_lost" not in events(caplog.records)


async def test_a_lost_redrive_is_made_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The operator gets OutcomeUnknown, and a repetition moves nothing."""

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
    recorder = RecordingHandler()
    async with proxy_to(redis_url) as proxy:
        proxy.lose(b"MKSTREAM")
        async with Queue(
            Email, recorder, url=proxy.url, policy=policy(stream)
        ) as queue:
            assert proxy.lost == 1
            groups = raw("XINFO", "GROUPS", stream)
            queue.run()
            await queue.enqueue(email())
            await queue.drain()

    assert isinstance(groups, list)
    assert len(groups) == 1
    assert recorder.done == ["a"]


@pytest.mark.parametrize(
    ("end", "event"),
    [
        (None, "done"),
        (Retry(after=0), "retry"),
        (Retry(after=0.001), "retry"),
        (Snooze(0.001), "release"),
    ],
    ids=["ack", "retry at once", "retry", "snooze"],
)
async def test_a_lost_settle_is_reported_as_what_it_did(
    redis_url: str,
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    end: Exception | None,
    event: str,
) -> None:
    """The event of each outcome is said once, and none of them says `lost`."""
    caplog.set_level(logging.INFO, "flowd")
    ends = [end]

    async def run(job: Email) -> None:
        if ends and (error := ends.pop()):
            raise error

    raw("SCRIPT", "LOAD", SETTLE.source)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, run, url=proxy.url, policy=policy(stream)) as queue,
    ):
        proxy.lose(SETTLE.sha.encode())
        queue.run()
        await queue.enqueue(email())
        await queue.drain()
        await wait_until(lambda: "done" in events(caplog.records))
        assert proxy.lost == 1

    said = events(caplog.records)
    assert said.count(event) == said.count("done") == 1
    assert "lost" not in said


async def test_a_lost_dead_letter_is_announced(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`on_dead_letter` is called once, with the id of the letter that was stored."""
    letters: list[Letter[Email]] = []

    async def refuse(job: Email) -> None:
        raise Reject("no")

    raw("SCRIPT", "LOAD", SETTLE.source)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email,
            refuse,
            url=proxy.url,
            policy=policy(stream),
            on_dead_letter=letters.append,
        ) as queue,
    ):
        proxy.lose(SETTLE.sha.encode())
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: letters)
        assert proxy.lost == 1

    ((stored, _),) = raw.entries(f"{{{stream}}}:{GROUP}:dlq")
    assert [letter.id for letter in letters] == [stored]
    assert events(caplog.records).count("dead_letter") == 1
    assert "lost" not in events(caplog.records)


async def test_settle_after_a_takeover_reports_lost(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A settle that never came through, and came too late, did nothing: it says `lost`."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler(closed=True)
    async with (
        proxy_to(redis_url) as proxy,
        Queue(
            Email, recorder, url=proxy.url, policy=policy(stream, lease=60.0)
        ) as queue,
    ):
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        proxy.cut()
        recorder.gate.set()
        await wait_until(lambda: queue.failing is not None)
        steal(raw, stream, GROUP)
        (held,) = pending(raw, stream, GROUP)
        raw("XACK", stream, GROUP, held.id)
        raw("XDEL", stream, held.id)
        proxy.restore()
        await wait_until(lambda: "lost" in events(caplog.records))

    assert "done" not in events(caplog.records)


async def test_a_receipt_is_the_consumers_own(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It counts for its consumer, for its batch, and as long as that was the last."""
    connection = Connection(Address.of(redis_url))
    place = Stream(connection, stream, GROUP)

    async def read(consumer: str) -> Delivery:
        raw("XADD", stream, "*", "to", "a", "subject", "hi")
        (entry,) = await place.read(consumer, 1)
        return Delivery(entry, 0.0)

    try:
        await place.init("0")
        first, second, other = await read("a"), await read("a"), await read("b")
        assert await place.settle("a", [first], [], batch=1) == [1]
        again = await place.settle("a", [first], [], batch=1, repeated=True)
        assert again == [1]
        # Never sent before, as far as the server knows.
        steal(raw, stream, GROUP)
        for consumer, held, batch in (("b", other, 1), ("a", second, 2)):
            lost = await place.settle(consumer, [held], [], batch=batch, repeated=True)
            assert lost == [0]
        assert await place.settle("a", [first], [], batch=1, repeated=True) == [0]

        assert 0 < int(str(raw("PTTL", place.keys.receipts))) <= 300_000
        for keep, left in ((False, 60_000), (True, 300_000)):
            raw("PEXPIRE", place.keys.receipts, 60_000)
            await place.settle("a", [first], [], batch=3, keep_receipts=keep)
            kept = int(str(raw("PTTL", place.keys.receipts)))
            assert left - 10_000 < kept <= left
        raw("XGROUP", "DESTROY", stream, GROUP)
        await place.init("0")
        for consumer in ("a", "b"):
            raw("XGROUP", "CREATECONSUMER", stream, GROUP, consumer)
            assert await place.forget_consumer(consumer)
        assert raw("EXISTS", place.keys.receipts) == 0
    finally:
        await connection.aclose()
