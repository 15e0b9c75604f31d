"""What a dead worker held is run by another, and each takeover is counted exactly."""

from __future__ import annotations

import asyncio
import time

import pytest

from flowd import Claimer, Context, Letter
from flowd.worker import maintenance
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import die_with, expire, pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
EAGER = Claimer(interval=0.05)
LONG = 600.0


@pytest.fixture(autouse=True)
def _sweep_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sweep comes after a second, though leases are too long to run out."""
    monkeypatch.setattr(maintenance, "RENEWALS_PER_LEASE", 1_000)


async def test_the_jobs_of_a_dead_worker_are_run(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Another worker runs them, knows that they were delivered before, and is done."""
    recorder = RecordingHandler()
    async with make_queue(recorder, claimer=EAGER) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(5))
        ids = die_with(raw, stream, GROUP, jobs=5)
        queue.run()
        await queue.drain()

    assert sorted(recorder.done) == ["0", "1", "2", "3", "4"]
    assert {ctx.id for ctx in recorder.contexts} == set(ids)
    assert [ctx.deliveries for ctx in recorder.contexts] == [2] * 5
    assert [ctx.attempt for ctx in recorder.contexts] == [1] * 5
    assert not pending(raw, stream, GROUP)


async def test_counts_are_exact_among_other_consumers(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Jobs of other consumers between the abandoned ones do not change their counts."""
    recorder = RecordingHandler()
    async with make_queue(recorder, lease=LONG, claimer=EAGER) as queue:
        ids = await queue.enqueue_bulk(email(str(number)) for number in range(300))
        expected: dict[str, int] = {}
        for number in range(100):
            crashes = number % 4 + 1
            taken = die_with(raw, stream, GROUP, jobs=1, count=crashes)
            expected |= dict.fromkeys(taken, crashes + 1)
            # Their leases run until they are expired below.
            reading = ("XREADGROUP", "GROUP", GROUP, f"alive-{number}", "COUNT", 2)
            raw(*reading, "STREAMS", stream, ">")
        queue.run()
        await wait_until(lambda: len(recorder.done) == 100)
        counts = {ctx.id: ctx.deliveries for ctx in recorder.contexts}
        assert counts == expected

        expire(raw, stream, GROUP)
        await queue.drain()

    counts = {ctx.id: ctx.deliveries for ctx in recorder.contexts}
    assert counts == dict.fromkeys(ids, 2) | expected


async def test_the_cursor_reaches_the_end_of_a_long_list(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """An abandoned job behind more running ones than one sweep passes is found."""
    recorder = RecordingHandler()
    claimer = Claimer(interval=0.05)
    async with make_queue(
        recorder, lease=LONG, concurrency=1, claimer=claimer
    ) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(11_001))
        read = ("XREADGROUP", "GROUP", GROUP, "alive", "COUNT", 11_000)
        raw(*read, "STREAMS", stream, ">")
        die_with(raw, stream, GROUP, jobs=1)
        queue.run()
        await wait_until(lambda: recorder.done, within=30.0)

    assert recorder.done == ["11000"]


async def test_a_lease_that_runs_is_respected(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Sweeps take what is over and leave what is not."""
    recorder = RecordingHandler()
    async with make_queue(
        recorder, claimer=Claimer(min_idle=60.0, interval=0.05)
    ) as queue:
        alive = await queue.enqueue(email("alive"))
        raw("XREADGROUP", "GROUP", GROUP, "alive", "STREAMS", stream, ">")
        queue.run()
        await queue.enqueue(email("new"))
        await wait_until(lambda: recorder.done == ["new"])
        await wait_until(lambda: len(pending(raw, stream, GROUP)) == 1)

        (held,) = pending(raw, stream, GROUP)
        assert (held.id, held.consumer, held.deliveries) == (alive, "alive", 1)


async def test_a_worker_never_takes_its_own_running_job(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """After a server's downtime a worker's own leases look expired; it keeps the jobs."""
    recorder = RecordingHandler(closed=True)
    # Its first sweep comes long before its first renewal.
    claimer = Claimer(min_idle=0.4, interval=0.02)
    async with make_queue(recorder, lease=60.0, claimer=claimer) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        for _ in range(50):
            expire(raw, stream, GROUP)
            await asyncio.sleep(0.01)
        (held,) = pending(raw, stream, GROUP)
        recorder.gate.set()
        await queue.drain()

    assert held.deliveries == 1
    assert recorder.started == recorder.done == ["a"]


async def test_abandoned_job_goes_to_one_worker(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Workers that find the same abandoned jobs share them; each runs once."""
    recorders = [RecordingHandler() for _ in range(3)]
    queues = [make_queue(each, lease=LONG, claimer=EAGER) for each in recorders]
    await queues[0].init()
    await queues[0].enqueue_bulk(email(str(number)) for number in range(200))
    die_with(raw, stream, GROUP, jobs=200)
    for queue in queues:
        queue.run()
    await queues[0].drain()
    for queue in queues:
        await queue.aclose()

    done = [job for recorder in recorders for job in recorder.done]
    assert sorted(done, key=int) == [str(number) for number in range(200)]


async def test_deleted_entries_do_not_stay_pending(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """An abandoned job whose entry was deleted is forgotten, and hurts no other."""
    recorder = RecordingHandler()
    async with make_queue(recorder, claimer=EAGER) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(6))
        ids = die_with(raw, stream, GROUP, jobs=6)
        raw("XDEL", stream, *ids[::2])
        queue.run()
        await wait_until(lambda: not pending(raw, stream, GROUP))

    assert sorted(recorder.done) == ["1", "3", "5"]


async def test_a_job_that_kills_its_workers_is_given_up(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """One takeover more than `max_crashes` is a dead letter, and the job does not run."""
    recorder = RecordingHandler()
    letters: list[Letter[Email]] = []
    async with make_queue(
        recorder,
        claimer=Claimer(max_crashes=2, interval=0.05),
        on_dead_letter=letters.append,
    ) as queue:
        await queue.enqueue_bulk([email("survives"), email("spent")])
        die_with(raw, stream, GROUP, jobs=1, count=2)
        die_with(raw, stream, GROUP, jobs=1, count=3)
        queue.run()
        await queue.drain()
        await wait_until(lambda: letters)

    assert recorder.done == ["survives"]
    (letter,) = letters
    assert letter.job == email("spent")
    assert letter.reason == "crashed"
    assert "3 workers" in letter.error
    assert (letter.attempts, letter.deliveries) == (0, 4)


async def test_no_crash_at_all_may_be_allowed(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """With `max_crashes=0` the first takeover is a dead letter."""
    recorder = RecordingHandler()
    claimer = Claimer(max_crashes=0, interval=0.05)
    async with make_queue(recorder, claimer=claimer) as queue:
        await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1)
        queue.run()
        await queue.drain()

    assert not recorder.started
    assert raw("XLEN", f"{{{stream}}}:{GROUP}:dlq") == 1


async def test_crashes_spend_no_failure(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A job that was taken over twice still has all its attempts, and then loses them."""
    attempts: list[tuple[int, int]] = []
    letters: list[Letter[Email]] = []

    async def fail(job: Email, ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.deliveries))
        raise ValueError("no")

    async with make_queue(
        fail, max_retries=1, claimer=EAGER, on_dead_letter=letters.append
    ) as queue:
        await queue.enqueue(email())
        die_with(raw, stream, GROUP, jobs=1, count=2)
        queue.run()
        await queue.drain()
        await wait_until(lambda: letters)

    assert attempts == [(1, 3), (2, 4)]
    assert (letters[0].reason, letters[0].attempts) == ("failed", 2)
    assert letters[0].deliveries == 4


async def test_an_abandoned_entry_that_is_no_job_is_a_dead_letter(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """What cannot be decoded says so, whatever it has done to other workers."""
    letters: list[Letter[Email]] = []
    async with make_queue(
        claimer=Claimer(max_crashes=0, interval=0.05), on_dead_letter=letters.append
    ) as queue:
        raw("XADD", stream, "*", "colour", "blue")
        die_with(raw, stream, GROUP, jobs=1, count=9)
        queue.run()
        await wait_until(lambda: letters)

    (letter,) = letters
    assert (letter.reason, letter.job) == ("undecodable", None)
    assert letter.fields == {b"colour": b"blue"}
    assert events(caplog.records).count("dead_letter") == 1


@pytest.mark.one_server
async def test_a_job_that_is_taken_back_runs_once_at_a_time(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Its former run, whose lease was lost, is cancelled when the next one begins."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=2.0, claimer=Claimer(interval=0.02)) as queue:
        queue.run()
        began = time.monotonic()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        await wait_until(lambda: time.monotonic() - began > 0.6)
        raw("MULTI")
        # Taken over by a worker that has died since.
        raw("XCLAIM", stream, GROUP, "thief", 0, recorder.contexts[0].id)
        claim = ("XCLAIM", stream, GROUP, "thief", 0, recorder.contexts[0].id)
        raw(*claim, "IDLE", 3_600_000, "JUSTID")
        raw("EXEC")
        await wait_until(lambda: len(recorder.started) == 2)
        assert pending(raw, stream, GROUP)[0].deliveries == 3
        await wait_until(lambda: recorder.cancelled == ["a"])
        recorder.gate.set()
        await queue.drain()

    assert recorder.done == ["a"]
