"""One object in several event loops and processes: it has a connection in each."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowd import DeadLetters, OptionError, Producer, Queue, QueueHandle, Reject
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.abandoned import collect_abandoned
from tests.support.email_job import RecordingHandler, email
from tests.support.monitor import Monitor
from tests.support.raw import Raw
from tests.support.waiting import wait_until

# A loop that ends without `aclose` leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _collected(redis_url: str) -> Generator[None, None, None]:
    """Close what a loop has left open here, and not in a test that comes later."""
    yield
    collect_abandoned(redis_url)


def test_a_producer_serves_one_loop_after_the_other(redis_url: str, raw: Raw) -> None:
    """A producer of the module is used by every `asyncio.run`, closed or not."""
    producer = Producer(redis_url)

    async def use(to: str, *, close: bool) -> None:
        await asyncio.wait_for(producer.enqueue(email(to)), 60)
        await asyncio.wait_for(producer.enqueue_bulk([email(to)]), 60)
        if close:
            await producer.aclose()

    for number in range(4):
        asyncio.run(use(f"{number}", close=number != 1))
    assert raw("XLEN", "emails") == 8


def test_a_producer_serves_loops_side_by_side(redis_url: str, raw: Raw) -> None:
    """Threads with loops of their own share a producer."""
    producer = Producer(redis_url)

    async def use() -> None:
        for _ in range(20):
            await producer.enqueue(email())

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(asyncio.run, use()) for _ in range(4)]
        for run in runs:
            run.result(60)
    assert raw("XLEN", "emails") == 80


def test_a_queue_runs_in_one_loop_after_the_other(redis_url: str, raw: Raw) -> None:
    """A queue whose loop ended without a shutdown runs again in the next."""
    done: list[str] = []

    async def handle(job: Email) -> None:
        done.append(job.to)

    queue = Queue(Email, handle, url=redis_url)

    async def use(to: str) -> None:
        await queue.init()
        queue.run()
        await queue.enqueue(email(to))
        await asyncio.wait_for(queue.drain(), 60)

    asyncio.run(use("one"))
    asyncio.run(use("two"))
    assert done == ["one", "two"]
    assert raw("XLEN", "emails") == 0


def test_dead_letters_serve_one_loop_after_the_other(redis_url: str) -> None:
    """`DeadLetters` counts and redrives in whatever loop runs."""

    async def bury() -> None:
        async def refuse(job: Email) -> None:
            raise Reject("no")

        async with Queue(Email, refuse, url=redis_url) as queue:
            queue.run()
            await queue.enqueue(email())
            await queue.drain()

    letters = DeadLetters(Email, redis_url)

    async def count() -> int:
        return len([each async for each in letters.list()])

    asyncio.run(bury())
    assert asyncio.run(asyncio.wait_for(count(), 60)) == 1
    assert asyncio.run(asyncio.wait_for(count(), 60)) == 1
    assert asyncio.run(asyncio.wait_for(letters.redrive_all(), 60)) == 1


FORK = """
import asyncio, os, sys
from flowd import OptionError, Producer
from jobs.email import Email

url = sys.argv[1]
producer = Producer(url)
loop = asyncio.new_event_loop()
job = Email(to="a", subject="b")

def child(run):
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            code = run()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def own_loop():
    asyncio.run(asyncio.wait_for(producer.enqueue(job), 60))
    return 0

def parents_loop():
    try:
        loop.run_until_complete(asyncio.wait_for(producer.enqueue(job), 60))
    except OptionError as error:
        return 0 if "forked" in str(error) else 3
    return 4

async def inside():
    await producer.enqueue(job)
    pid = os.fork()
    if pid == 0:
        try:
            producer.enqueue(job).send(None)
        except OptionError as error:
            os._exit(0 if "forked" in str(error) else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    await producer.enqueue(job)

loop.run_until_complete(producer.enqueue(job))
child(own_loop)
child(parents_loop)
loop.run_until_complete(inside())
loop.run_until_complete(asyncio.wait_for(producer.enqueue(job), 60))
loop.run_until_complete(producer.aclose())
"""


def test_a_forked_child_has_a_connection_of_its_own(redis_url: str, raw: Raw) -> None:
    """A child with a loop of its own enqueues; in its parent's it is refused at once."""
    program = textwrap.dedent(FORK)
    done = subprocess.run(
        [sys.executable, "-c", program, redis_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert raw("XLEN", "emails") == 5


SPAWNED = """
import asyncio, multiprocessing, sys
from flowd import Producer
from jobs.email import Email

producer = Producer(sys.argv[1])

def work(number):
    asyncio.run(producer.enqueue(Email(to=str(number), subject="b")))

if __name__ == "__main__":
    work(0)
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        pool.map(work, range(1, 7))
    work(7)
"""


def test_a_pool_of_processes_shares_a_producer(redis_url: str, raw: Raw) -> None:
    """Each process of a forked pool enqueues through the module's producer."""
    done = subprocess.run(
        [sys.executable, "-c", SPAWNED, redis_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stored = sorted(fields[b"to"] for _, fields in raw.entries("emails"))
    assert stored == [b"%d" % number for number in range(8)]


async def test_a_handle_serves_other_loops_and_threads(redis_url: str) -> None:
    """A queue is stopped and waited for where it does not run, as in its own loop."""
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        for end in (_stop_and_wait, _shut_down):
            handle = queue.run()
            in_thread = asyncio.to_thread(asyncio.run, end(handle))
            await asyncio.wait_for(in_thread, 60)
            assert handle.ended

        handle = queue.run()
        with pytest.raises(OptionError, match="grace"):
            await asyncio.to_thread(handle.stop, -1.0)
        await asyncio.to_thread(handle.stop)
        await asyncio.wait_for(handle.wait(), 60)


async def _stop_and_wait(handle: QueueHandle[Email]) -> None:
    handle.stop()
    await handle.wait()
    await handle.wait()


async def _shut_down(handle: QueueHandle[Email]) -> None:
    await handle.shutdown()


def test_a_handle_whose_loop_does_not_run_refuses_to_wait(redis_url: str) -> None:
    """Another loop would wait without an end; a loop that is closed has ended the queue."""
    loop = asyncio.new_event_loop()
    queue = Queue(Email, RecordingHandler(), url=redis_url)

    async def begin() -> QueueHandle[Email]:
        await queue.init()
        return queue.run()

    handle = loop.run_until_complete(begin())
    with pytest.raises(OptionError, match="does not run"):
        asyncio.run(handle.wait())
    loop.run_until_complete(queue.aclose())
    loop.close()
    asyncio.run(asyncio.wait_for(handle.wait(), 60))
    asyncio.run(asyncio.wait_for(handle.shutdown(), 60))


async def test_a_job_of_another_class_is_refused(redis_url: str, raw: Raw) -> None:
    """A queue stores its own class only, one by one and in bulk, and names both."""
    other = Crawl(url="u", priority=1, tags=[])
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        with pytest.raises(OptionError, match=r"Crawl.*this queue is of Email"):
            await queue.enqueue(other)  # type: ignore[arg-type]
        with pytest.raises(Exception, match=r"Crawl.*this queue is of Email"):
            await queue.enqueue_bulk([other])  # type: ignore[list-item]
    assert raw("XLEN", "emails") == 0


async def test_a_producer_lists_its_queue_once(redis_url: str, raw: Raw) -> None:
    """One SADD for each stream, in the write of the first job, and none for a job."""
    async with Producer(redis_url) as producer, Producer(redis_url) as other:
        with Monitor(redis_url) as monitor:
            for each in (producer, other) * 5:
                await each.enqueue(email())
                await each.enqueue_bulk([email()] * 3)
            sent = monitor.sent()
        assert sent["SADD"] == 1
        await producer.enqueue(Crawl(url="u", priority=1, tags=[]))
    listed = raw("SMEMBERS", "flowd:queues")
    assert isinstance(listed, list)
    assert {bytes(each) for each in listed if isinstance(each, bytes)} == {
        b"emails\nsenders",
        b"crawl\n" + Crawl.SPEC.policy.group.encode(),
    }


@pytest.mark.parametrize("rules", [("-sadd", "~*"), ("resetkeys", "~emails")])
async def test_a_producer_that_may_not_list_enqueues(
    redis_url: str, raw: Raw, rules: tuple[str, ...]
) -> None:
    """Without the right, the queue is not listed, and every job is stored."""
    raw("ACL", "SETUSER", "limited", "on", "nopass", "+@all", "~*", *rules)
    url = redis_url.replace("://", "://limited:x@")
    try:
        async with Producer(url) as producer:
            for _ in range(3):
                await producer.enqueue(email())
            await wait_until(lambda: raw("XLEN", "emails") == 3)
    finally:
        raw("ACL", "DELUSER", "limited")
    assert raw("EXISTS", "flowd:queues") == 0
