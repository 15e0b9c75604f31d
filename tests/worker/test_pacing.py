"""Jobs that come one by one, and fast, are read together after a short pause."""

from __future__ import annotations

import time

import pytest

from flowd import Queue
from flowd.worker import pacing
from flowd.worker.pacing import Pacing
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.monitor import Monitor
from tests.support.raw import Raw
from tests.support.waiting import wait_until


def test_rare_jobs_are_read_at_once() -> None:
    """After a read that waited longer than the pause, the next one follows at once."""
    pacing = Pacing()
    assert pacing.pause(1.0, 1.01, 1) == 0.0
    assert pacing.pause(1.01, 3.01, 0) == 0.0


def test_frequent_jobs_are_gathered() -> None:
    """A job that came at once is followed by a pause, and several that came by another."""
    pacing = Pacing()
    assert pacing.pause(1.0, 1.001, 1) == 0.004
    assert pacing.pause(1.003, 1.004, 2) == 0.004
    assert pacing.pause(1.008, 1.02, 3) == 0.004


def test_a_chain_of_jobs_is_seldom_slowed_down() -> None:
    """After a pause that brought one job, the next try is 50 ms later."""
    pacing = Pacing()
    assert pacing.pause(1.0, 1.001, 1) == 0.004
    assert pacing.pause(1.003, 1.004, 1) == 0.0
    assert pacing.pause(1.0495, 1.0505, 1) == 0.0
    assert pacing.pause(1.051, 1.052, 1) == 0.004


async def test_jobs_of_one_pause_are_one_read(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five jobs, enqueued one by one while a worker pauses, take one read."""
    monkeypatch.setattr(pacing, "_GATHER", 0.5)
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
        await queue.enqueue_bulk([email(), email()])
        with Monitor(redis_url) as monitor:
            handle = queue.run()
            await wait_until(lambda: len(recorder.done) == 2)
            began = time.monotonic()
            for _ in range(5):
                await queue.enqueue(email())
            took = time.monotonic() - began
            await wait_until(lambda: len(recorder.done) == 7)
            sent = monitor.sent()
            await handle.shutdown()

    # The third waits for what comes next, or is not yet sent. A slow machine needs more than
    # one pause to enqueue five.
    assert 2 <= sent["XREADGROUP"] <= 3 + took / 0.5


async def test_jobs_that_end_in_a_pause_are_settled_together(
    redis_url: str, raw: Raw, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs that end apart in one pause are one settle, in the write of the next read."""
    monkeypatch.setattr(pacing, "_GATHER", 0.5)
    started: list[str] = []

    async def follow(job: Email) -> None:
        started.append(job.to)
        if job.to == "second":
            # By its answer, what the first had sent would have been carried out.
            await queue.enqueue(email("third"))

    async with Queue(Email, follow, url=redis_url, stream=stream) as queue:
        await queue.enqueue_bulk([email("first"), email("second")])
        raw("CONFIG", "RESETSTAT")
        with Monitor(redis_url) as monitor:
            handle = queue.run()
            await wait_until(lambda: len(started) == 3)
            await queue.drain()
            sent = monitor.words()
            await handle.shutdown()

    assert raw.calls("xdel") == 2
    # The read behind the pause waits for nothing (BLOCK), and the settle comes with it.
    names = [name for name, _ in sent]
    at = names.index("XREADGROUP", names.index("XADD"))
    assert sent[at] == ("XREADGROUP", 9)
    assert names[at + 1] == "EVALSHA"
