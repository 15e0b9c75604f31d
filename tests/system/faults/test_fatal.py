"""What will not pass by itself ends the worker, with one clear error.

Wrong passwords, wrong types and rights that were never there are in `tests/broker` and `tests/worker`.
"""

from __future__ import annotations

import logging

import pytest

from flowd import AccessDenied, Queue, Reject, WrongKeyType
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import pending
from tests.support.log import events
from tests.support.raw import Raw
from tests.support.waiting import wait_until
from tests.system.faults.recovery import GROUP


@pytest.mark.parametrize(
    ("right", "left"),
    [("xreadgroup", 0), ("xack", 1), ("xgroup", 1)],
    ids=["to read", "to settle", "to make a group"],
)
async def test_a_right_that_is_taken_away(
    own_server: Server,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    right: str,
    left: int,
) -> None:
    """NOPERM in mid run: what can be settled still is, the rest stays in the stream."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler(closed=True)
    url = f"unix://worker:pw@{own_server.socket}"
    with Raw(own_server.url) as raw:
        raw("ACL", "SETUSER", "worker", "on", ">pw", "~*", "+@all")
        queue = Queue(Email, recorder, url=url, policy=policy(stream, lease=60.0))
        await queue.init()
        handle = queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        raw("ACL", "SETUSER", "worker", f"-{right}")
        if right == "xgroup":
            raw("XGROUP", "DESTROY", stream, GROUP)
        recorder.gate.set()
        # Redis 6.2 and 7.0 do not say which right it is that a script lacks.
        with pytest.raises(AccessDenied, match=f"{right}|can't run this command"):
            await handle.wait()
        with pytest.raises(AccessDenied):
            await queue.aclose()
        assert raw("XLEN", stream) == left

    assert recorder.done == ["a"]
    assert events(caplog.records).count("ended") == 1
    assert "recovery" not in events(caplog.records)


async def test_a_right_to_delay_that_is_taken_away(
    own_server: Server, stream: str
) -> None:
    """NOPERM inside a result: the worker ends, the job stays whole and in one place."""
    url = f"unix://worker:pw@{own_server.socket}"

    async def fail(job: Email) -> None:
        if job.to == "bad":
            raise ValueError(job.to)

    with Raw(own_server.url) as raw:
        raw("ACL", "SETUSER", "worker", "on", ">pw", "~*", "+@all", "-zadd")
        rules = policy(stream, lease=60.0, backoff=60.0)
        queue = Queue(Email, fail, url=url, policy=rules)
        await queue.init()
        await queue.enqueue_bulk([email("bad"), email("good")])
        handle = queue.run()
        with pytest.raises(AccessDenied, match=r"zadd|can't run this command"):
            await handle.wait()
        with pytest.raises(AccessDenied):
            await queue.aclose()
        assert raw("EXISTS", f"{{{stream}}}:delayed:jobs") == 0
        ((_, fields),) = raw.entries(stream)
        assert fields[b"to"] == b"bad"
        assert len(pending(raw, stream, GROUP)) == 1


@pytest.mark.parametrize("batch", [1, 50])
async def test_a_foreign_key_for_dead_letters_ends_the_worker(
    own_server: Server, stream: str, batch: int
) -> None:
    """WRONGTYPE inside a result: what can be settled still is, and nothing is lost."""

    async def refuse(job: Email) -> None:
        if job.to == "bad":
            raise Reject("no")

    with Raw(own_server.url) as raw:
        raw("SET", f"{{{stream}}}:{GROUP}:dlq", "not a stream")
        rules = policy(stream, lease=60.0)
        queue = Queue(Email, refuse, url=own_server.url, policy=rules, concurrency=100)
        await queue.init()
        await queue.enqueue_bulk([email("bad"), *[email("good")] * batch])
        handle = queue.run()
        with pytest.raises(WrongKeyType, match="flowd doctor"):
            await handle.wait()
        assert queue.failing is not None
        with pytest.raises(WrongKeyType):
            await queue.aclose()
        left = [fields[b"to"] for _, fields in raw.entries(stream)]

    assert left.count(b"bad") == 1
