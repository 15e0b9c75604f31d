"""Queues that start and end together."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

import pytest

from flowd import OptionError, Queue, QueueGroup, StreamShared, WrongKeyType
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email
from tests.support.leases import consumers
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


def queues(url: str, stream: str, *recorders: RecordingHandler) -> list[Queue[Email]]:
    """A queue for each recorder, on streams `STREAM-0`, `STREAM-1` and on."""
    return [
        Queue(Email, recorder, url=url, stream=f"{stream}-{number}")
        for number, recorder in enumerate(recorders)
    ]


def _left(raw: Raw, stream: str) -> bool:
    return not consumers(raw, stream, GROUP)


async def test_a_group_runs_all_its_queues(redis_url: str, stream: str) -> None:
    """Of different job classes, given at once or pushed one by one."""
    mails, pages = RecordingHandler(), list[str]()

    async def fetch(job: Crawl) -> None:
        pages.append(job.url)

    mailing = Queue(Email, mails, url=redis_url, stream=f"{stream}-mail")
    crawling = Queue(Crawl, fetch, url=redis_url, stream=f"{stream}-crawl")
    async with QueueGroup([mailing]).push(crawling) as group:
        group.run_all()
        await mailing.enqueue(email())
        await crawling.enqueue(Crawl(url="u", priority=1, tags=[]))
        await group.drain()

    assert (mails.done, pages) == (["a"], ["u"])


async def test_all_are_set_up_in_one_round_trip(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Twenty queues cost far less than twenty reads of the server's socket."""
    # A write of many kilobytes may reach the server in pieces, so a few reads are free.
    reads: list[int] = []
    for number in (1, 20):
        group = QueueGroup(
            queues(redis_url, stream + str(number), *[RecordingHandler()] * number)
        )
        (first,) = queues(redis_url, f"{stream}-first", RecordingHandler())
        await first.init()  # the connection is there, and shared
        before = int(raw.info("total_reads_processed"))
        await group.init_all()
        reads.append(int(raw.info("total_reads_processed")) - before)
        await group.aclose()
        await first.aclose()

    assert reads[1] < reads[0] + 10
    for number in range(20):
        assert raw("EXISTS", f"{stream}20-{number}") == 1


async def test_the_shutdown_takes_as_long_as_the_slowest(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Every queue shuts down at once: none waits for another one's handlers."""
    recorders = [RecordingHandler(closed=True) for _ in range(4)]
    group = queues(redis_url, stream, *recorders)
    running = QueueGroup(group)
    await running.init_all()
    handle = running.run_all()
    for queue in group:
        await queue.enqueue(email())
    await wait_until(lambda: all(recorder.started for recorder in recorders))
    ending = asyncio.ensure_future(handle.shutdown(grace=None))
    # From the last to the first: one after another they would not get there.
    for number in (3, 2, 1, 0):
        recorders[number].gate.set()
        await wait_until(partial(_left, raw, f"{stream}-{number}"))
    await ending
    await running.aclose()

    assert [recorder.done for recorder in recorders] == [["a"]] * 4


async def test_failed_queue_shuts_down_the_others(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """They are shut down in order, and the failure is raised."""
    recorders = [RecordingHandler(), RecordingHandler(closed=True)]
    failing, working = queues(redis_url, stream, *recorders)
    group = QueueGroup([failing, working])
    await group.init_all()
    handle = group.run_all()
    await working.enqueue(email())
    await wait_until(lambda: recorders[1].started)
    waiting = asyncio.ensure_future(handle.wait())
    raw("DEL", f"{stream}-0")
    raw("SET", f"{stream}-0", "no stream any more")
    recorders[1].gate.set()
    with pytest.raises(WrongKeyType):
        await waiting
    with pytest.raises(WrongKeyType):
        await group.aclose()

    assert recorders[1].done == ["a"]
    assert not consumers(raw, f"{stream}-1", GROUP)


@pytest.mark.one_server
async def test_failed_set_up_is_reported(redis_url: str, raw: Raw, stream: str) -> None:
    """The others are set up all the same; nothing runs and nothing is left open."""
    group = queues(
        redis_url, stream, RecordingHandler(), RecordingHandler(), RecordingHandler()
    )
    raw("XGROUP", "CREATE", f"{stream}-1", "of-another", "$", "MKSTREAM")
    with pytest.raises(StreamShared, match="of-another"):
        async with QueueGroup(group):
            pytest.fail("it is not entered")

    assert raw("EXISTS", f"{stream}-0", f"{stream}-2") == 2


async def test_a_group_runs_once(redis_url: str, stream: str) -> None:
    """A second `run_all` is refused, and the first goes on."""
    recorder = RecordingHandler()
    (queue,) = queues(redis_url, stream, recorder)
    async with QueueGroup([queue]) as group:
        group.run_all()
        with pytest.raises(OptionError, match="runs already"):
            group.run_all()
        await queue.enqueue(email())
        await group.drain()

    assert recorder.done == ["a"]


async def test_an_empty_group_ends_at_once(redis_url: str) -> None:
    """Nothing to set up, to run or to wait for is no fault."""
    async with QueueGroup() as group:
        handle = group.run_all()
        await handle.wait()
        await handle.shutdown()
        await group.drain()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all(
    redis_url: str, raw: Raw, stream: str, number: signal.Signals
) -> None:
    """Running handlers end, what waits stays, and the signal does what it did before."""
    before = signal.getsignal(number)
    recorders = [RecordingHandler(closed=True), RecordingHandler()]
    group = queues(redis_url, stream, *recorders)
    async with QueueGroup(group) as running:
        await group[0].enqueue(email())
        stopped = asyncio.ensure_future(running.run_until_stopped(grace=None))
        await wait_until(lambda: recorders[0].started)
        os.kill(os.getpid(), number)
        # The first queue waits for its handler; the second has nothing to wait for.
        await wait_until(lambda: not consumers(raw, f"{stream}-1", GROUP))
        await group[1].enqueue(email("stays"))
        assert not stopped.done()
        recorders[0].gate.set()
        await stopped

    assert recorders[0].done == ["a"]
    assert raw("XLEN", f"{stream}-1") == 1
    assert signal.getsignal(number) == before


async def test_a_signal_is_for_all_that_are_waited_for(
    redis_url: str, stream: str
) -> None:
    """Two queues without a group end both, and whichever ends first keeps no other deaf."""
    before = signal.getsignal(signal.SIGTERM)
    recorder = RecordingHandler(closed=True)
    first, second = queues(redis_url, stream, RecordingHandler(), recorder)
    async with first, second:
        await second.enqueue(email())
        ends = [
            asyncio.ensure_future(each.run_until_stopped(grace=None))
            for each in (first, second)
        ]
        await wait_until(lambda: recorder.started)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait([ends[0]], timeout=10)
        assert [each.done() for each in ends] == [True, False]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait(ends, timeout=10)
        assert all(each.done() for each in ends)
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_second_signal_releases_now(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """A second signal does not wait for handlers."""
    recorder = RecordingHandler(closed=True)
    (queue,) = queues(redis_url, stream, recorder)
    async with queue:
        await queue.enqueue(email())
        stopped = asyncio.ensure_future(queue.run_until_stopped(grace=None))
        await wait_until(lambda: recorder.started)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01)
        await stopped

    assert recorder.cancelled == ["a"]
    assert raw("XLEN", f"{stream}-0") == 1


async def test_waiting_can_be_given_up(redis_url: str, stream: str) -> None:
    """The queues run on, and may be waited for again."""
    async with QueueGroup(
        queues(redis_url, stream, RecordingHandler(), RecordingHandler())
    ) as group:
        handle = group.run_all()
        waiting = asyncio.ensure_future(handle.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait([waiting], timeout=10)
        assert done
        assert waiting.cancelled()
        await handle.shutdown()
