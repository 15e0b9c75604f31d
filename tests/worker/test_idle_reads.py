"""Idle queues of a process wait for their jobs in one read, on one connection."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from flowd import Claimer, Queue, QueueGroup, WrongKeyType
from flowd.embedded import Server
from flowd.worker import fetcher
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import die_with, pending
from tests.support.monitor import Monitor
from tests.support.proxy import Proxy, proxy_to
from tests.support.raw import Raw, RawError
from tests.support.scripts import MAINTAIN
from tests.support.waiting import wait_until

GROUP = "senders"


def _readers(raw: Raw) -> int:
    """How many connections there are that wait for jobs."""
    clients = raw("CLIENT", "LIST")
    assert isinstance(clients, bytes)
    return clients.count(b" name=flowd-reader ")


def _queues(
    url: str,
    stream: str,
    handler: RecordingHandler,
    count: int,
    *,
    concurrency: int = 10,
    lease: float = 60.0,
    is_maintained: bool = True,
) -> list[Queue[Email]]:
    """Queues side by side; those that are not maintained only read, once they run."""
    return [
        Queue(
            Email,
            handler,
            url=url,
            policy=policy(f"{stream}.{number}", lease=lease),
            concurrency=concurrency,
            block=2.0 if is_maintained else 30.0,
            claimer=Claimer() if is_maintained else None,
        )
        for number in range(count)
    ]


@asynccontextmanager
async def _through_proxy(
    url: str, stream: str, handler: RecordingHandler
) -> AsyncGenerator[tuple[Proxy, list[Queue[Email]], list[str]]]:
    """A proxy, two queues that it leads to the server, and their streams; no lease runs out."""
    async with proxy_to(url) as proxy:
        queues = _queues(proxy.url, stream, handler, 2, lease=3600.0)
        yield proxy, queues, [queue.policy.stream for queue in queues]


@asynccontextmanager
async def _idle(raw: Raw, queues: list[Queue[Email]]) -> AsyncGenerator[None]:
    """They run, and wait in one read."""
    async with QueueGroup(queues) as group:
        group.run_all()
        await _all_wait(raw, queues)
        yield


async def _all_wait(raw: Raw, queues: list[Queue[Email]]) -> None:
    assert len(queues) > 1
    await wait_until(lambda: _readers(raw) == 1 and raw.info("blocked_clients") == "1")


def _words_of_read(streams: int) -> int:
    """How many words the command has that waits for jobs of so many streams."""
    named = ("XREADGROUP", "GROUP", GROUP, "me", "COUNT", "1", "BLOCK", "1", "STREAMS")
    return len(named) + 2 * streams


async def test_idle_queues_share_a_connection(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """However many there are, each runs its jobs at once, and all of them."""
    recorder = RecordingHandler()
    queues = _queues(redis_url, stream, recorder, 8)
    async with _idle(raw, queues):
        for queue in queues:
            await queue.enqueue(email())
        await wait_until(lambda: len(recorder.done) == 8)
        await _all_wait(raw, queues)
        for queue in queues:
            await queue.enqueue_bulk(email() for _ in range(50))
        await wait_until(lambda: len(recorder.done) == 8 + 8 * 50)
    assert raw.info("blocked_clients") == "0"


async def test_idle_queues_send_one_read(redis_url: str, raw: Raw, stream: str) -> None:
    """Of all their streams; a job that comes alone costs one more."""
    recorder = RecordingHandler()
    # No read ends by itself meanwhile.
    queues = _queues(redis_url, stream, recorder, 8, lease=3600.0, is_maintained=False)
    with Monitor(redis_url) as monitor:
        async with _idle(raw, queues):
            of_all = ("XREADGROUP", _words_of_read(len(queues)))
            await wait_until(lambda: of_all in monitor.words())
            await queues[3].enqueue(email())
            await wait_until(lambda: recorder.done)
            await wait_until(lambda: raw.info("blocked_clients") == "1")
            assert monitor.sent()["XREADGROUP"] <= 2


async def test_queue_alone_reads_by_itself(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """As many as it has slots, and nothing reads more than its stream."""
    (queue,) = _queues(redis_url, stream, RecordingHandler(), 1)
    with Monitor(redis_url) as monitor:
        async with queue:
            queue.run()
            await wait_until(lambda: raw.info("blocked_clients") == "1")
        reads = [words for name, words in monitor.words() if name == "XREADGROUP"]
    assert set(reads) == {_words_of_read(1)}


async def test_full_queue_is_not_in_the_read(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """While its slot is taken none of its jobs is, though others get theirs."""
    recorder = RecordingHandler(closed=True)
    queues = _queues(redis_url, stream, recorder, 3, concurrency=1)
    async with _idle(raw, queues):
        first, second, _ = queues
        await first.enqueue_bulk(email("a") for _ in range(3))
        await wait_until(lambda: recorder.started == ["a"])
        await second.enqueue_bulk(email("b") for _ in range(3))
        await wait_until(lambda: recorder.started == ["a", "b"])
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        for queue in (first, second):
            assert len(pending(raw, queue.policy.stream, GROUP)) == 1
        recorder.gate.set()
        await wait_until(lambda: len(recorder.done) == 6)


async def test_queue_filled_by_takeovers_is_not_in_the_read(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What it claims takes its slots while it waits for new jobs in the read."""
    recorder = RecordingHandler(closed=True)
    queues = _queues(redis_url, stream, recorder, 2, concurrency=2, lease=1.0)
    first, second = (queue.policy.stream for queue in queues)
    await queues[0].init()
    await queues[0].enqueue_bulk(map(email, ("dead", "gone")))
    die_with(raw, first, GROUP, jobs=2)
    # The first claim comes seconds after the start.
    async with _idle(raw, queues):
        await wait_until(lambda: sorted(recorder.started) == ["dead", "gone"])
        for queue in queues:
            await queue.enqueue(email("new"))
        await wait_until(lambda: len(pending(raw, second, GROUP)) == 1)
        await wait_until(lambda: raw.info("blocked_clients") == "1")
        # What came while the slots were taken goes back.
        await wait_until(lambda: len(pending(raw, first, GROUP)) == 2)
        recorder.gate.set()
        await wait_until(lambda: len(recorder.done) == 4)


async def test_entries_of_a_lost_read_run(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Before their lease is over, and as if delivered once; the other queues go on."""
    recorder = RecordingHandler()
    async with proxy_to(redis_url) as proxy:
        queues = _queues(proxy.url, stream, recorder, 3, lease=3600.0)
        async with _idle(raw, queues):
            proxy.lose(b"XREADGROUP", answer=b"subject")
            await queues[1].enqueue(email("1"))
            await wait_until(lambda: recorder.done == ["1"])
            assert proxy.lost == 1
            for queue in queues:
                await queue.enqueue(email("2"))
            await wait_until(lambda: len(recorder.done) == 4)
    assert {ctx.deliveries for ctx in recorder.contexts} == {1}


@pytest.mark.parametrize("how", ["del", "destroy"])
async def test_queue_that_lost_its_group_stops_no_other(
    redis_url: str, raw: Raw, stream: str, how: str
) -> None:
    """It sets it up again, and the others wait in one read meanwhile."""
    recorder = RecordingHandler()
    queues = _queues(redis_url, stream, recorder, 4)
    async with _idle(raw, queues):
        lost = queues[2].policy.stream
        raw(*(("DEL", lost) if how == "del" else ("XGROUP", "DESTROY", lost, GROUP)))
        for queue in queues:
            await queue.enqueue(email())
        await wait_until(lambda: len(recorder.done) == 4)
        await _all_wait(raw, queues)


async def test_stream_of_another_type_ends_its_queue_alone(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The others read on."""
    recorder = RecordingHandler()
    # The read of many is to meet the stream, and not the maintenance of its queue.
    queues = _queues(redis_url, stream, recorder, 3, lease=3600.0, is_maintained=False)
    with Monitor(redis_url) as monitor:
        async with queues[1], queues[2]:
            await queues[0].init()
            handles = [queue.run() for queue in queues]
            # Before that, a queue may still read by itself, and fail no other.
            of_all = ("XREADGROUP", _words_of_read(len(queues)))
            await wait_until(lambda: of_all in monitor.words())
            await _all_wait(raw, queues)
            # The job ends the read, or some servers say that the group is gone. The next
            # read finds the stream.
            raw("MULTI")
            raw("XADD", queues[1].policy.stream, "*", "to", "first", "subject", "hi")
            raw("SET", queues[0].policy.stream, "no stream")
            raw("EXEC")
            with pytest.raises(WrongKeyType):
                await handles[0].wait()
            for queue in queues[1:]:
                await queue.enqueue(email())
            await wait_until(lambda: len(recorder.done) == 3)
            assert not any(handle.ended for handle in handles[1:])
    with pytest.raises(WrongKeyType):
        await queues[0].aclose()
    raw("DEL", queues[0].policy.stream)


async def test_queue_that_ends_leaves_the_read(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """What is enqueued then stays where it is; the others go on, the last one by itself."""
    recorder = RecordingHandler()
    queues = _queues(redis_url, stream, recorder, 3)
    async with queues[0], queues[1], queues[2]:
        handles = [queue.run() for queue in queues]
        await _all_wait(raw, queues)
        for at, handle in enumerate(handles[:2]):
            await handle.shutdown()
            ended = queues[at].policy.stream
            await queues[at].enqueue(email("late"))
            await queues[2].enqueue(email(str(at)))
            await wait_until(lambda: len(recorder.done) == at + 1)  # noqa: B023
            assert not pending(raw, ended, GROUP)
        await handles[2].shutdown()
    assert recorder.done == ["0", "1"]


async def test_runs_of_one_stream_have_names_of_their_own(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """At the same time or one after the other, since a fence knows them by their names."""
    recorder = RecordingHandler()
    rules = policy(stream, lease=60.0)
    queues = [Queue(Email, recorder, url=redis_url, policy=rules) for _ in range(2)]
    async with queues[0], queues[1]:
        handles = [queue.run() for queue in (*queues,)]
        names = {handle.consumer for handle in handles}
        await handles[0].shutdown()
        names.add(queues[0].run().consumer)
    assert len(names) == 3


async def test_busy_queue_reads_by_itself(
    redis_url: str, raw: Raw, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection of its own, as long as jobs come without a gap."""
    monkeypatch.setattr(fetcher, "_LASTING", 0.1)
    monkeypatch.setattr(fetcher, "_QUIET", 0.3)
    recorder = RecordingHandler()
    queues = _queues(redis_url, stream, recorder, 3)
    async with _idle(raw, queues):
        enqueued = 0
        while _readers(raw) == 1:
            await queues[0].enqueue(email())
            enqueued += 1
        await wait_until(lambda: len(recorder.done) == enqueued)
        await _all_wait(raw, queues)
        await queues[0].enqueue(email())
        await wait_until(lambda: len(recorder.done) == enqueued + 1)


async def test_queues_without_the_right_read_by_themselves(
    own_server: Server, stream: str
) -> None:
    """A read that cannot be ended would keep the queues from each other."""
    with Raw(own_server.url) as raw:
        rights = ("on", ">one", "~*", "&*", "+@all", "-client|unblock")
        try:
            raw("ACL", "SETUSER", "worker", *rights)
        except RawError:
            pytest.skip("Redis 6.2 takes no single right away")
        recorder = RecordingHandler()
        scheme, place = own_server.url.split("://")
        url = f"{scheme}://worker:one@{place}"
        queues = _queues(url, stream, recorder, 3)
        async with QueueGroup(queues) as group:
            group.run_all()
            for _ in range(3):
                for queue in queues:
                    await queue.enqueue(email())
                await wait_until(lambda: len(recorder.done) % 3 == 0)
            await wait_until(lambda: len(recorder.done) == 9)


@pytest.mark.parametrize(
    ("block", "lease", "least", "most"),
    [(30.0, 90.0, 20_000, 30_000), (2.0, 90.0, 1, 2_000), (30.0, 9.0, 2_001, 3_000)],
)
async def test_long_block_sends_fewer_commands(
    redis_url: str,
    raw: Raw,
    stream: str,
    block: float,
    lease: float,
    least: int,
    most: int,
) -> None:
    """An idle queue waits so long, and not beyond a third of its lease."""
    rules = policy(stream, lease=lease)
    queue = Queue(
        Email,
        RecordingHandler(),
        url=redis_url,
        policy=rules,
        block=block,
        claimer=None,
    )
    with Raw(redis_url) as monitor:
        monitor("MONITOR")
        async with queue:
            queue.run()
            await wait_until(lambda: raw.info("blocked_clients") == "1")
            while b'"BLOCK"' not in (line := monitor.line()):
                pass
    waits = int(line.split(b'"BLOCK" "')[1].split(b'"')[0])
    assert least <= waits <= most


async def test_entries_that_come_during_an_outage_run_once(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The read brings them while their queue finds out what a lost answer delivered."""
    recorder = RecordingHandler(closed=True)
    async with (
        _through_proxy(redis_url, stream, recorder) as (proxy, queues, streams),
        _idle(raw, queues),
    ):
        proxy.hold(MAINTAIN.sha.encode())
        await wait_until(lambda: proxy.holds == 1)
        for time in ("first", "second"):
            for each in streams:
                to = f"{time} of {each}"
                raw("XADD", each, "*", "to", to, "subject", "hi")
            started = len(set(recorder.started)) + 2
            await wait_until(
                lambda: len(set(recorder.started)) == started  # noqa: B023
            )
        recorder.gate.set()
        await wait_until(lambda: len(set(recorder.done)) == 4)
        proxy.let_through()
    assert len(recorder.started) == 4


async def test_idle_queues_open_no_connections_after_an_outage(
    redis_url: str, raw: Raw, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were busy once had a reader of their own, and closed it themselves."""
    monkeypatch.setattr(fetcher, "_LASTING", 0.05)
    # On a slow machine as well, all are busy at the same time.
    monkeypatch.setattr(fetcher, "_GAP", 60.0)
    monkeypatch.setattr(fetcher, "_QUIET", 60.0)
    recorder = RecordingHandler()
    async with proxy_to(redis_url) as proxy:
        queues = _queues(proxy.url, stream, recorder, 8)
        async with _idle(raw, queues):
            enqueued = 0
            while _readers(raw) <= len(queues):
                for queue in queues:
                    await queue.enqueue(email())
                    enqueued += 1
            await wait_until(lambda: len(recorder.done) == enqueued)
            monkeypatch.setattr(fetcher, "_QUIET", 0.0)
            await _all_wait(raw, queues)
            monkeypatch.setattr(fetcher, "_LASTING", math.inf)
            before = proxy.accepted
            proxy.cut()
            proxy.restore()
            for queue in queues:
                await queue.enqueue(email(), key="k")
            await wait_until(lambda: len(recorder.done) == enqueued + len(queues))
            await _all_wait(raw, queues)
    # For commands, leases, cancels, and the read of all.
    assert proxy.accepted - before <= 4


async def test_entries_brought_before_a_fatal_error_go_back(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A queue that ends while the read brings it a job leaves none to its lease."""
    recorder = RecordingHandler(closed=True)
    async with _through_proxy(redis_url, stream, recorder) as (proxy, queues, streams):
        for queue in queues:
            await queue.init()
        handles = [queue.run() for queue in queues]
        await _all_wait(raw, queues)
        proxy.hold(MAINTAIN.sha.encode(), silent=False)
        await wait_until(lambda: proxy.holds == 1)
        for each in streams:
            raw("SET", f"{{{each}}}:delayed", "no sorted set")
            raw("XADD", each, "*", "to", "a", "subject", "hi")
        await wait_until(lambda: all(pending(raw, each, GROUP) for each in streams))
        proxy.let_through()
        for queue, handle in zip(queues, handles, strict=True):
            with pytest.raises(WrongKeyType):
                await handle.wait()
            with pytest.raises(WrongKeyType):
                await queue.aclose()
    assert [raw("XLEN", each) for each in streams] == [1, 1]
    assert not any(pending(raw, each, GROUP) for each in streams)
