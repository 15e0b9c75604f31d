"""A handler that holds the event loop is named while it does."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from flowd.model.event import EventBus
from flowd.worker.loop_monitor import LoopMonitor
from jobs.email import Email
from tests.support.email_job import email
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import RECOVERY, wait_until


class _Hold:
    """Holds the event loop until so many lines about it are logged."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        self._records = records

    def until_logged(self, times: int) -> None:
        """Hold the loop, in this file, which the lines name; another thread logs them."""
        deadline = time.monotonic() + RECOVERY
        while events(self._records).count("loop_lag") < times:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # An episode is logged once, however long it lasts.
        _compute(1.2)

    async def __call__(self, job: Email) -> None:
        """Hold the loop until the log has as many lines as the job says."""
        self.until_logged(int(job.to))


async def test_a_handler_that_holds_the_loop_is_named_once(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Each episode is one line with the handler, its job and the line of code."""
    hold = _Hold(caplog.records)
    async with make_queue(hold, concurrency=1) as queue:
        queue.run()
        ids = await queue.enqueue_bulk([email("1"), email("2")])
        await queue.drain()

    said = [each for each in caplog.records if vars(each).get("event") == "loop_lag"]
    assert len(said) == 2
    for line, job_id in zip(said, ids, strict=True):
        assert f"{__name__}._Hold ({job_id})" in line.getMessage()
        assert f"{__file__}:" in line.getMessage()
        assert vars(line)["lag"] >= 1.0


async def test_blocking_code_outside_handlers_is_not_attributed(
    caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """Other code that holds the loop is not blamed on a job that runs meanwhile."""
    started, go = asyncio.Event(), asyncio.Event()

    async def wait(_: Email) -> None:
        started.set()
        await go.wait()

    async with make_queue(wait) as queue:
        queue.run()
        await queue.enqueue(email())
        await started.wait()
        _Hold(caplog.records).until_logged(1)
        go.set()
        await queue.drain()

    (line,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "something that is no handler keeps it" in line.getMessage()


async def test_a_process_that_was_stopped_blames_no_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its checks stand still as long as its loop, as when a machine is paused."""
    monitor = LoopMonitor(lambda _: "a handler", EventBus())
    monitor.start()
    await asyncio.sleep(0.2)
    monitor.check()
    time.sleep(0.9)  # noqa: ASYNC251 - the loop and the checks stop together
    monitor.check()
    monitor.stop()
    assert events(caplog.records) == []


async def test_answers_that_came_meanwhile_are_not_lost(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """A loop that stood still for longer than a command may take is no outage."""
    caplog.set_level(logging.INFO)
    async with make_queue() as queue:
        queue.run()
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        asked = asyncio.ensure_future(queue.enqueue(email()))
        await wait_until(lambda: asked.done() or raw("XLEN", stream))
        _compute(3.5)
        await asked
        await queue.drain()

    assert "outage" not in events(caplog.records)
    assert events(caplog.records).count("done") == 1


def _compute(seconds: float) -> None:
    """Block this thread for so long, in small steps."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
