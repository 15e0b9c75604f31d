"""What the doctor, `flowd limit` and `flowd jobs show` say of a holder that is nowhere."""

from __future__ import annotations

import asyncio

import pytest

from flowd import Claimer, Concurrency, Gate, Queue, Unique
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli import main
from flowd.model.keys import Keys
from flowd.ops import Finding
from flowd.ops.nowhere import find_nowhere
from flowd.ops.queries import Queries
from jobs.email import Email
from tests.ops.test_queues import findings
from tests.support.email_job import RecordingHandler, policy
from tests.support.gated import gated, leftovers
from tests.support.leases import die_with
from tests.support.raw import Raw

GROUP = "senders"
JOB = gated(
    Gate(
        concurrency=Concurrency(per=("to",), limit=1),
        unique=Unique(fields=("subject",)),
    )
)


def queue_of(url: str, stream: str) -> Queue[Email]:
    """The queue, of which no worker runs."""
    return Queue(JOB, RecordingHandler(), url=url, policy=policy(stream))


async def park(url: str, stream: str, count: int = 3) -> list[str]:
    """Enqueue so many jobs of one key, of which one is admitted; returns their ids."""
    async with queue_of(url, stream) as queue:
        await queue.init()
        return await queue.enqueue_bulk(
            JOB(to="a", subject=str(number)) for number in range(count)
        )


async def of_the_gate(url: str, stream: str) -> list[Finding]:
    """What the doctor says of the gate."""
    found = await findings(url, stream)
    return [each for each in found if "no longer" in each.text or "parked" in each.text]


async def test_a_deleted_entry_is_named_with_its_keys(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Slot and lock of an entry that another client deleted, and what to do about it."""
    first, *_ = await park(redis_url, stream)
    assert [each.level for each in await of_the_gate(redis_url, stream)] == ["wrong"]
    raw("XDEL", stream, first)
    before = [raw("DUMP", key) for key in Keys(stream, GROUP).gate]
    parked, nowhere = await of_the_gate(redis_url, stream)

    assert (parked.level, nowhere.level) == ("wrong", "warn")
    assert parked.text == "no worker admits the parked jobs: 2 jobs"
    assert nowhere.text == (
        f"held by 1 job that no longer exists: c:to=a and u:subject=0 by {first}"
    )
    assert nowhere.advice == "start a worker, which frees that within seconds"
    assert [raw("DUMP", key) for key in Keys(stream, GROUP).gate] == before


async def test_a_job_that_waits_or_runs_is_somewhere(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """An entry, one that is pending, a delayed and a parked job are all there."""
    await park(redis_url, stream)
    die_with(raw, stream, GROUP, jobs=1)
    async with queue_of(redis_url, stream) as queue:
        await queue.enqueue(JOB(to="b", subject="late"), delay=60.0)
    found = await of_the_gate(redis_url, stream)
    # The one that was given out has a worker that died.
    assert [each.text for each in found] == ["no worker admits the parked jobs: 2 jobs"]


@pytest.mark.parametrize("place", ["parked", "delayed"])
async def test_a_lock_of_a_lost_body_is_found(
    redis_url: str, raw: Raw, stream: str, place: str
) -> None:
    """The lock of a job that waited, and whose body is gone, names that job."""
    ids = await park(redis_url, stream)
    if place == "delayed":
        async with queue_of(redis_url, stream) as queue:
            ids.append(await queue.enqueue(JOB(to="b", subject="9"), delay=60.0))
    raw("HDEL", Keys(stream, GROUP).bodies, ids[-1])
    *_, nowhere = await of_the_gate(redis_url, stream)
    assert (
        f"u:subject={'9' if place == 'delayed' else '2'} by @{ids[-1]}" in nowhere.text
    )


async def test_many_are_counted_and_a_few_named(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What is looked at has a bound: 200 of each kind, from anywhere on."""
    async with queue_of(redis_url, stream) as queue:
        await queue.init()
        for tenth in range(20):
            numbers = range(16 * tenth, 16 * tenth + 16)
            ids = await queue.enqueue_bulk(
                JOB(to=str(number), subject=str(number)) for number in numbers
            )
            # Admitted, each of them: what waits in the stream is not to stop the next.
            die_with(raw, stream, GROUP, jobs=16)
            raw("XACK", stream, GROUP, *ids)
            raw("XDEL", stream, *ids)
    async with connected(Address.of(redis_url)) as connection:
        found = await find_nowhere(Queries(connection, stream, GROUP), 0)
    assert 1 <= len(found) <= 600
    (said,) = await of_the_gate(redis_url, stream)
    assert said.text.endswith(" more")


async def test_limits_and_jobs_are_shown_all_the_same(
    redis_url: str, raw: Raw, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`flowd limit` lists the key and its holder; `jobs show` a job that waits for it."""
    first, second, *_ = await park(redis_url, stream)
    raw("XDEL", stream, first)
    at = ("--url", redis_url)
    for words in (["limit", stream], ["jobs", "show", second, "--stream", stream]):
        assert await asyncio.to_thread(main, [*words, *at]) == 0
        said = capsys.readouterr().out
        assert "to=a" in said
        assert first in said


async def test_a_worker_frees_it(redis_url: str, raw: Raw, stream: str) -> None:
    """Within a round of maintenance; then the doctor says nothing of it."""
    first, *_ = await park(redis_url, stream)
    raw("XDEL", stream, first)
    handler = RecordingHandler()
    async with Queue(
        *(JOB, handler),
        url=redis_url,
        policy=policy(stream),
        claimer=Claimer(interval=0.05),
    ) as queue:
        queue.run()
        await queue.drain()
        assert await of_the_gate(redis_url, stream) == []
    assert len(handler.done) == 2
    assert leftovers(raw, stream) == []
