"""Jobs that end while no worker has them: counted, published, and reported by who ends them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flowd import Concurrency, Gate, Queue
from flowd.broker.control import removals
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli import main
from flowd.metrics.scrape import queue_registry, text_of
from flowd.model.keys import Keys
from flowd.ops import control
from flowd.ops.jobs import JobView
from flowd.ops.queries import Queries
from flowd.ops.tail import TailEvent, follow
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.events import Seen
from tests.support.gated import gated, leftovers
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP: Final = "senders"
HOUR: Final = 3_600.0
OneAtATime: Final = gated(Gate(concurrency=Concurrency(per=("to",), limit=1)))


def of(to: str, subject: str = "x") -> Email:
    """A job that passes the gate."""
    return OneAtATime(to=to, subject=subject)


def queue_of(redis_url: str, stream: str, seen: Seen) -> Queue[Email]:
    """A queue whose jobs for one address run one after the other."""
    rules = policy(stream, lease=60.0)
    return Queue(
        *(OneAtATime, RecordingHandler()),
        url=redis_url,
        policy=rules,
        middleware=[seen],
    )


async def flowd(redis_url: str, stream: str, *words: str) -> int:
    """Run a command on the queue; its exit code."""
    place = ["--stream", stream, "--url", redis_url]
    return await asyncio.to_thread(main, [*words, *place])


async def counted(redis_url: str, stream: str) -> dict[tuple[str, str], int]:
    """What the queue has counted."""
    async with connected(Address.of(redis_url)) as connection:
        found = await removals(Queries(connection, stream, GROUP).stream)
    return {(each.how, each.state): each.jobs for each in found}


async def test_a_job_that_no_worker_has_is_reported_by_its_canceller(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """One event in the program, one line for those who follow, and a number in Redis."""
    seen, lines, channel = Seen(), list[TailEvent](), Keys(stream, GROUP).tail

    async def listen() -> None:
        async for line in follow(Address.of(redis_url), channel, print):
            lines.append(line)

    following = asyncio.create_task(listen())
    await wait_until(lambda: raw("PUBSUB", "NUMSUB", channel) == [channel.encode(), 1])
    async with queue_of(redis_url, stream, seen) as queue:
        waiting = await queue.enqueue(of("a"))
        parked = await queue.enqueue(of("a"))
        delayed = await queue.enqueue(of("b"), delay=HOUR)
        for job_id in (parked, delayed, waiting):
            assert await queue.cancel(job_id) == "cancelled"
            assert await queue.cancel(job_id) == "not_found"
        await wait_until(lambda: len(lines) == 3)
    following.cancel()
    await asyncio.wait([following])
    reported = [
        (each.details["job"], each.details["state"]) for each in seen.named("removed")
    ]
    states = {parked: "parked", delayed: "delayed", waiting: "waiting"}
    assert reported == [*states.items()]
    assert [(each.event, each.job, each.text) for each in lines] == [
        ("removed", job_id, f"cancelled while it was {state}")
        for job_id, state in states.items()
    ]
    assert await counted(redis_url, stream) == {
        ("cancelled", state): 1 for state in states.values()
    }
    assert not leftovers(raw, stream)


async def test_removals_are_a_metric(redis_url: str, stream: str) -> None:
    """Each kind is shown, from 0 on, with how and in which state jobs ended."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        ids = [await queue.enqueue(email(str(number))) for number in range(4)]
        for job_id in ids[:2]:
            assert await queue.cancel(job_id) == "cancelled"
        await flowd(redis_url, stream, "queue", "clear", "--yes")
        place = (Address.of(redis_url), stream, GROUP)
        text = text_of(await queue_registry([place])).decode()
    shown = {
        (sample.labels["how"], sample.labels["state"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "flowd_jobs_removed_total"
    }
    assert len(shown) == 6
    assert {kind: value for kind, value in shown.items() if value} == {
        ("cancelled", "waiting"): 2,
        ("deleted", "waiting"): 2,
    }


@pytest.mark.parametrize("verb", ["cancel", "delete"])
async def test_filters_cover_parked_jobs(
    redis_url: str,
    raw: Raw,
    stream: str,
    verb: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those that match are ended on every page, though lanes change meanwhile; others stay."""
    monkeypatch.setattr(control, "AT_ONCE", 3)
    async with queue_of(redis_url, stream, Seen()) as queue:
        await queue.enqueue_bulk(
            OneAtATime(to=f"lane{number % 4}", subject=("bad", "good")[number // 4 % 2])
            for number in range(40)
        )
        before = await sizes(redis_url, stream)
        chosen = ("jobs", verb, "--all", "--field", "subject=bad")
        assert await flowd(redis_url, stream, *chosen, "--dry-run", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"waiting": 4, "parked": 16}
        assert await sizes(redis_url, stream) == before
        assert await flowd(redis_url, stream, *chosen, "--yes") == 0
        assert capsys.readouterr().out == f"20 jobs {verb}led\n".replace(
            "deleteled", "deleted"
        )
        waiting, parked = await sizes(redis_url, stream)
        assert waiting + parked == 20
        queue.run()
        await queue.drain()
    assert (await counted(redis_url, stream))[
        f"{verb}led".replace("deleteled", "deleted"), "parked"
    ] == 16
    assert not leftovers(raw, stream)


async def sizes(redis_url: str, stream: str) -> tuple[int, int]:
    """How many jobs wait, and how many are parked."""
    async with connected(Address.of(redis_url)) as connection:
        found = await Queries(connection, stream, GROUP).sizes()
    return found.waiting, found.parked


async def test_a_broken_off_cancel_goes_on_behind_an_entry(
    redis_url: str, raw: Raw, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--from` passes over what an earlier run has looked at."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        ids = [await queue.enqueue(email(str(number))) for number in range(5)]
        where = ("--state", "waiting", "--from", ids[1])
        words = ("jobs", "delete", "--all", "--yes")
        assert await flowd(redis_url, stream, *words, "--from", ids[1]) == 2
        assert "--state waiting or running" in capsys.readouterr().err
        assert await flowd(redis_url, stream, *words, *where, "--rate", "1000/s") == 0
        assert capsys.readouterr().out == "3 jobs deleted\n"
        assert [each for each, _ in raw.entries(stream)] == ids[:2]


async def test_a_rate_bounds_each_step(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 50 a second a step takes ten, and waits until they are paid for."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    steps: list[int] = []

    async def step(jobs: Sequence[JobView]) -> int:
        steps.append(len(jobs))
        return 0

    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        await queue.enqueue_bulk(email(str(number)) for number in range(25))
        async with connected(Address.of(redis_url)) as connection:
            queries = Queries(connection, stream, GROUP)
            with monkeypatch.context() as patched:
                patched.setattr("flowd.ops.control.asyncio.sleep", note)
                await control.for_each_job(
                    queries, control.JobFilter(), 0.0, step, rate=50.0
                )
    assert steps == [10, 10, 5]
    assert waits == [0.2, 0.2, 0.1]


async def test_a_job_that_moves_on_is_met_once_more(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """States are visited in the order in which jobs pass through them."""
    async with Queue(
        Email, RecordingHandler(), url=redis_url, policy=policy(stream)
    ) as queue:
        await queue.enqueue(email("first"), delay=HOUR)
        late = await queue.enqueue(email("late"), delay=2 * HOUR)
        met: list[str] = []

        async def step(jobs: Sequence[JobView]) -> int:
            met.extend(job.state for job in jobs)
            if len(met) == len(jobs):
                # A worker promotes it while the command is between two states.
                raw("ZREM", f"{{{stream}}}:delayed", late)
                raw("HDEL", f"{{{stream}}}:delayed:jobs", late)
                raw("XADD", stream, "*", "to", "late", "subject", "x", "_id", late)
            return 0

        async with connected(Address.of(redis_url)) as connection:
            queries = Queries(connection, stream, GROUP)
            await control.for_each_job(queries, control.JobFilter(), 0.0, step)
    assert met[-1] == "waiting"


def test_words_of_a_removal_are_read() -> None:
    """What the field may hold that another version wrote is passed over."""
    found = re.findall(r"(\w+):(\w+)=(\d{1,16})", "cancelled:waiting=3 x=1 a:b=z")
    assert found == [("cancelled", "waiting", "3")]
