"""A worker that lives through a fault, and the account of its jobs afterwards."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from flowd import Queue
from flowd.worker.handle import QueueHandle
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.log import events, outages
from tests.support.waiting import RECOVERY, wait_until

__all__ = ["GROUP", "Recovery", "recovering_worker", "recovery"]

GROUP: Final = "senders"
"""The group of every worker."""

_HELD: Final = ("held-0", "held-1")
_LINGER: Final = 0.3


class Recovery:
    """A worker with a job behind it, two that run, and one that is delayed.

    Attributes:
        recorder: its handler.
        jobs: those that are to be done in the end, each once.
    """

    def __init__(
        self,
        queue: Queue[Email],
        handle: QueueHandle[Email],
        recorder: RecordingHandler,
        log: list[logging.LogRecord],
    ) -> None:
        self.recorder = recorder
        self.jobs = ["before", *_HELD, "delayed"]
        self._queue = queue
        self._handle = handle
        self._log = log

    async def suffers(self) -> None:
        """The fault is there: what runs ends meanwhile, and the log says it once."""
        self.recorder.gate.set()
        await wait_until(lambda: set(_HELD) <= set(self.recorder.done))
        await wait_until(lambda: "outage" in self.events())
        began = time.monotonic()
        await wait_until(lambda: time.monotonic() - began > _LINGER)

    async def recovers(self) -> None:
        """The fault is over: soon everything is done, and nothing is done twice."""
        self.jobs.append("after")
        async with recovery():
            await self._queue.enqueue(email("after"), key="after")
            await self._queue.drain()
            await wait_until(lambda: "recovery" in self.events())
        self._account()

    def reason(self, sign: str) -> bool:
        """Whether the line about the outage says this (a pattern)."""
        lines = [
            record.getMessage()
            for record in self._log
            if vars(record).get("event") == "outage"
        ]
        return bool(re.search(sign, lines[0]))

    def events(self) -> list[str]:
        """What flowd has logged, in order."""
        return events(self._log)

    def _account(self) -> None:
        """Each job was done once, and each change of state is one line in the log."""
        assert sorted(self.recorder.started) == sorted(self.jobs)
        assert sorted(self.recorder.done) == sorted(self.jobs)
        assert not self._handle.ended
        said = self.events()
        assert (outages(said), said.count("recovery")) == (1, 1), said
        assert not {"lease_lost", "dead_letter", "retry"} & set(said), said


@asynccontextmanager
async def recovery() -> AsyncGenerator[None]:
    """What is awaited here, from the end of a fault on, has to come soon."""
    ended = time.monotonic()
    async with asyncio.timeout(RECOVERY):
        yield
    print(f"recovery: {time.monotonic() - ended:.2f} s")


@asynccontextmanager
async def recovering_worker(
    url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> AsyncGenerator[Recovery]:
    """A worker of the server at `url`, at the point where a fault is to meet it."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler()
    # No lease ends by itself: a job that starts twice is a fault of the worker.
    rules = policy(stream, lease=60.0)
    async with Queue(Email, recorder, url=url, policy=rules) as queue:
        handle = queue.run()
        await queue.enqueue(email("before"))
        await queue.drain()
        recorder.gate.clear()
        await queue.enqueue_bulk(map(email, _HELD))
        await queue.enqueue(email("delayed"), delay=0.2)
        await wait_until(lambda: set(_HELD) <= set(recorder.started))
        yield Recovery(queue, handle, recorder, caplog.records)
