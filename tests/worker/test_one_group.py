"""A stream belongs to one group; a second one costs no job, whenever it appears."""

from __future__ import annotations

import asyncio
import logging

import pytest

from flowd import DeadLetters, Queue, Reject, Snooze, StreamShared
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_a_second_group_is_refused(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """`init` says which group reads the stream already, and creates nothing."""
    rules = policy(stream)
    async with make_queue(rules=rules) as first:
        second = Queue(
            Email, RecordingHandler(), url=redis_url, policy=rules, group="auditors"
        )
        with pytest.raises(StreamShared, match=f"read by group {GROUP}"):
            await second.init()
        await second.aclose()
        await first.init()
        with Raw(redis_url) as raw:
            assert raw("SMEMBERS", "flowd:queues") == [f"{stream}\n{GROUP}".encode()]


async def test_two_groups_at_the_same_moment_make_one(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Of many programs that set up groups of their own, one succeeds."""
    queues = [
        Queue(
            Email,
            RecordingHandler(),
            url=redis_url,
            policy=policy(stream),
            group=f"g{number}",
        )
        for number in range(10)
    ]
    results = await asyncio.gather(
        *(queue.init() for queue in queues), return_exceptions=True
    )
    for queue in queues:
        await queue.aclose()

    assert [type(result) for result in results].count(StreamShared) == 9
    groups = raw("XINFO", "GROUPS", stream)
    assert isinstance(groups, list)
    assert len(groups) == 1


async def test_many_workers_of_one_group_are_one_group(
    stream: str, make_queue: MakeQueue
) -> None:
    """Queues of the same group share the jobs."""
    recorders = [RecordingHandler(), RecordingHandler()]
    rules = policy(stream)
    async with (
        make_queue(recorders[0], rules=rules) as first,
        make_queue(recorders[1], rules=rules) as second,
    ):
        first.run()
        second.run()
        await first.enqueue_bulk(email(str(number)) for number in range(100))
        await second.drain()

    done = recorders[0].done + recorders[1].done
    assert sorted(done, key=int) == [str(number) for number in range(100)]


@pytest.mark.parametrize("end", ["done", "failed", "rejected", "snoozed"])
async def test_a_group_that_appears_later_loses_nothing(
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    end: str,
    make_queue: MakeQueue,
) -> None:
    """Whatever a handler says, its entry stays until the second group is gone."""

    async def finish(job: Email) -> None:
        raw("XGROUP", "CREATE", stream, "auditors", "0")
        match end:
            case "failed":
                raise ValueError
            case "rejected":
                raise Reject("no")
            case "snoozed":
                raise Snooze(60.0)
            case _:
                return

    async with make_queue(finish, backoff=60.0) as queue:
        queue.run()
        entry = await queue.enqueue(email())
        await wait_until(lambda: "outage" in events(caplog.records))

        assert [found for found, _ in raw.entries(stream)] == [entry]
        assert len(pending(raw, stream, GROUP)) == 1
        assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 0
        assert raw("ZCARD", f"{{{stream}}}:delayed") == 0

        raw("XGROUP", "DESTROY", stream, "auditors")
        await wait_until(lambda: not pending(raw, stream, GROUP))

    lines = [record.getMessage() for record in caplog.records]
    assert sum("also read by group auditors" in line for line in lines) == 1


async def test_work_goes_on_once_the_second_group_is_gone(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """While it is there the worker holds still; then it finishes every job once."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, concurrency=2) as queue:
        queue.run()
        await queue.enqueue_bulk(email(str(number)) for number in range(20))
        await queue.enqueue(email("20"), delay=0.05)
        await wait_until(lambda: len(recorder.started) == 2)
        raw("XGROUP", "CREATE", stream, "auditors", "0")
        recorder.gate.set()
        await wait_until(lambda: len(recorder.done) >= 2)

        left = raw("XLEN", stream)
        assert isinstance(left, int)
        assert left + int(raw("ZCARD", f"{{{stream}}}:delayed") == 1) == 21
        raw("XGROUP", "DESTROY", stream, "auditors")
        await queue.drain()

    assert sorted(recorder.done, key=int) == [str(number) for number in range(21)]


async def test_shared_stream_is_not_maintained(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Neither takeover nor promotion happens while two groups read the stream."""
    caplog.set_level(logging.INFO)
    recorder = RecordingHandler()
    async with make_queue(recorder) as queue:
        await queue.enqueue(email("abandoned"))
        die_with(raw, stream, GROUP, jobs=1)
        await queue.enqueue(email("delayed"), delay=0.001)
        raw("XGROUP", "CREATE", stream, "auditors", "$")
        queue.run()
        await wait_until(lambda: "outage" in events(caplog.records))
        assert [held.consumer for held in pending(raw, stream, GROUP)] == ["dead"]
        assert not recorder.started

        raw("XGROUP", "DESTROY", stream, "auditors")
        await queue.drain()

    assert sorted(recorder.done) == ["abandoned", "delayed"]
    assert events(caplog.records).count("recovery") == 1


async def test_a_shared_stream_is_not_redriven_into(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A dead letter stays one while a second group would see it come back."""

    async def refuse(job: Email) -> None:
        raise Reject("no")

    async with (
        make_queue(refuse) as queue,
        DeadLetters(Email, redis_url, stream=stream) as letters,
    ):
        handle = queue.run()
        await queue.enqueue(email())
        await queue.drain()
        await handle.shutdown()
        raw("XGROUP", "CREATE", stream, "auditors", "$")
        with pytest.raises(StreamShared, match="auditors"):
            await letters.redrive_all()

        assert len([letter async for letter in letters.list()]) == 1
        raw("XGROUP", "DESTROY", stream, "auditors")
        assert await letters.redrive_all() == 1
