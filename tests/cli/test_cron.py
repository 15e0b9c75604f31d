"""`flowd cron`: list, pause, resume and run schedules."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from flowd import Queue
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli import main
from flowd.ops.queries import Queries
from flowd.ops.queues import judge_queue
from flowd.ops.snapshot import Snapshot
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.raw import Raw
from tests.support.scheduled import every, scheduled
from tests.support.waiting import wait_until


async def register(redis_url: str, stream: str) -> None:
    """Set up a queue with an hourly schedule, and leave it."""
    queue = Queue(
        scheduled(every(3_600)),
        RecordingHandler(),
        url=redis_url,
        policy=policy(stream),
    )
    await queue.init()
    await queue.aclose()


async def test_a_schedule_is_listed_paused_and_run(
    redis_url: str, raw: Raw, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each verb changes what it says, and the list shows it."""
    await register(redis_url, stream)

    async def flowd(*words: str) -> str:
        code = await asyncio.to_thread(main, ["cron", *words, "--url", redis_url])
        assert code == 0
        return capsys.readouterr().out

    async def listed() -> dict[str, object]:
        every_one = json.loads(await flowd("list", "--json"))
        return next(each for each in every_one if each["stream"] == stream)

    before = await listed()
    assert (before["name"], before["paused"], before["outcome"]) == (
        "nightly",
        False,
        "",
    )
    assert str(before["next_tick"]).endswith("00:00+00:00")
    here = ("--stream", stream)
    assert "is paused" in await flowd("pause", "nightly", *here)
    assert (await listed())["paused"] is True
    assert "is active" in await flowd("resume", "nightly", *here)
    job = (await flowd("run", "nightly", *here)).strip()
    assert job.startswith("cron:nightly:now:")
    assert (await listed())["outcome"] == "waiting or running"
    assert "nightly" in await flowd("list")
    handler = RecordingHandler()
    async with Queue(
        scheduled(every(3_600)), handler, url=redis_url, policy=policy(stream)
    ) as queue:
        queue.run()
        await wait_until(lambda: handler.done)
        await queue.drain()
    assert handler.contexts[0].id == job
    assert (await listed())["outcome"] == "done"


async def test_an_unknown_schedule_is_refused(
    redis_url: str, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is not registered is an error that lists those that are."""
    await register(redis_url, stream)
    words = ["cron", "pause", "weekly", "--stream", stream, "--url", redis_url]
    assert await asyncio.to_thread(main, words) == 2
    said = capsys.readouterr().err
    assert f"a worker of {stream} (senders) has registered; there: nightly" in said


async def test_a_schedule_is_found_among_several_queues(
    redis_url: str, raw: Raw, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its name, if one queue has it; several are listed, and nothing is changed."""
    other = f"{stream}-other"
    for name in (other, f"{stream}-plain"):
        rules, handler = policy(name), RecordingHandler()
        async with Queue(Email, handler, url=redis_url, policy=rules) as queue:
            await queue.init()
    await register(redis_url, stream)

    async def flowd(verb: str, name: str) -> tuple[int, str]:
        words = ["cron", verb, name, "--url", redis_url]
        code = await asyncio.to_thread(main, words)
        found = capsys.readouterr()
        return code, found.out + found.err

    place = f"{stream} (senders)"
    assert await flowd("pause", "nightly") == (0, f"nightly of {place} is paused\n")
    assert await flowd("resume", "nightly") == (0, f"nightly of {place} is active\n")
    code, job = await flowd("run", "nightly")
    assert (code, raw("XLEN", stream)) == (0, 1), job
    code, said = await flowd("pause", "weekly")
    assert (code, f"a schedule weekly; there: nightly of {place}" in said) == (2, True)
    await register(redis_url, other)
    code, said = await flowd("pause", "nightly")
    assert code == 2
    assert "2 queues have a schedule nightly: name one of them with --stream" in said
    assert place in said
    assert f"{other} (senders)" in said
    for each in (stream, other):
        assert raw("HGET", f"{{{each}}}:senders:cron", "nightly:paused") is None


async def test_the_doctor_reports_a_late_tick(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A tick that had no turn for more than a minute is wrong, and the advice says why."""
    await register(redis_url, stream)
    two_hours_ago = str(int((time.time() - 7_300) * 1000))
    raw("HSET", f"{{{stream}}}:senders:cron", "nightly:tick", two_hours_ago)
    async with connected(Address.of(redis_url)) as connection:
        queries = Queries(connection, stream, "senders")
        snapshot = Snapshot(queries, time.time())
        judged = await judge_queue(snapshot, lease=30.0, runs=1)
    (late,) = [each for each in judged.findings if "nightly" in each.text]
    assert late.level == "wrong"
    assert " s late" in late.text
