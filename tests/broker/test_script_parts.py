"""A queue runs the plain scripts until a capability has a part in them."""

from __future__ import annotations

from pathlib import Path

import pytest

import flowd
from flowd import Context
from flowd.broker import scripts
from flowd.broker.scripts import Part, Script
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.monitor import Monitor
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

LUA = Path(flowd.__file__).parent / "broker" / "lua"
PARTS = sorted(path.stem for path in (LUA / "parts").glob("*.lua"))
SEAMS = {
    "enqueue": scripts.ENQUEUE,
    "settle": scripts.SETTLE,
    "maintain": scripts.MAINTAIN,
    "renew": scripts.RENEW,
    "redrive": scripts.REDRIVE,
    "remaining": scripts.REMAINING,
    "cancel": scripts.CANCEL,
}


def assembled(script: Script, *parts: str) -> Script:
    """The script with these parts."""
    return script.with_parts([Part(name) for name in parts])


@pytest.mark.parametrize("part", PARTS)
def test_parts_fill_seams_of_their_script(part: str) -> None:
    """Each part belongs to one seam, and its text is in the assembled script alone."""
    script = SEAMS[part.partition("_")[0]]
    whole = assembled(script, part)
    body = (LUA / "parts" / f"{part}.lua").read_text("utf-8").partition("--@ ")[2]
    lines = [line for line in body.splitlines()[1:] if not line.startswith("--@ ")]
    for line in filter(None, lines):
        assert line in whole.source
    assert len(whole.source) > len(script.source)
    assert whole is assembled(script, part)
    for each in (script, whole):
        assert "--@" not in each.source


def test_arguments_of_several_parts_are_removed_last_first() -> None:
    """Each part finds its own arguments at the end, when its turn comes."""
    source = assembled(scripts.RENEW, "renew_progress", "renew_progress").source
    assert source.count("local progress = table.remove(KEYS)") == 2
    mixed = assembled(scripts.SETTLE, "settle_progress").source
    assert mixed.index("table.remove(KEYS)") < mixed.index("local refused = other")


def test_a_part_for_a_seam_that_is_not_there_is_refused() -> None:
    """A script cannot be assembled with a part of another one."""
    with pytest.raises(AssertionError, match="no such seam"):
        assembled(scripts.RENEW, "settle_progress")


async def test_queues_without_a_capability_run_plain_scripts(
    redis_url: str, make_queue: MakeQueue
) -> None:
    """No progress and no key: settles, renewals and enqueues have no part."""
    recorder = RecordingHandler()
    async with make_queue(recorder, lease=0.4) as queue:
        with Monitor(redis_url) as monitor:
            queue.run()
            await queue.enqueue(email(), delay=0.001)
            await wait_until(lambda: recorder.done)
            await queue.drain()
            hashes = monitor.scripts()

    assert {scripts.SETTLE.sha, scripts.ENQUEUE.sha} <= hashes
    for script, part in (
        (scripts.SETTLE, "settle_progress"),
        (scripts.SETTLE, "settle_cron"),
        (scripts.MAINTAIN, "maintain_cron"),
        (scripts.RENEW, "renew_progress"),
        (scripts.ENQUEUE, "enqueue_idempotency"),
        (scripts.ENQUEUE, "enqueue_gate"),
        (scripts.SETTLE, "settle_gate"),
        (scripts.MAINTAIN, "maintain_gate"),
        (scripts.MAINTAIN, "maintain_ungate"),
    ):
        assert assembled(script, part).sha not in hashes
    assert scripts.ADMIT.sha not in hashes


async def test_renewals_keep_the_progress_of_long_jobs(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """What a job said a day ago is shown while it runs."""
    recorder = RecordingHandler(closed=True)

    async def work(job: Email, ctx: Context) -> None:
        ctx.progress(0.5, "half")
        await recorder(job, ctx)

    key = f"{{{stream}}}:senders:progress"
    async with make_queue(work, lease=0.4) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: raw("TTL", key) == 86_400)
        raw("EXPIRE", key, 100)
        await wait_until(lambda: raw("TTL", key) == 86_400)
        recorder.gate.set()
        await queue.drain()
    assert raw("EXISTS", key) == 0
