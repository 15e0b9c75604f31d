"""A released job is as it was: no attempt counted, nothing forgotten."""

from __future__ import annotations

import asyncio

import pytest

from flowd import Claimer, Context, Letter, Queue
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, pending
from tests.support.proxy import proxy_to
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_unfinished_job_is_released_to_another_worker(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """After the grace a job is released uncounted, and a waiting worker takes it."""
    first, second = RecordingHandler(closed=True), RecordingHandler()
    rules = policy(stream, lease=60.0)
    async with (
        make_queue(first, rules=rules) as leaving,
        make_queue(second, rules=rules) as staying,
    ):
        handle = leaving.run()
        job_id = await leaving.enqueue(email())
        await wait_until(lambda: first.started)
        staying.run()
        await handle.shutdown(grace=0.0)
        await wait_until(lambda: second.done)

    assert first.cancelled == ["a"]
    (ctx,) = second.contexts
    assert (ctx.id, ctx.attempt, ctx.deliveries) == (job_id, 1, 1)


async def test_a_release_forgets_no_failure_and_no_crash(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A job that failed and was taken over before keeps both counts when released."""
    seen: list[tuple[int, int]] = []
    started = asyncio.Event()

    async def fail_then_hang(job: Email, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.deliveries))
        if ctx.attempt == 1:
            raise ValueError
        started.set()
        await asyncio.Event().wait()

    async def note(job: Email, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.deliveries))

    rules, claimer = policy(stream), Claimer(interval=0.05)
    async with Queue(
        Email, fail_then_hang, url=redis_url, policy=rules, claimer=claimer
    ) as queue:
        await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1)
        handle = queue.run()
        await started.wait()
        await handle.shutdown(grace=0.0)
    async with Queue(Email, note, url=redis_url, policy=rules) as queue:
        queue.run()
        await queue.drain()

    # One takeover, one failure; the release in between is not seen.
    assert seen == [(1, 2), (2, 3), (2, 3)]


async def test_job_read_too_late_is_released_unchanged(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """What a read brings after the stop is not started and keeps its counts."""
    recorder, later = RecordingHandler(), RecordingHandler()
    async with (
        proxy_to(redis_url) as proxy,
        Queue(Email, recorder, url=proxy.url, policy=policy(stream)) as queue,
    ):
        handle = queue.run()
        await wait_until(lambda: _blocked(raw))
        # The server has delivered it, and it is on its way when the stop begins.
        proxy.rate = 1_000
        third = ("to", "a", "subject", "x" * 1_000, "_id", "7-7", "_at", "7")
        raw("XADD", stream, "*", *third, "_attempt", 3, "_deliveries", 4)
        before = proxy.requests
        handle.stop()
        # It ends the read, which it waits for.
        await wait_until(lambda: proxy.requests > before)
        proxy.rate = 0.0
        await handle.wait()
        assert not recorder.started
        assert not pending(raw, stream, GROUP)
    async with make_queue(later) as queue:
        queue.run()
        await queue.drain()

    (ctx,) = later.contexts
    assert (ctx.id, ctx.attempt, ctx.deliveries) == ("7-7", 3, 5)


@pytest.mark.parametrize("fields", [1, 6000])
async def test_undecodable_entry_is_not_released(
    raw: Raw, stream: str, fields: int, make_queue: MakeQueue
) -> None:
    """An entry read too late that cannot be decoded is a dead letter at once."""
    letters: list[Letter[Email]] = []
    async with make_queue(on_dead_letter=letters.append) as queue:
        handle = queue.run()
        await wait_until(lambda: _blocked(raw))
        handle.stop()
        pairs = [word for number in range(fields) for word in (f"f{number}", "x")]
        raw("XADD", stream, "*", *pairs)
        await handle.wait()

    assert raw("XLEN", stream) == 0
    assert [letter.reason for letter in letters] == ["undecodable"]


def _blocked(raw: Raw) -> bool:
    return raw.info("blocked_clients") == "1"
