"""A handler that fails runs again, later each time, and not without end."""

from __future__ import annotations

import dataclasses
import random
from typing import Any, Literal

import pytest

from flowd import Backoff, Context, OptionError, Policy
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_a_job_has_one_run_and_so_many_more(
    raw: Raw, stream: str, max_retries: int, make_queue: MakeQueue
) -> None:
    """`max_retries` counts the runs after the first; then it is a dead letter."""
    attempts: list[tuple[int, int]] = []

    async def fail(job: Email, ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.deliveries))
        raise ValueError("no")

    async with make_queue(fail, max_retries=max_retries) as queue:
        await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert attempts == [(number + 1, number + 1) for number in range(max_retries + 1)]
    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 1


async def test_a_job_keeps_its_id_and_its_time(
    stream: str, make_queue: MakeQueue
) -> None:
    """Each attempt is another entry, and the same job."""
    contexts: list[Context] = []

    async def fail_twice(job: Email, ctx: Context) -> None:
        contexts.append(ctx)
        if ctx.attempt < 3:
            raise ValueError

    async with make_queue(fail_twice) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert [ctx.id for ctx in contexts] == [job_id] * 3
    assert len({ctx.enqueued_at for ctx in contexts}) == 1
    assert contexts[0].stream == stream


async def test_a_failed_job_waits_in_the_delayed_set(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It is in one place only, with its fields, due after the backoff."""

    async def fail(job: Email) -> None:
        raise ValueError

    async with make_queue(fail, backoff=60.0) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await wait_until(lambda: raw("ZCARD", f"{{{stream}}}:delayed") == 1)

        assert raw("XLEN", stream) == 0
        assert not pending(raw, stream, GROUP)
        assert raw("HKEYS", f"{{{stream}}}:delayed:jobs") == [job_id.encode()]


async def test_a_failure_holds_up_no_other_job(make_queue: MakeQueue) -> None:
    """While one waits for its backoff, its slot runs the others."""
    recorder = RecordingHandler()

    async def handle(job: Email, ctx: Context) -> None:
        if job.to == "bad":
            raise ValueError
        await recorder(job, ctx)

    async with make_queue(handle, backoff=60.0, concurrency=1) as queue:
        queue.run()
        await queue.enqueue_bulk([email("bad"), email("good"), email("better")])
        await wait_until(lambda: recorder.done == ["good", "better"])


async def test_duplicate_job_ids_are_both_kept(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Two entries that say they are the same job are both kept, and both run."""
    recorder = RecordingHandler()

    async def fail_once(job: Email, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError
        await recorder(job, ctx)

    async with make_queue(fail_once) as queue:
        for to in ("one", "two"):
            raw("XADD", stream, "*", "to", to, "subject", "hi", "_id", "the-same")
        queue.run()
        await queue.drain()

    assert sorted(recorder.done) == ["one", "two"]
    assert {ctx.id for ctx in recorder.contexts} == {"the-same"}


async def test_fields_of_others_survive_a_retry(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """What flowd does not know is carried along, in its place, byte for byte."""

    async def fail(job: Email) -> None:
        raise ValueError

    given = [
        b"to",
        b"a",
        b"_traceparent",
        b"00-1",
        b"subject",
        b"",
        b"x\xff",
        b"\0\xff",
    ]
    async with make_queue(fail, max_retries=1) as queue:
        raw("XADD", stream, "*", *given)
        queue.run()
        await queue.drain()

    letters = raw("XRANGE", f"{{{stream}}}:{GROUP}:dlq", "-", "+")
    assert isinstance(letters, list)
    assert isinstance(letters[0], list)
    fields = letters[0][1]
    assert isinstance(fields, list)
    assert fields[: len(given)] == given


async def test_a_retry_is_one_line_in_the_log(
    stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """It says what went wrong and when it goes on."""

    async def fail_once(job: Email, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ConnectionError("no route\nto host")

    async with make_queue(fail_once) as queue:
        job_id = await queue.enqueue(email())
        queue.run()
        await queue.drain()

    assert events(caplog.records).count("retry") == 1
    (line,) = [each for each in caplog.records if "next attempt" in each.message]
    assert line.levelname == "WARNING"
    assert line.message == (
        f"{stream} {job_id} attempt 1 failed, next attempt in 0.0 s:"
        r" ConnectionError: no route\nto host"
    )
    assert vars(line)["after"] == 0.001


@pytest.mark.parametrize(
    ("kind", "waits"),
    [
        ("fixed", [2.0, 2.0, 2.0, 2.0]),
        ("linear", [2.0, 4.0, 6.0, 8.0]),
        ("exponential", [2.0, 4.0, 8.0, 10.0]),
    ],
)
def test_the_backoff_grows_as_it_says(
    kind: Literal["fixed", "linear", "exponential"], waits: list[float]
) -> None:
    """Fixed, linear or doubled, and never above `max`."""
    backoff = Backoff(kind=kind, base=2.0, max=10.0, jitter=False)
    assert [backoff.delay(failures) for failures in (1, 2, 3, 4)] == waits
    assert backoff.delay(10_000) == (2.0 if kind == "fixed" else 10.0)


def test_the_jitter_is_full() -> None:
    """The wait is anything from 0 to the computed one, so that retries spread out."""
    random.seed(7)
    backoff = Backoff(kind="fixed", base=8.0)
    waits = [backoff.delay(1) for _ in range(1000)]
    assert 0.0 <= min(waits) < 1.0
    assert 7.0 < max(waits) <= 8.0


def test_the_defaults_are_patient() -> None:
    """Exponential from 1 s to 5 min with jitter; one run and three more; 30 s lease."""
    rules = Policy(stream="s")
    assert rules.backoff == Backoff(
        kind="exponential", base=1.0, max=300.0, jitter=True
    )
    assert (rules.max_retries, rules.claim_after, rules.timeout) == (3, 30.0, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stream": ""},
        {"stream": "a\nb"},
        {"group": ""},
        {"starting_id": "soon"},
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"max_retries": -1},
        {"claim_after": 0.0},
    ],
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    """The error names the rule that was given."""
    (name,) = wrong
    with pytest.raises(OptionError, match=name):
        dataclasses.replace(Policy(stream="s"), **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "-", "1-", "-1", "1-2-3", " 1", "1\n", "$0", "1.5", "+1"),
        *("\u0661\u0662", "1-\u0661", "\u00b2"),
        *("9" * 23, "18446744073709551616", f"1-{2**64}"),
    ],
)
def test_a_starting_id_that_redis_refuses_is_refused(wrong: str) -> None:
    """Digits of ASCII alone, and two numbers of 64 bits at most, make an entry's id."""
    with pytest.raises(OptionError, match="starting_id"):
        Policy(stream="s", starting_id=wrong)


@pytest.mark.parametrize("right", ["0", "$", "1-2", f"{2**64 - 1}-{2**64 - 1}"])
def test_a_starting_id_of_redis_is_taken(right: str) -> None:
    """The ends of what Redis knows are among them."""
    assert Policy(stream="s", starting_id=right).starting_id == right


@pytest.mark.parametrize(
    "wrong", [{"kind": "cubic"}, {"base": 0.0}, {"max": float("inf")}]
)
def test_a_backoff_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """The error names what was given."""
    (name,) = wrong
    with pytest.raises(OptionError, match=name):
        dataclasses.replace(Backoff(), **wrong)
