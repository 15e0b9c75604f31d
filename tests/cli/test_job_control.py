"""`flowd jobs cancel`, `delete`, `run-now`, `flowd queue clear`, and a drill with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from flowd import Concurrency, Gate, Item, Queue
from flowd.cli import main
from flowd.ops import control
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.gated import gated, leftovers
from tests.support.leases import die_with
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"
HOUR = 3_600.0

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def flowd(redis_url: str, stream: str, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command on the queue of the test: exit code, output, errors."""

    async def run(*words: str) -> tuple[int, str, str]:
        place = ["--stream", stream, "--url", redis_url]
        code = await asyncio.to_thread(main, [*words, *place])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


async def order(verb: str, stream: str, redis_url: str) -> int:
    """Pause or resume the queue."""
    return await asyncio.to_thread(main, [verb, stream, "--url", redis_url])


async def test_jobs_are_cancelled_by_id(
    redis_url: str, raw: Raw, stream: str, flowd: Command
) -> None:
    """What waits is gone, what runs is marked, what is unknown is said to be."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        running = await queue.enqueue(email("running"))
        die_with(raw, stream, GROUP, jobs=1)
        waiting = await queue.enqueue(email("waiting"), key="k")
        delayed = await queue.enqueue(email("delayed"), delay=HOUR)
        code, out, err = await flowd("jobs", "cancel", waiting, delayed, running, "9-9")
        assert code == 1
        assert "2 jobs cancelled" in out
        assert "1 running job is being cancelled" in out
        dry = ("jobs", "cancel", "--all", "--state", "running", "--dry-run")
        assert "1 running job would be cancelled" in (await flowd(*dry))[1]
        assert "no job 9-9" in err
        assert raw("XLEN", stream) == 1
        assert raw("GET", f"{{{stream}}}:key:k") is None
        assert raw("HEXISTS", f"{{{stream}}}:{GROUP}:control", "@cancels") == 1


async def test_jobs_are_deleted_by_their_fields(
    redis_url: str,
    raw: Raw,
    stream: str,
    flowd: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that match are deleted on every page; the others, and those that run, stay."""
    monkeypatch.setattr(control, "AT_ONCE", 3)
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        names = [("bad", "good")[number % 2] for number in range(20)]
        await queue.enqueue_bulk(email(name) for name in names)
        die_with(raw, stream, GROUP, jobs=2)
        await queue.enqueue_bulk(
            Item(email(name), delay=HOUR + number) for number, name in enumerate(names)
        )
        chosen = ("--all", "--field", "to=bad")
        code, out, _ = await flowd("jobs", "delete", *chosen, "--dry-run", "--json")
        assert (code, json.loads(out)) == (0, {"waiting": 9, "delayed": 10})
        assert raw("XLEN", stream) == 20
        code, _, err = await flowd("jobs", "delete", *chosen)
        assert (code, "confirm it with --yes" in err) == (2, True)
        code, out, _ = await flowd("jobs", "delete", *chosen, "--yes", "--limit", "4")
        assert (code, out) == (0, "4 jobs deleted\n")
        code, out, _ = await flowd("jobs", "delete", *chosen, "--yes")
        assert (code, out) == (0, "15 jobs deleted\n")
        assert raw("XLEN", stream) == 11
        assert raw("ZCARD", f"{{{stream}}}:delayed") == 10
        assert [fields[b"to"] for _, fields in raw.entries(stream)].count(b"bad") == 1


async def test_parked_jobs_are_deleted_by_their_fields(
    redis_url: str,
    raw: Raw,
    stream: str,
    flowd: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backlog at the gate is met on every page, in each lane, and holds nothing then."""
    monkeypatch.setattr(control, "AT_ONCE", 3)
    job = gated(Gate(concurrency=Concurrency(per=("subject",), limit=1)))
    async with Queue(
        job, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        await queue.enqueue_bulk(
            job(to=("bad", "good")[number % 2], subject=str(number // 2 % 4))
            for number in range(24)
        )
        chosen = ("--all", "--field", "to=bad")
        code, out, _ = await flowd("jobs", "delete", *chosen, "--dry-run", "--json")
        assert (code, json.loads(out)) == (0, {"waiting": 4, "parked": 8})
        some = (*chosen, "--state", "parked", "--limit", "2", "--yes", "--json")
        code, out, _ = await flowd("jobs", "delete", *some)
        assert (code, json.loads(out)) == (0, {"parked": 2})
        code, out, _ = await flowd("jobs", "delete", *chosen, "--yes")
        assert (code, out) == (0, "10 jobs deleted\n")
        code, out, _ = await flowd("queue", "clear", "--yes")
        assert (code, out) == (0, "12 jobs deleted\n")
    assert raw("XLEN", stream) == 0
    assert raw("HLEN", f"{{{stream}}}:delayed:jobs") == 0
    assert leftovers(raw, stream) == []


async def test_a_queue_is_cleared(
    redis_url: str, raw: Raw, stream: str, flowd: Command
) -> None:
    """All that waits or is delayed is gone; what runs and its lease are left alone."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        await queue.enqueue(email("running"))
        die_with(raw, stream, GROUP, jobs=1)
        await queue.enqueue_bulk(email(str(number)) for number in range(150))
        await queue.enqueue_bulk(Item(email(), delay=HOUR) for _ in range(120))
        code, out, _ = await flowd("queue", "clear", "--dry-run", "--json")
        assert (code, json.loads(out)) == (0, {"waiting": 150, "delayed": 120})
        code, out, _ = await flowd("queue", "clear", "--yes")
        assert (code, out) == (0, "270 jobs deleted\n")
        assert raw("XLEN", stream) == 1
        assert raw("HLEN", f"{{{stream}}}:delayed:jobs") == 0


async def test_a_delayed_job_runs_now(
    redis_url: str, stream: str, flowd: Command
) -> None:
    """It is due at once; a job that is not delayed is named with its state."""
    recorder = RecordingHandler()
    async with Queue(Email, recorder, url=redis_url, policy=policy(stream)) as queue:
        delayed = await queue.enqueue(email("delayed"), delay=HOUR)
        waiting = await queue.enqueue(email("waiting"))
        code, out, err = await flowd("jobs", "run-now", delayed, waiting, "9-9")
        assert (code, out) == (1, "1 job is due now\n")
        assert "is waiting, and not delayed" in err
        assert "job 9-9 is not delayed: it has ended, or never was here" in err
        queue.run()
        await wait_until(lambda: len(recorder.done) == 2)


async def test_a_command_without_a_choice_is_refused(
    redis_url: str, stream: str, flowd: Command
) -> None:
    """Nothing is changed by a command that names no job."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        await queue.enqueue(email())
        for verb in ("cancel", "delete"):
            for words in ([], ["--all", "1-0"]):
                code, _, err = await flowd("jobs", verb, *words)
                assert (code, "give either the IDs of jobs, or --all" in err) == (
                    2,
                    True,
                )


async def test_an_incident_is_contained(
    redis_url: str, raw: Raw, stream: str, flowd: Command
) -> None:
    """A bad deploy is paused, its waiting jobs are cancelled, the fix runs all others.

    The bad release fails for one customer. Nothing else is lost, and none of the cancelled
    jobs runs after the command has returned.
    """
    recorder = RecordingHandler()
    harm: list[str] = []

    async def bad(job: Email) -> None:
        harm.append(job.to)
        raise ValueError("the bad release")

    rules = policy(stream, backoff=0.01, max_retries=1_000)
    async with Queue(Email, bad, url=redis_url, policy=rules) as queue:
        await queue.enqueue_bulk(email(("a", "b")[n % 2]) for n in range(40))
        queue.run()
        await wait_until(lambda: len(harm) > 5)
        assert (await flowd("stats"))[0] == 0
        assert await order("pause", stream, redis_url) == 0
        await wait_until(lambda: raw("XPENDING", stream, GROUP)[0] == 0)  # type: ignore[index]
        done = len(harm)
        # What failed becomes due, and waits.
        await wait_until(lambda: raw("XLEN", stream) == 40)
        code, out, _ = await flowd(
            "jobs", "cancel", "--all", "--field", "to=a", "--yes"
        )
        assert (code, out.splitlines()[-1]) == (0, "20 jobs cancelled")
        assert len(harm) == done
    async with Queue(Email, recorder, url=redis_url, policy=rules) as queue:
        queue.run()
        assert await order("resume", stream, redis_url) == 0
        await queue.drain()
    assert recorder.done == ["b"] * 20
    assert raw("XLEN", stream) == raw("ZCARD", f"{{{stream}}}:delayed") == 0
