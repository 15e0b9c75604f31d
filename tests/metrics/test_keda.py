"""What KEDA's redis-streams scaler would read of a queue.

It takes one of three numbers: `streamLength` is XLEN, `pendingEntriesCount` the summary of
XPENDING, `lagCount` the lag in XINFO GROUPS.
"""

from __future__ import annotations

from tests.support.email_job import RecordingHandler, email
from tests.support.queues import MakeQueue
from tests.support.raw import Raw, Reply
from tests.support.waiting import wait_until

GROUP = "senders"


def pending_entries_count(raw: Raw, stream: str) -> Reply:
    """As XPENDING sums it up."""
    reply = raw("XPENDING", stream, GROUP)
    assert isinstance(reply, list)
    return reply[0]


def lag_count(raw: Raw, stream: str) -> Reply:
    """As XINFO GROUPS has it; None on Redis 6.2, which does not."""
    (group,) = _list(raw("XINFO", "GROUPS", stream))
    row = _list(group)
    return row[row.index(b"lag") + 1] if b"lag" in row else None


def _list(reply: Reply) -> list[Reply]:
    assert isinstance(reply, list)
    return reply


async def test_stream_length_is_the_work_to_do(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """It counts what waits and what runs, for a finished job leaves the stream."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=30.0, concurrency=2) as queue:
        await queue.enqueue_bulk([email()] * 5)
        assert pending_entries_count(raw, stream) == 0  # five wait, and it sees none
        queue.run()
        await wait_until(lambda: len(recorder.started) == 2)

        assert raw("XLEN", stream) == 5
        assert pending_entries_count(raw, stream) == 2
        recorder.gate.set()
        await queue.drain()
    assert raw("XLEN", stream) == 0


async def test_lag_is_no_number_to_go_by(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Redis 6.2 has none, and later ones lose it with an entry that is deleted unread."""
    async with make_queue(concurrency=1) as queue:
        await queue.enqueue_bulk([email()] * 2)
        queue.run()
        await queue.drain()
        await queue.aclose()
        await queue.init()
        ids = await queue.enqueue_bulk([email()] * 3)
        raw("XDEL", stream, ids[1])
        assert raw("XLEN", stream) == 2
        assert lag_count(raw, stream) != 2


async def test_delayed_jobs_are_in_none_of_them(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """So one worker must stay: it is workers that put what is due into the stream."""
    async with make_queue() as queue:
        await queue.enqueue(email(), delay=500)
        assert raw("XLEN", stream) == 0
        assert raw("ZCARD", f"{{{stream}}}:delayed") == 1
