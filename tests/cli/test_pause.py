"""`flowd pause` and `resume`, and what other commands say of a pause."""

from __future__ import annotations

import asyncio
import json

import pytest

from flowd import Queue
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli import main
from flowd.ops.queries import Queries
from flowd.ops.queues import judge_queue
from flowd.ops.snapshot import Snapshot
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.raw import Raw
from tests.support.scheduled import every, scheduled


async def test_a_queue_is_paused_and_resumed(
    redis_url: str, raw: Raw, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command says what it changed, and stats and doctor show the pause."""

    async def flowd(*words: str) -> str:
        assert await asyncio.to_thread(main, [*words, "--url", redis_url]) == 0
        return capsys.readouterr().out

    async def findings() -> list[str]:
        async with connected(Address.of(redis_url)) as connection:
            queries = Queries(connection, stream, "senders")
            judged = await judge_queue(Snapshot(queries, 2e9), lease=30.0, runs=1)
            return [str(each.text) for each in judged.findings]

    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue:
        assert "is paused" in await flowd("pause", stream)
        assert "was paused" in await flowd("pause", stream)
        await queue.enqueue(email())
        said = json.loads(await flowd("stats", "--stream", stream, "--json"))[0]
        assert said["waiting"] == 1
        assert said["paused"] is not None
        assert "has been paused for" in await flowd("stats", "--stream", stream)
        assert any("has been paused" in each for each in await findings())
        raw("DEL", f"{{{stream}}}:senders:control")
        assert any("stands behind every entry" in each for each in await findings())
        said = json.loads(await flowd("resume", stream, "--json"))
        assert said == {"stream": stream, "state": "active", "changed": True}
        assert "was active" in await flowd("resume", stream)
        queue.run()
        await queue.drain()
    assert recorder.done == ["a"]


async def test_stats_show_schedules(
    redis_url: str, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Next to the queues is when their schedules tick, for people and for programs."""
    job_class = scheduled(every(3_600))
    async with Queue(
        job_class, RecordingHandler(), url=redis_url, policy=policy(stream)
    ):
        words = ["stats", "--stream", stream, "--url", redis_url]
        assert await asyncio.to_thread(main, words) == 0
        assert "nightly" in capsys.readouterr().out
        assert await asyncio.to_thread(main, [*words, "--json"]) == 0
    (schedule,) = json.loads(capsys.readouterr().out)[0]["schedules"]
    assert schedule["name"] == "nightly"


async def test_a_queue_without_a_group_cannot_be_paused(
    redis_url: str, raw: Raw, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what to do."""
    raw("XADD", stream, "*", "a", "b")
    words = ["pause", stream, "--group", "senders", "--url", redis_url]
    assert await asyncio.to_thread(main, words) == 3
    assert "start a worker" in capsys.readouterr().err
