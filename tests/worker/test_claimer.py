"""The limits of claims: how many, how soon, and not at all."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from flowd import Claimer, OptionError
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import die_with, pending
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


async def test_takeovers_have_a_limit_of_their_own(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """`concurrency` bounds takeovers; new jobs use the other slots meanwhile."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(
        recorder, concurrency=5, claimer=Claimer(concurrency=2, interval=0.02)
    ) as queue:
        await queue.enqueue_bulk(email("old") for _ in range(4))
        die_with(raw, stream, GROUP, jobs=4)
        queue.run()
        await wait_until(lambda: recorder.started == ["old", "old"])
        await queue.enqueue_bulk(email("new") for _ in range(4))
        await wait_until(lambda: len(recorder.started) == 5)

        assert sorted(recorder.started) == ["new", "new", "new", "old", "old"]
        recorder.gate.set()
        await queue.drain()

    assert sorted(recorder.done) == ["new"] * 4 + ["old"] * 4


async def test_takeovers_use_no_slots_of_their_own(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Takeovers and new jobs together are never more than the queue's limit."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(
        recorder, concurrency=3, claimer=Claimer(interval=0.02)
    ) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(10))
        die_with(raw, stream, GROUP, jobs=5)
        queue.run()
        await wait_until(lambda: len(recorder.started) == 3)
        owned = [p for p in pending(raw, stream, GROUP) if p.consumer != "dead"]
        assert len(owned) == 3
        recorder.gate.set()
        await queue.drain()

    assert len(recorder.done) == 10


async def test_queue_without_a_claimer_takes_nothing_over(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """With `claimer=None` abandoned jobs stay, while due ones are still promoted."""
    recorder = RecordingHandler()
    async with make_queue(recorder, lease=0.01, claimer=None) as queue:
        await queue.enqueue(email("abandoned"))
        ids = die_with(raw, stream, GROUP, jobs=1)
        queue.run()
        await queue.enqueue(email("delayed"), delay=0.05)
        await wait_until(lambda: recorder.done == ["delayed"])
        await wait_until(lambda: len(pending(raw, stream, GROUP)) == 1)

        (held,) = pending(raw, stream, GROUP)
        assert (held.id, held.consumer) == (ids[0], "dead")


async def test_the_others_may_renew_before_the_first_sweep(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A worker that starts waits for one interval of renewal before it takes over."""
    recorder = RecordingHandler()
    async with make_queue(recorder, lease=1.2, claimer=Claimer(interval=0.01)) as queue:
        await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1)
        started = time.monotonic()
        queue.run()
        await queue.drain()

    assert time.monotonic() - started > 1.2 / 4
    assert recorder.done == ["a"]


async def test_the_lease_may_be_the_claimers(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """`min_idle` replaces the policy's `claim_after`, for claims and renewals."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(
        recorder, lease=3600.0, claimer=Claimer(min_idle=0.4)
    ) as queue:
        await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1)
        queue.run()
        await wait_until(lambda: recorder.started)
        ctx = recorder.contexts[0]
        first = ctx.lease_deadline
        await wait_until(lambda: ctx.lease_deadline > first)
        recorder.gate.set()
        await queue.drain()

    assert first < time.monotonic() + 60.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Claimer(min_idle=0.0), "min_idle is 0.0; must be at least 0.001"),
        (lambda: Claimer(min_idle=-1.0), "min_idle is -1.0; must be at least 0.001"),
        (lambda: Claimer(interval=0.0), "interval is 0.0; must be at least 0.001"),
        (lambda: Claimer(max_crashes=-1), "max_crashes is -1; must be 0 or more"),
        (lambda: Claimer(concurrency=0), "concurrency is 0; must be 1 or more"),
        (
            lambda: Claimer(concurrency=2**40),
            "concurrency is 1099511627776; must be from 1 to 2,147,483,648",
        ),
    ],
)
def test_limits_that_cannot_be_are_refused(
    make: Callable[[], Claimer], message: str
) -> None:
    """A claimer says at once which of its limits cannot be, and why."""
    with pytest.raises(OptionError, match=message):
        make()
