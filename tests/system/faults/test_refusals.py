"""A server that is there and refuses: it is waited for, and then work goes on."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

import pytest

from flowd import Context, Queue, QueueFull, Reject
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.log import events
from tests.support.raw import Raw, RawError
from tests.support.waiting import wait_until
from tests.system.faults.recovery import recovering_worker, recovery

_LOOP: Final = "while true do end"


@pytest.mark.parametrize(
    ("broken", "repaired", "sign"),
    [
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "NOREPLICAS",
        ),
        (
            ("REPLICAOF", "127.0.0.1", "1"),
            ("REPLICAOF", "NO", "ONE"),
            "READONLY|UNBLOCKED|read only",
        ),
    ],
    ids=["NOREPLICAS", "READONLY"],
)
async def test_a_server_without_writes(
    own_server: Server,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    broken: tuple[str, ...],
    repaired: tuple[str, ...],
    sign: str,
) -> None:
    """A primary without replicas, or that is none any more, is waited for."""
    with Raw(own_server.url) as raw:
        async with recovering_worker(own_server.url, stream, caplog) as worker:
            raw(*broken)
            await worker.suffers()
            assert worker.reason(sign)
            raw(*repaired)
            await worker.recovers()
            # It is the refusal that was repeated, not the settling.
            assert "lost" not in worker.events()


async def test_a_server_that_cannot_save(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """MISCONF: snapshots fail, every write is refused, and it ends with the next one."""
    in_the_way = Path(own_server.folder, "dump.rdb")
    with Raw(own_server.url) as raw:
        raw("CONFIG", "SET", "save", "3600 1")
        async with recovering_worker(own_server.url, stream, caplog) as worker:
            await asyncio.to_thread(in_the_way.mkdir)
            raw("BGSAVE")
            await wait_until(lambda: raw.info("rdb_last_bgsave_status") == "err")
            await worker.suffers()
            assert worker.reason("MISCONF")
            await asyncio.to_thread(in_the_way.rmdir)
            raw("BGSAVE")
            await wait_until(lambda: raw.info("rdb_last_bgsave_status") == "ok")
            await worker.recovers()
            # It is the refusal that was repeated, not the settling.
            assert "lost" not in worker.events()


async def test_a_server_that_is_busy(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """BUSY: a script does not end, until it is killed."""
    with Raw(own_server.url) as raw, Raw(own_server.url) as looping:
        raw("CONFIG", "SET", "lua-time-limit", 10)
        async with recovering_worker(own_server.url, stream, caplog) as worker:
            script = asyncio.create_task(asyncio.to_thread(looping, "EVAL", _LOOP, "0"))
            await wait_until(lambda: _refuses(raw, "BUSY"))
            await worker.suffers()
            assert worker.reason("BUSY")
            raw("SCRIPT", "KILL")
            with pytest.raises(RawError, match="killed"):
                await script
            await worker.recovers()
            # It is the refusal that was repeated, not the settling.
            assert "lost" not in worker.events()


async def test_a_server_with_too_many_clients(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that is not let in again, for want of a connection, goes on asking."""
    with Raw(own_server.url) as raw:
        most = raw.setting("maxclients")
        async with recovering_worker(own_server.url, stream, caplog) as worker:
            raw("CONFIG", "SET", "maxclients", 1)
            raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await worker.suffers()
            assert int(raw.info("rejected_connections")) > 0
            raw("CONFIG", "SET", "maxclients", most)
            await worker.recovers()
            # It is the refusal that was repeated, not the settling.
            assert "lost" not in worker.events()


async def test_a_server_that_is_full(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """OOM: producers get QueueFull, jobs are acknowledged, and a dead letter waits for room."""

    async def run(job: Email, ctx: Context) -> None:
        if job.to == "rejected":
            raise Reject("no")
        await recorder(job, ctx)

    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler()
    with Raw(own_server.url) as raw:
        async with Queue(
            Email,
            run,
            url=own_server.url,
            policy=policy(stream, lease=60.0),
            connect_timeout=60.0,
        ) as queue:
            await queue.enqueue_bulk([email("rejected"), email("drained")])
            raw("CONFIG", "SET", "maxmemory", 1)
            queue.run()
            await wait_until(lambda: "outage" in events(caplog.records))
            await wait_until(
                lambda: recorder.done == ["drained"] and raw("XLEN", stream) == 1
            )
            with pytest.raises(QueueFull):
                await queue.enqueue(email("refused"))

            raw("CONFIG", "SET", "maxmemory", 0)
            async with recovery():
                await wait_until(lambda: raw("XLEN", stream) == 0)
            await queue.enqueue(email("after"))
            await queue.drain()

    assert recorder.done == ["drained", "after"]
    said = events(caplog.records)
    assert (said.count("outage"), said.count("recovery")) == (1, 1)
    assert said.count("dead_letter") == 1


async def test_a_server_that_forgot_everything(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """NOGROUP: flushed in the middle of a read, it costs what it held and no more."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler()
    with Raw(own_server.url) as raw:
        async with Queue(
            Email, recorder, url=own_server.url, policy=policy(stream, lease=60.0)
        ) as queue:
            queue.run()
            await queue.enqueue(email("before"))
            await queue.drain()
            await queue.enqueue(email("delayed"), delay=60.0)
            await wait_until(lambda: raw.info("blocked_clients") == "1")
            raw("FLUSHALL")
            async with recovery():
                await queue.enqueue(email("after"))
                await wait_until(lambda: recorder.done == ["before", "after"])
            await queue.drain()

    said = events(caplog.records)
    assert said.count("group_recreated") == 1
    assert (said.count("outage"), said.count("recovery")) == (1, 1)


def _refuses(raw: Raw, code: str) -> bool:
    try:
        raw("PING")
    except RawError as error:
        return code in str(error)
    return False
