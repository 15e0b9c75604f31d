"""What will not pass by itself ends the worker, with one clear error.

Wrong passwords, wrong types and rights that were never there are in `tests/runtime`.
"""

from __future__ import annotations

import logging

import pytest

from flowd import AccessDenied, Queue
from flowd.server import Server
from jobs.email import Email
from tests.faults.trial import GROUP
from tests.raw import Raw
from tests.runtime.faults import Bench, email, events, policy, until


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
    bench = Bench(closed=True)
    url = f"unix://worker:pw@{own_server.socket}"
    with Raw(own_server.url) as raw:
        raw("ACL", "SETUSER", "worker", "on", ">pw", "~*", "+@all")
        queue = Queue(Email, bench, url=url, policy=policy(stream, lease=60.0))
        await queue.init()
        handle = queue.run()
        await queue.enqueue(email())
        await until(lambda: bench.started)
        raw("ACL", "SETUSER", "worker", f"-{right}")
        if right == "xgroup":
            raw("XGROUP", "DESTROY", stream, GROUP)
        bench.gate.set()
        # Redis 6.2 and 7.0 do not say which right it is that a script lacks.
        with pytest.raises(AccessDenied, match=f"{right}|can't run this command"):
            await handle.wait()
        with pytest.raises(AccessDenied):
            await queue.aclose()
        assert raw("XLEN", stream) == left

    assert bench.done == ["a"]
    assert events(caplog.records).count("ended") == 1
    assert "recovery" not in events(caplog.records)
