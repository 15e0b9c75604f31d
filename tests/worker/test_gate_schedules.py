"""What becomes of a tick whose queue has policies."""

from __future__ import annotations

import pytest

from flowd import Concurrency, Debounce, Gate, Queue, Unique
from flowd.model.keys import Keys
from tests.support.email_job import RecordingHandler, policy
from tests.support.gated import gated, leftovers
from tests.support.raw import Raw
from tests.support.scheduled import every, scheduled
from tests.support.waiting import wait_until

GROUP = "senders"


def last_tick(raw: Raw, stream: str) -> int:
    """The last tick that had its turn, in ms; 0 without one."""
    said = raw("HGET", f"{{{stream}}}:{GROUP}:cron", "nightly:tick")
    return int(said) if isinstance(said, bytes) else 0


@pytest.mark.parametrize(
    "gate",
    [
        Gate(unique=Unique(fields=("to",))),
        Gate(concurrency=Concurrency(per=("to",), limit=1)),
    ],
    ids=["unique", "concurrency"],
)
async def test_a_tick_waits_while_its_key_is_taken(
    gate: Gate, redis_url: str, raw: Raw, stream: str
) -> None:
    """It was accepted, so it is no duplicate that is dropped; with `skip` later ones pass."""
    recorder = RecordingHandler(closed=True)
    job = gated(gate, scheduled(every(1, overlap="skip")))
    parked = Keys(stream, GROUP).gate[1]
    async with Queue(job, recorder, url=redis_url, policy=policy(stream)) as queue:
        mine = await queue.enqueue(job(to="nightly", subject="mine"))
        queue.run()
        await wait_until(lambda: recorder.started and raw("ZCARD", parked))
        seen = last_tick(raw, stream)
        await wait_until(lambda: last_tick(raw, stream) >= seen + 1000)
        assert raw("ZCARD", parked) == 1
        assert [each.id for each in recorder.contexts] == [mine]
        recorder.gate.set()
        await wait_until(lambda: len(recorder.done) >= 2)
        assert recorder.contexts[1].id.startswith("cron:nightly:")
    async with Queue(gated(gate), recorder, url=redis_url, stream=stream) as rest:
        rest.run()
        await rest.drain()
    assert leftovers(raw, stream) == []


async def test_a_tick_is_not_debounced(redis_url: str, raw: Raw, stream: str) -> None:
    """A schedule says when its job runs, and that is when it ticks."""
    recorder = RecordingHandler()
    gate = Gate(debounce=Debounce(fields=("to",), wait=600))
    job = gated(gate, scheduled(every(1)))
    async with Queue(job, recorder, url=redis_url, policy=policy(stream)) as queue:
        queue.run()
        await wait_until(lambda: len(recorder.done) >= 2)
    assert raw("ZCARD", Keys(stream, GROUP).delayed) == 0
