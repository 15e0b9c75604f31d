"""Schedules tick in a memory queue as its clock moves."""

from __future__ import annotations

from flowd import Context
from flowd.testing import FakeClock, MemoryQueue
from jobs.email import Email
from tests.support.scheduled import every, scheduled


async def test_time_travel_fires_schedules() -> None:
    """Each tick runs at its time, under its id, and none of the past does."""
    seen: list[tuple[str, float]] = []
    clock = FakeClock()
    clock.now = 1_000_000.0

    async def work(_: Email, ctx: Context) -> None:
        seen.append((ctx.id, clock.now))

    queue = MemoryQueue(scheduled(every(3_600)), work, clock=clock)
    await queue.advance_time(2 * 3_600)
    assert [at for _, at in seen] == [1_000_800.0, 1_004_400.0]
    assert seen[0][0] == "cron:nightly:1970-01-12T14:00+00:00"
    assert [job.to for job in queue.enqueued] == ["nightly", "nightly"]
    await queue.drain()
    assert len(seen) == 2


async def test_a_run_that_waits_for_its_retry_is_not_overlapped() -> None:
    """With `overlap = "skip"` a tick passes until the run before it has ended."""
    seen: list[tuple[str, int]] = []

    async def work(_: Email, ctx: Context) -> None:
        seen.append((ctx.id, ctx.attempt))
        if ctx.attempt == 1:
            raise ValueError("once")

    clock = FakeClock()
    clock.now = 1_000_000.0
    queue = MemoryQueue(scheduled(every(1, overlap="skip")), work, clock=clock)
    await queue.advance_time(1.0)
    first = seen[0][0]
    while (first, 2) not in seen:
        assert {job for job, _ in seen} == {first}
        await queue.advance_time(0.01)
