"""Letters in bulk: how many at once, how fast, and what happens when one fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from flowd import (
    CommandRefused,
    DecodeError,
    EncodeError,
    Job,
    KeyTaken,
    Letter,
    LetterNotFound,
    OutcomeUnknown,
    Unreachable,
)
from flowd.ops.letters import LetterFilter, move
from tests.support.waiting import wait_until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def letter(number: int, **fields: str) -> Letter[Job]:
    """A letter that its id distinguishes from others."""
    return Letter(
        id=f"{number}",
        job_id="1-1",
        job=None,
        fields={name.encode(): value.encode() for name, value in fields.items()},
        reason="failed",
        error="ValueError: no",
        traceback="",
        attempts=1,
        deliveries=1,
        enqueued_at=NOW,
        died_at=NOW,
        consumer="me",
    )


async def letters(count: int) -> AsyncIterator[Letter[Job]]:
    """So many letters."""
    for number in range(count):
        yield letter(number)


class Steps:
    """Counts how many steps are taken at once; some fail."""

    def __init__(self, failures: dict[str, Exception] | None = None) -> None:
        self.failures = failures or {}
        self.running = 0
        self.most = 0
        self.times: list[float] = []

    async def __call__(self, each: Letter[Job]) -> None:
        """Take one."""
        self.running += 1
        self.most = max(self.most, self.running)
        self.times.append(time.monotonic())
        await asyncio.sleep(0)
        self.running -= 1
        if each.id in self.failures:
            raise self.failures[each.id]


async def moved(count: int, steps: Steps, rate: float | None = None) -> list[int]:
    """With which letters it worked."""
    return [int(each.id) async for each, _ in move(letters(count), steps, rate=rate)]


async def test_every_letter_is_moved_once() -> None:
    """In their order, and no more at once than a page."""
    steps = Steps()
    assert await moved(250, steps) == list(range(250))
    assert (steps.most, len(steps.times)) == (100, 250)


async def test_the_next_letter_waits_for_its_time() -> None:
    """At one in ten seconds the second is not moved at once."""
    steps = Steps()
    moving = asyncio.ensure_future(moved(2, steps, 0.1))
    await wait_until(lambda: steps.times)
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    assert len(steps.times) == 1


async def test_a_pace_is_kept() -> None:
    """So many letters take at least as long as the rate says."""
    steps = Steps()
    assert await moved(25, steps, 100.0) == list(range(25))
    assert steps.most == 10
    assert steps.times[-1] - steps.times[0] > 0.19


async def test_missing_letters_are_skipped() -> None:
    """Another operator was faster, which is no failure."""
    steps = Steps({"1": LetterNotFound("gone"), "3": LetterNotFound("gone")})
    assert await moved(5, steps) == [0, 2, 4]


async def test_a_failure_ends_it_behind_those_that_worked() -> None:
    """The count of what was yielded is the count of what was moved."""
    steps = Steps({"102": Unreachable("no server"), "104": OutcomeUnknown("later")})
    found: list[str] = []

    async def count() -> None:
        async for each, error in move(letters(300), steps):
            assert error is None
            found.append(each.id)

    with pytest.raises(Unreachable, match="no server"):
        await count()
    assert found == [str(number) for number in range(200) if number not in (102, 104)]
    assert len(steps.times) == 200


async def test_a_letter_that_is_refused_keeps_no_other_back() -> None:
    """It is yielded with the reason, and all others are moved."""
    failures = {
        "2": CommandRefused("not flowd's"),
        "7": EncodeError("Email", "to", "too large", "x"),
        "8": DecodeError("Email", "to", "missing"),
        "9": KeyTaken("the job 1 has it"),
    }
    steps = Steps({**failures})
    found = [pair async for pair in move(letters(150), steps)]
    assert len(found) == 150
    assert {each.id: error for each, error in found if error} == failures


async def test_steps_under_way_are_counted_when_it_is_cancelled() -> None:
    """They end and are yielded, and no other is begun."""
    begun, go = asyncio.Event(), asyncio.Event()
    found: list[str] = []

    async def step(_: Letter[Job]) -> None:
        begun.set()
        await go.wait()

    async def count() -> None:
        async for each, _ in move(letters(300), step):
            found.append(each.id)

    counting = asyncio.ensure_future(count())
    await begun.wait()
    counting.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await counting
    assert found == [str(number) for number in range(100)]


async def test_lost_answer_is_reported_despite_cancellation() -> None:
    """An interrupted move is not reported as none moved when the outcome is unknown."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def step(_: Letter[Job]) -> None:
        begun.set()
        await go.wait()
        raise OutcomeUnknown("lost")

    async def count() -> int:
        return len([each async for each in move(letters(1), step)])

    counting = asyncio.ensure_future(count())
    await begun.wait()
    counting.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(OutcomeUnknown):
        await counting


@pytest.mark.parametrize(
    ("wish", "taken"),
    [
        (LetterFilter(), True),
        (LetterFilter(text="ValueError"), True),
        (LetterFilter(text="failed"), True),
        (LetterFilter(text="crashed"), False),
        (LetterFilter(fields={b"to": b"a"}), True),
        (LetterFilter(fields={b"to": b"a", b"cc": b""}), False),
        (LetterFilter(text="no", fields={b"to": b"b"}), False),
    ],
)
def test_all_of_a_wish_must_be_true(wish: LetterFilter, *, taken: bool) -> None:
    """The text is in error or reason, and the fields have exactly these values."""
    assert wish.takes(letter(1, to="a")) is taken
