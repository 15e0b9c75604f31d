"""Cancels are heard at once: by a channel, and a little later without it."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowd import Queue
from flowd.broker.session import connected
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.keys import QUEUES, Keys
from flowd.worker.cancel_channel import CancelChannel
from flowd.worker.handle import QueueHandle
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.held_queue import HeldQueue
from tests.support.raw import Raw
from tests.support.servers import chosen
from tests.support.waiting import RECOVERY, wait_until

GROUP = "senders"
LONG = 180.0
"""A lease that is renewed, and so looked at, too late for any of these tests; so is the
maintenance of a queue with this lease and the longest `block`."""

BLOCK = LONG / 3


def channel_of(stream: str) -> str:
    """Where a queue publishes that marks have changed."""
    return Keys(stream, GROUP).cancels


def links(raw: Raw) -> list[str]:
    """The ids of the connections that listen for cancels."""
    return [client["id"] for client in raw.clients("flowd-cancels")]


class Heard:
    """Counts what one channel says."""

    def __init__(self) -> None:
        self.revisions: list[int] = []

    def __call__(self, revision: int) -> None:
        """Take one revision."""
        self.revisions.append(revision)


async def subscribed(raw: Raw, stream: str, number: int = 1) -> None:
    """Return when so many listen."""
    channel, node = channel_of(stream).encode(), raw.at(QUEUES)
    await wait_until(lambda: node("PUBSUB", "NUMSUB", channel) == [channel, number])


async def test_fifty_cancels_are_heard_by_the_channel_alone(
    redis_url: str,
    raw: Raw,
    stream: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Each handler is cancelled long before its lease is renewed, one after the other."""
    recorder = RecordingHandler(closed=True)
    took: list[float] = []
    async with Queue(
        Email, recorder, url=redis_url, policy=policy(stream, lease=LONG), block=BLOCK
    ) as queue:
        handle = queue.run()
        await subscribed(raw, stream)
        for number in range(50):
            job_id = await queue.enqueue(email(str(number)))
            await wait_until(lambda: len(recorder.started) > number)  # noqa: B023
            began = time.perf_counter()
            assert await queue.cancel(job_id) == "cancelling"
            await wait_until(lambda: len(recorder.cancelled) > number)  # noqa: B023
            took.append(time.perf_counter() - began)
        await queue.drain()
        await handle.shutdown()
    record_property("median", f"{statistics.median(took):.4f}")
    record_property("worst", f"{max(took):.4f}")
    assert recorder.cancelled == [str(number) for number in range(50)]


async def test_a_mark_that_comes_while_marks_are_read_is_read(
    redis_url: str, stream: str
) -> None:
    """What the answer under way does not have is asked for behind it."""

    async def cancel(job_id: str) -> str:
        async with Queue(
            Email, RecordingHandler(), url=redis_url, policy=policy(stream)
        ) as other:
            return await other.cancel(job_id)

    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        ids = await queue.enqueue_bulk(email(str(number)) for number in range(2))
        async with connected(queue.address) as connection:
            held = HeldQueue(Stream(connection, stream, GROUP), LONG)
            first, second = await held.take(2)
            assert await queue.cancel(ids[0]) == "cancelling"
            held.cancellations.noticed(1)
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # the question is sent
            # In another thread, for which this one waits: the answer is read behind it.
            with ThreadPoolExecutor(1) as pool:
                marked = pool.submit(asyncio.run, cancel(ids[1]))
                assert marked.result() == "cancelling"
            held.cancellations.noticed(2)
            await wait_until(lambda: held.cancellations.has(second))
            assert held.cancellations.has(first)


async def test_marks_that_keep_coming_hold_up_no_job(
    redis_url: str, stream: str
) -> None:
    """A maintenance waits for those that it speaks of, not for all that follow."""
    async with (
        Queue(Email, RecordingHandler(), url=redis_url, policy=policy(stream)) as queue,
        connected(queue.address) as connection,
    ):
        held = HeldQueue(Stream(connection, stream, GROUP), LONG)

        async def keep_marking() -> None:
            for revision in itertools.count(1):
                held.cancellations.noticed(revision)
                await asyncio.sleep(0)

        marking = asyncio.create_task(keep_marking())
        await asyncio.sleep(0)
        async with asyncio.timeout(RECOVERY):
            await held.cancellations.up_to_date()
        assert not marking.done()
        marking.cancel()
        held.cancellations.close()
        await asyncio.wait([marking])
        await held.cancellations.up_to_date()


@pytest.mark.one_server
async def test_all_queues_of_a_loop_share_one_connection(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Ten queues subscribe over one link; the last that ends closes it."""
    others = {*links(raw)}
    recorder = RecordingHandler(closed=True)
    names = [f"{stream}-{number}" for number in range(10)]
    queues = [
        Queue(
            Email, recorder, url=redis_url, policy=policy(name, lease=LONG), block=BLOCK
        )
        for name in names
    ]
    handles: list[QueueHandle[Email]] = []
    for queue in queues:
        await queue.init()
        handles.append(queue.run())
    for name in names:
        await subscribed(raw, name)
    assert len({*links(raw)} - others) <= 1  # of a cluster another node may have it
    job_id = await queues[9].enqueue(email("last"))
    await wait_until(lambda: recorder.started)
    await queues[9].cancel(job_id)
    await wait_until(lambda: recorder.cancelled == ["last"])
    for handle in handles:
        await handle.shutdown()
    await wait_until(lambda: not {*links(raw)} - others)
    for queue in queues:
        await queue.aclose()


@pytest.mark.one_server
async def test_a_lost_channel_is_made_anew(
    redis_url: str, raw: Raw, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After the link was cut, the next cancel is heard again; the log says nothing of it."""
    recorder = RecordingHandler(closed=True)
    async with Queue(
        Email, recorder, url=redis_url, policy=policy(stream, lease=LONG), block=BLOCK
    ) as queue:
        queue.run()
        await subscribed(raw, stream)
        raw("CLIENT", "KILL", "TYPE", "pubsub")
        await wait_until(lambda: raw("PUBSUB", "NUMSUB", "x") == [b"x", 0])
        job_id = await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        await subscribed(raw, stream)
        await queue.cancel(job_id)
        await wait_until(lambda: recorder.cancelled)
        await queue.drain()
    assert not [each for each in caplog.records if each.levelname != "INFO"]


@pytest.mark.parametrize("lacks", ["+subscribe", "+publish", "channels"])
async def test_a_missing_right_costs_only_the_haste(
    redis_url: str,
    raw: Raw,
    stream: str,
    lacks: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Then the maintenance says it; nothing fails, and no link stays open for nothing."""
    if chosen().name == "sentinel":
        pytest.skip("users are not replicated, and a loaded machine may fail over")
    user = f"no-{lacks.strip('+')}-{stream}"
    rights = {
        "+subscribe": ("allchannels", "-subscribe"),
        "+publish": ("allchannels", "-publish"),
        "channels": ("resetchannels",),
    }
    raw("ACL", "SETUSER", user, "on", ">secret", "~*", "+@all", *rights[lacks])
    url = redis_url.replace("://", f"://{user}:secret@")
    recorder = RecordingHandler(closed=True)
    try:
        async with Queue(
            Email, recorder, url=url, policy=policy(stream, lease=4.0)
        ) as queue:
            job_id = await queue.enqueue(email())
            queue.run()
            await wait_until(lambda: recorder.started)
            assert await queue.cancel(job_id) == "cancelling"
            await wait_until(lambda: recorder.cancelled)
            await queue.drain()
            if lacks != "+publish":
                channel = channel_of(stream).encode()
                assert raw("PUBSUB", "NUMSUB", channel) == [channel, 0]
                await wait_until(
                    lambda: all(
                        client["user"] != user
                        for client in raw.clients("flowd-cancels")
                    )
                )
    finally:
        raw("ACL", "DELUSER", user)
    assert not [each for each in caplog.records if each.levelname != "INFO"]


@pytest.mark.one_server
async def test_a_message_that_is_no_revision_is_passed_over(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Any client with the right may publish: only a number above 0 is one."""
    heard, channel = Heard(), channel_of(stream)
    own = CancelChannel(Address.of(redis_url))
    own.add(channel, heard)
    await subscribed(raw, stream)
    for said in ("", "0", "-1", "1.5", "x", b"\xff", "\u00b2", "9" * 10_000, "7"):
        raw("PUBLISH", channel, said)
    await wait_until(lambda: heard.revisions)
    await own.remove(channel, heard)
    assert heard.revisions == [7]


@pytest.mark.one_server
async def test_two_queues_on_one_channel_hear_both(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What one of them leaves, the other goes on to hear."""
    first, second, channel = Heard(), Heard(), channel_of(stream)
    own = CancelChannel(Address.of(redis_url))
    own.add(channel, first)
    own.add(channel, second)
    await subscribed(raw, stream)
    raw("PUBLISH", channel, "1")
    await wait_until(lambda: second.revisions)
    await own.remove(channel, first)
    raw("PUBLISH", channel, "2")
    await wait_until(lambda: len(second.revisions) == 2)
    await own.remove(channel, second)
    assert (first.revisions, second.revisions) == ([1], [1, 2])
    await subscribed(raw, stream, 0)
