"""What a handler may raise to say how its delivery ends."""

from __future__ import annotations

import pytest

from flowd import Context, DeadLetters, OptionError, Queue, Reject, Retry, Snooze
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import pending
from tests.support.queues import MakeQueue
from tests.support.raw import Raw, Reply
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_a_retry_spends_a_failure(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """`Retry` counts against `max_retries`; the last one is a dead letter."""
    attempts: list[int] = []

    async def retry(job: Email, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        raise Retry("the mail server is busy", after=0)

    async with make_queue(retry, max_retries=2, backoff=60.0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert attempts == [1, 2, 3]
    assert (letter.reason, letter.attempts) == ("failed", 3)
    assert letter.error == "the mail server is busy"


async def test_a_retry_chooses_its_wait(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """`after` takes the place of the backoff; without it the backoff holds."""
    before = _now_ms(raw)
    waits = {"hour": 3600.0, "backoff": None}

    async def retry(job: Email) -> None:
        raise Retry(after=waits[job.to])

    async with make_queue(retry, backoff=60.0) as queue:
        hour, backoff = await queue.enqueue_bulk([email("hour"), email("backoff")])
        queue.run()
        await wait_until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 2)

    due = {job_id: _due_ms(raw, stream, job_id) - before for job_id in (hour, backoff)}
    assert 3_600_000 <= due[hour] < 3_660_000
    assert 60_000 <= due[backoff] < 120_000


async def test_a_snooze_spends_nothing(make_queue: MakeQueue) -> None:
    """However often a job snoozes, it is its first attempt and its first delivery."""
    seen: list[tuple[int, int]] = []

    async def snooze(job: Email, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.deliveries))
        if len(seen) < 5:
            raise Snooze(0.001 if len(seen) % 2 else 0)

    async with make_queue(snooze, max_retries=0) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert seen == [(1, 1)] * 5


async def test_a_snooze_forgets_no_failure(make_queue: MakeQueue) -> None:
    """A job that failed before it snoozed has spent that failure."""
    seen: list[tuple[int, int]] = []

    async def handle(job: Email, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.deliveries))
        match len(seen):
            case 1:
                raise ValueError
            case 2:
                raise Snooze(0)
            case _:
                return

    async with make_queue(handle) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert seen == [(1, 1), (2, 2), (2, 2)]


async def test_a_snoozed_job_has_no_lease(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """While it sleeps it is in the delayed set, without an owner."""

    async def snooze(job: Email) -> None:
        raise Snooze(3600)

    before = _now_ms(raw)
    async with Queue(Email, snooze, url=redis_url, stream=stream) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 1)
        assert not pending(raw, stream, GROUP)

    assert 3_600_000 <= _due_ms(raw, stream, job_id) - before < 3_660_000


async def test_a_wait_without_an_end_is_no_fault(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A handler may delay its job without a limit; the worker goes on with the others."""
    recorder = RecordingHandler()

    async def handle(job: Email, ctx: Context) -> None:
        match job.to:
            case "snooze":
                raise Snooze(float("inf"))
            case "retry":
                raise Retry(after=1e300)
            case _:
                await recorder(job, ctx)

    async with Queue(
        Email, handle, url=redis_url, stream=stream, concurrency=1
    ) as queue:
        queue.run()
        await queue.enqueue_bulk([email("snooze"), email("retry"), email("good")])
        await wait_until(lambda: recorder.done == ["good"])
        await wait_until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 2)


@pytest.mark.parametrize("after", [-1.0, float("nan"), float("-inf")])
def test_a_wait_that_cannot_be_is_refused(after: float) -> None:
    """In the handler this is a failure like any other."""
    with pytest.raises(OptionError, match="after is"):
        Retry(after=after)
    with pytest.raises(OptionError, match="after is"):
        Snooze(after)


async def test_a_reject_is_the_end(
    redis_url: str, stream: str, make_queue: MakeQueue
) -> None:
    """The job is a dead letter at once, with the reason, whatever tries are left."""
    recorder = RecordingHandler()

    async def reject(job: Email, ctx: Context) -> None:
        await recorder(job, ctx)
        raise Reject(f"{job.to!r} is no address")

    async with make_queue(reject, max_retries=9) as queue:
        job_id = await queue.enqueue(email("no-at"))
        queue.run()
        await queue.drain()
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]

    assert len(recorder.started) == 1
    assert (letter.job_id, letter.reason) == (job_id, "rejected")
    assert letter.error == "'no-at' is no address"
    assert (letter.attempts, letter.deliveries) == (1, 1)
    assert "raise Reject" in letter.traceback


async def test_signals_work_from_a_thread(make_queue: MakeQueue) -> None:
    """A plain function may raise them as well."""
    seen: list[str] = []

    def handle(job: Email, ctx: Context) -> None:
        seen.append(job.to)
        if seen.count(job.to) > 1:
            return
        match job.to:
            case "retry":
                raise Retry(after=0)
            case "snooze":
                raise Snooze(0)
            case _:
                raise Reject("no")

    async with make_queue(handle) as queue:
        await queue.enqueue_bulk([email("retry"), email("snooze"), email("reject")])
        queue.run()
        await queue.drain()

    assert sorted(seen) == ["reject", "retry", "retry", "snooze", "snooze"]


def _due_ms(raw: Raw, stream: str, job_id: str) -> float:
    return float(_text(raw("ZSCORE", f"{{{stream}}}:delayed", job_id)))


def _now_ms(raw: Raw) -> int:
    now = raw("TIME")
    assert isinstance(now, list)
    return int(_text(now[0])) * 1000


def _text(reply: Reply) -> str:
    assert isinstance(reply, bytes)
    return reply.decode()


class Panic(BaseException):
    """As an extension in Rust raises it."""


@pytest.mark.parametrize("in_thread", [False, True])
async def test_panic_is_a_failure(
    redis_url: str, raw: Raw, stream: str, make_queue: MakeQueue, *, in_thread: bool
) -> None:
    """A handler that panics spends its attempts and is given up, as any that raises."""

    async def panic(job: Email) -> None:
        raise Panic("boom")

    def panic_in_thread(job: Email) -> None:
        raise Panic("boom")

    handler = panic_in_thread if in_thread else panic
    async with make_queue(handler, max_retries=1) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()
    async with DeadLetters(Email, redis_url, stream=stream) as dead:
        (letter,) = [each async for each in dead.list()]
    assert (letter.attempts, letter.error.split()[-1]) == (2, "boom")
