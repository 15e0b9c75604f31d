"""Real worker processes that are killed, frozen and terminated."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from flowd import DeadLetters, Producer, Queue
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy
from tests.support.leases import consumers, pending
from tests.support.raw import Raw
from tests.support.waiting import wait_until_blocking
from tests.system.chaos.worker_pool import WorkerPool, pause, resume

GROUP = "senders"


async def _enqueue(url: str, stream: str, *jobs: tuple[str, str]) -> list[str]:
    """Enqueue jobs of (name, what becomes of it)."""
    async with Queue(
        Email, RecordingHandler(), url=url, policy=policy(stream)
    ) as queue:
        return await queue.enqueue_bulk(Email(to=n, subject=what) for n, what in jobs)


async def test_a_killed_worker_is_replaced(
    redis_url: str, raw: Raw, stream: str, tmp_path: Path
) -> None:
    """SIGKILL in the middle of a job: another worker runs it as the second delivery."""
    with WorkerPool(redis_url, stream, tmp_path) as pool:
        first = pool.hire()
        (job_id,) = await _enqueue(redis_url, stream, ("a", "wait"))
        wait_until_blocking(lambda: pool.notes("start"))
        first.kill()
        first.wait()
        second = pool.hire()
        pool.let(second)
        wait_until_blocking(lambda: pool.settled("done"))

        starts = [note.words for note in pool.notes("start")]
        assert starts == [["a", job_id, "1", "1"], ["a", job_id, "1", "2"]]
        assert pool.settled("done") == [job_id]
        assert [note.pid for note in pool.notes("ran")] == [second.pid]
        assert raw("XLEN", stream) == 0


async def test_a_frozen_worker_that_comes_back_settles_nothing(
    redis_url: str, raw: Raw, stream: str, tmp_path: Path
) -> None:
    """SIGSTOP for longer than the lease: who took over settles, the other is cancelled."""
    with WorkerPool(redis_url, stream, tmp_path) as pool:
        frozen = pool.hire()
        (job_id,) = await _enqueue(redis_url, stream, ("a", "wait"))
        wait_until_blocking(lambda: pool.notes("start"))
        pause(frozen)
        other = pool.hire()
        pool.let(other)
        wait_until_blocking(lambda: pool.settled("done"))
        resume(frozen)
        wait_until_blocking(lambda: pool.notes("cancelled"))

        assert [note.pid for note in pool.notes("start")] == [frozen.pid, other.pid]
        assert [note.pid for note in pool.notes("cancelled")] == [frozen.pid]
        assert [note.pid for note in pool.notes("ran")] == [other.pid]
        assert pool.settled("done") == pool.settled("lease_lost") == [job_id]
        assert raw("XLEN", stream) == 0

        # It works on.
        pool.let(frozen)
        other.kill()
        await _enqueue(redis_url, stream, ("b", "ok"))
        wait_until_blocking(lambda: len(pool.settled("done")) == 2)


async def test_a_worker_that_computes_keeps_its_job(
    redis_url: str, stream: str, tmp_path: Path
) -> None:
    """A handler that blocks its loop for three leases is not taken over."""
    with WorkerPool(redis_url, stream, tmp_path) as pool:
        for _ in range(2):
            pool.hire()
        (job_id,) = await _enqueue(redis_url, stream, ("a", "compute"))
        wait_until_blocking(lambda: pool.settled("done"))

        assert [note.words for note in pool.notes("start")] == [["a", job_id, "1", "1"]]


async def test_signalled_worker_releases_its_jobs(
    redis_url: str, raw: Raw, stream: str, tmp_path: Path
) -> None:
    """SIGTERM and a job longer than the grace: another has it at once, uncounted."""
    with WorkerPool(redis_url, stream, tmp_path, lease=60.0, grace=0.1) as pool:
        first = pool.hire()
        (job_id,) = await _enqueue(redis_url, stream, ("a", "wait"))
        wait_until_blocking(lambda: pool.notes("start"))
        second = pool.hire()
        pool.let(second)
        first.terminate()
        wait_until_blocking(lambda: pool.settled("done"))

        assert first.wait(timeout=20) == 0
        starts = [note.words for note in pool.notes("start")]
        assert starts == [["a", job_id, "1", "1"]] * 2
        assert len(consumers(raw, stream, GROUP)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_the_worker_now(
    redis_url: str, raw: Raw, stream: str, tmp_path: Path, number: signal.Signals
) -> None:
    """The first signal lets handlers end; the second releases their jobs at once."""
    with WorkerPool(redis_url, stream, tmp_path, lease=60.0, grace=60.0) as pool:
        worker = pool.hire()
        await _enqueue(redis_url, stream, ("a", "wait"), ("b", "ok"))
        wait_until_blocking(lambda: len(pool.notes("start")) == 2 and pool.notes("ran"))
        os.kill(worker.pid, number)
        # Two that wait to be received are one for the operating system.
        wait_until_blocking(lambda: pool.notes("signal"))
        assert worker.poll() is None
        os.kill(worker.pid, number)

        assert worker.wait(timeout=20) == 0
        assert [note.words[0] for note in pool.notes("cancelled")] == ["a"]
        assert raw("XLEN", stream) == 1
        assert not pending(raw, stream, GROUP)
        assert not consumers(raw, stream, GROUP)


async def test_deploys_count_nothing(
    redis_url: str, raw: Raw, stream: str, tmp_path: Path
) -> None:
    """However often workers are replaced, no job has been delivered more than once."""
    with WorkerPool(redis_url, stream, tmp_path, lease=60.0, grace=0.0) as pool:

        def deploy(number: int) -> None:
            worker = pool.hire()
            wait_until_blocking(lambda: len(pool.notes("start")) == 4 * number)
            worker.terminate()
            assert worker.wait(timeout=20) == 0

        await _enqueue(redis_url, stream, *[(str(n), "wait") for n in range(6)])
        for number in range(1, 5):
            deploy(number)
        last = pool.hire()
        pool.let(last)
        wait_until_blocking(lambda: len(pool.settled("done")) == 6)

        assert {tuple(n.words[2:]) for n in pool.notes("start")} == {("1", "1")}
        assert raw("XLEN", stream) == 0


async def test_a_job_that_kills_raises_only_its_own_count(
    redis_url: str, raw: Raw, stream: str, tmp_path: Path
) -> None:
    """It ends among the dead letters, its neighbours are done."""
    with WorkerPool(redis_url, stream, tmp_path, lease=0.5, max_crashes=2) as pool:
        jobs = [("killer", "kill"), *[(str(n), "ok") for n in range(20)]]
        killer, *others = await _enqueue(redis_url, stream, *jobs)
        for _ in range(3):
            worker = pool.hire()
            assert worker.wait(timeout=20) == -signal.SIGKILL
        pool.hire()
        wait_until_blocking(lambda: pool.settled("dead_letter"))
        wait_until_blocking(lambda: len(pool.settled("done")) == len(others))

        assert pool.settled("dead_letter") == [killer]
        assert sorted(pool.settled("done")) == sorted(others)
        async with DeadLetters(Email, redis_url, stream=stream) as letters:
            (letter,) = [each async for each in letters.list()]
        assert (letter.reason, letter.attempts, letter.deliveries) == ("crashed", 0, 4)
        assert letter.job == Email(to="killer", subject="kill")


async def test_a_job_that_kills_dead_letters_no_long_job_with_it(
    redis_url: str, raw: Raw, stream: str, tmp_path: Path
) -> None:
    """Jobs longer than a lease, older and newer, are done; it alone is a dead letter."""
    crashes = 3
    with WorkerPool(
        redis_url, stream, tmp_path, lease=0.5, max_crashes=crashes
    ) as pool:
        jobs = [("old", "slow"), ("killer", "kill"), ("new", "slow")]
        old, killer, new = await _enqueue(redis_url, stream, *jobs)
        for _ in range(crashes + 1):
            worker = pool.hire()
            assert worker.wait(timeout=20) == -signal.SIGKILL
        pool.hire()
        wait_until_blocking(lambda: len(pool.settled("done")) == 2)

        assert pool.settled("dead_letter") == [killer]
        assert sorted(pool.settled("done")) == sorted([old, new])


async def test_a_producer_needs_no_worker(redis_url: str, raw: Raw) -> None:
    """Jobs wait in the stream, group or not, until a worker runs them."""
    async with Producer(redis_url) as producer:
        await producer.enqueue(Email(to="a", subject="ok"))
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url) as queue:
        queue.run()
        await queue.drain()

    assert recorder.done == ["a"]
