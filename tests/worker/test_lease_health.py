"""That leases are not renewed is reported, and ends by itself, whatever else works."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable

import pytest

from flowd import Queue
from flowd.broker.connection import Connection
from flowd.broker.stream import Stream
from flowd.embedded import Server
from flowd.worker.lease import QueueLeases
from flowd.worker.shared import WorkerSession
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.held_queue import HeldQueue
from tests.support.leases import expire, lease_connections, lease_threads, pending
from tests.support.log import events
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.sessions import session_to
from tests.support.waiting import wait_until

GROUP = "senders"
LEASE = 1.0
LONG = 12.0


def renewing(records: list[logging.LogRecord]) -> list[str]:
    """The outages that concern the leases alone."""
    return [
        record.getMessage()
        for record in records
        if vars(record).get("what") == "renewing leases"
    ]


async def wait_for_renewal(raw: Raw, stream: str) -> None:
    """Wait until a lease is renewed before it is over: a sweep renews it only then."""
    (held,) = pending(raw, stream, GROUP)
    age, most = int(LONG * 250), LONG * 0.7
    claim = ("XCLAIM", stream, GROUP, held.consumer, 0, held.id, "IDLE", age, "JUSTID")
    raw(*claim)
    await wait_until(lambda: pending(raw, stream, GROUP)[0].idle < age, within=most)


def renewed(raw: Raw, stream: str) -> bool:
    """Whether what runs has a lease that is not over."""
    return all(each.idle < LEASE * 1000 for each in pending(raw, stream, GROUP))


async def test_failing_lease_connection_is_reported(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue is not ready while reading works and renewing does not."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler(closed=True)
    rules = policy(stream, lease=LEASE)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            handle = queue.run()
            await queue.enqueue(email())
            await wait_until(lambda: lease_connections(raw))
            most = raw.setting("maxclients")
            raw("CONFIG", "SET", "maxclients", int(raw.info("connected_clients")) - 1)
            for each in lease_connections(raw):
                raw("CLIENT", "KILL", "ID", each)
            await wait_until(lambda: queue.failing)
            assert queue.failing == handle.failing
            assert str(queue.failing).startswith("renewing leases fails: ")
            assert len(renewing(caplog.records)) == 1
            assert not handle.ended

            raw("CONFIG", "SET", "maxclients", most)
            await wait_until(lambda: queue.failing is None)
            expire(raw, stream, GROUP)
            await wait_until(lambda: renewed(raw, stream))
            recorder.gate.set()
            await queue.drain()

    assert recorder.done == ["a"]
    said = events(caplog.records)
    assert (said.count("outage"), said.count("recovery")) == (1, 1)


async def test_failing_lease_renewal_is_reported_while_idle(
    own_server: Server, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The last job's end is no sign that the next one's lease will be renewed."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler(closed=True)
    rules = policy(stream, lease=LEASE)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            queue.run()
            await queue.enqueue(email())
            await wait_until(lambda: lease_connections(raw))
            most = raw.setting("maxclients")
            raw("CONFIG", "SET", "maxclients", int(raw.info("connected_clients")) - 1)
            for each in lease_connections(raw):
                raw("CLIENT", "KILL", "ID", each)
            await wait_until(lambda: queue.failing)
            recorder.gate.set()
            await queue.drain()
            rejected = int(raw.info("rejected_connections"))
            await wait_until(
                lambda: int(raw.info("rejected_connections")) > rejected + 2
            )
            assert queue.failing
            raw("CONFIG", "SET", "maxclients", most)
            await wait_until(lambda: queue.failing is None)


async def test_the_loop_renews_while_the_lease_connection_fails(
    own_server: Server, stream: str
) -> None:
    """A job that runs is kept over the commands' connection: no other worker starts it."""
    recorder = RecordingHandler(closed=True)
    rules = policy(stream, lease=LONG)
    with Raw(own_server.url) as raw:
        async with Queue(Email, recorder, url=own_server.url, policy=rules) as queue:
            queue.run()
            await queue.enqueue(email())
            await wait_until(lambda: recorder.started)
            await wait_until(lambda: lease_connections(raw))
            raw("CONFIG", "SET", "maxclients", int(raw.info("connected_clients")) - 1)
            for each in lease_connections(raw):
                raw("CLIENT", "KILL", "ID", each)
            await wait_until(lambda: queue.failing)
            await wait_for_renewal(raw, stream)
            assert queue.failing
            assert not lease_connections(raw)
            recorder.gate.set()
            await queue.drain()

    assert recorder.started == recorder.done == ["a"]


async def test_a_lease_thread_that_cannot_start_is_started_later(
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    make_queue: MakeQueue,
) -> None:
    """A system with too many threads is reported; once it has room, leases are kept."""
    caplog.set_level(logging.INFO, "flowd")
    start: Callable[[threading.Thread], None] = threading.Thread.start
    refused: list[str] = []

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "flowd-lease" and len(refused) < 3:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=LEASE) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        await wait_until(lambda: len(refused) == 3 and not queue.failing)
        expire(raw, stream, GROUP)
        await wait_until(lambda: renewed(raw, stream))
        recorder.gate.set()
        await queue.drain()

    assert recorder.done == ["a"]
    assert "can't start new thread" in renewing(caplog.records)[0]
    assert events(caplog.records).count("recovery") == 1


async def test_the_loop_renews_while_no_thread_can_start(
    raw: Raw, stream: str, monkeypatch: pytest.MonkeyPatch, make_queue: MakeQueue
) -> None:
    """A job is kept though the system gives no thread; the queue says that it fails."""
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "flowd-lease":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=LONG) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: recorder.started)
        await wait_for_renewal(raw, stream)
        assert "can't start new thread" in str(queue.failing)
        recorder.gate.set()
        await queue.drain()

    assert recorder.started == recorder.done == ["a"]


def raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise an error in a thread."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(error)
    )


@pytest.mark.parametrize("error", [SystemExit, MemoryError])
async def test_a_lease_thread_that_dies_is_replaced(
    raw: Raw,
    stream: str,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
    make_queue: MakeQueue,
) -> None:
    """Whatever ends the thread is logged, and the next one keeps the leases."""
    caplog.set_level(logging.INFO, "flowd")
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder, lease=LEASE) as queue:
        queue.run()
        await queue.enqueue(email())
        await wait_until(lambda: lease_connections(raw))
        # Those of a queue that has ended may be there for a moment.
        await wait_until(lambda: len(lease_threads()) == 1)
        (thread,) = lease_threads()
        raise_in(thread, error)
        try:
            await wait_until(lambda: not thread.is_alive(), within=2.0)
        except AssertionError:  # asyncio took it for a fault of its transport
            raise_in(thread, error)
        await wait_until(lambda: not thread.is_alive())
        await wait_until(lambda: renewing(caplog.records))
        await wait_until(lambda: queue.failing is None)
        expire(raw, stream, GROUP)
        await wait_until(lambda: renewed(raw, stream))
        recorder.gate.set()
        await queue.drain()

    assert recorder.done == ["a"]
    assert error.__name__ in renewing(caplog.records)[0]
    await wait_until(lambda: not lease_threads())


class Broken(QueueLeases):
    """A queue whose renewal raises what is no error of the server's."""

    async def renew(self, connection: Connection, loop_seen: float) -> None:
        """Raise."""
        raise ValueError("no answer that flowd knows")


async def test_failed_renewal_of_one_queue_spares_the_others(
    raw: Raw, stream: str, caplog: pytest.LogCaptureFixture, make_queue: MakeQueue
) -> None:
    """One queue's renewal may raise anything; the leases of the others are kept."""
    recorder = RecordingHandler(closed=True)
    async with (
        make_queue(recorder, lease=LEASE) as queue,
        session_to(queue.address) as session,
    ):
        broken = Broken(HeldQueue(Stream(session.connection, "broken", GROUP), LEASE))
        leases = WorkerSession.of(session).leases
        leases.add(broken)
        try:
            queue.run()
            await queue.enqueue(email())
            await wait_until(lambda: recorder.started)
            await wait_until(lambda: session.outage.reason("broken"))
            for _ in range(3):
                expire(raw, stream, GROUP)
                await wait_until(lambda: renewed(raw, stream))
            assert queue.failing is None
            recorder.gate.set()
            await queue.drain()
        finally:
            await leases.remove(broken)

    assert "ValueError: no answer that flowd knows" in renewing(caplog.records)[0]
