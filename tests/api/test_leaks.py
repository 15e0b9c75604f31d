"""What ends, ends whole: no task, thread, connection or consumer stays behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import warnings

import pytest

from flowd import DeadLetters, Producer, Queue, QueueGroup, Reject
from flowd.broker.session import Session
from jobs.email import Email
from tests.support.email_job import RecordingHandler, email, policy
from tests.support.leases import consumers
from tests.support.queues import MakeQueue
from tests.support.raw import Raw
from tests.support.waiting import wait_until

GROUP = "senders"


def _clients(raw: Raw) -> int:
    """How many clients there are besides `raw`."""
    return int(raw.info("connected_clients")) - 1


async def test_queue_leaves_nothing_behind(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A queue that has run leaves no thread, no connection and no consumer."""
    threads = set(threading.enumerate())
    async with make_queue() as queue:
        queue.run()
        await queue.enqueue_bulk(email(str(number)) for number in range(100))
        await queue.drain()
        # For commands, reads and cancels; and for renewals, if a job was held for so long.
        await wait_until(lambda: _clients(raw) <= 4)

    assert asyncio.all_tasks() == {asyncio.current_task()}
    await wait_until(lambda: set(threading.enumerate()) <= threads)
    await wait_until(lambda: _clients(raw) == 0)
    assert not consumers(raw, stream, GROUP)


async def test_many_queues_leave_nothing_behind(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Queues of one process share what they can, and the last one closes it."""
    threads = set(threading.enumerate())
    queues = [
        Queue(
            Email,
            RecordingHandler(),
            url=redis_url,
            policy=policy(f"{stream}-{number}"),
        )
        for number in range(5)
    ]
    async with QueueGroup(queues) as group:
        group.run_all()
        for queue in queues:
            await queue.enqueue(email())
        await group.drain()
        await wait_until(lambda: _clients(raw) <= 3 + len(queues))

    await wait_until(lambda: set(threading.enumerate()) <= threads)
    await wait_until(lambda: _clients(raw) == 0)


async def test_producer_leaves_nothing_behind(redis_url: str, raw: Raw) -> None:
    """Producers and readers of dead letters share a connection and close it."""
    async with Producer(redis_url) as producer, DeadLetters(Email, redis_url) as dead:
        await producer.enqueue(email())
        assert [letter async for letter in dead.list()] == []
        await wait_until(lambda: _clients(raw) == 1)

    await wait_until(lambda: _clients(raw) == 0)


async def test_failed_start_leaves_nothing_behind(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """A queue whose set-up is refused closes its connection."""
    raw("SET", stream, "text")
    with pytest.raises(Exception, match="WRONGTYPE"):
        async with make_queue():
            pass

    await wait_until(lambda: _clients(raw) == 0)


async def test_starts_and_stops_add_up_to_nothing(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Twenty runs of one queue that release all jobs leave the jobs, and only those."""
    recorder = RecordingHandler(closed=True)
    async with make_queue(recorder) as queue:

        async def run_for_a_moment(number: int) -> None:
            handle = queue.run()
            await wait_until(lambda: len(recorder.started) == 5 * number)
            await handle.shutdown(grace=0.0)

        await queue.enqueue_bulk(email(str(number)) for number in range(5))
        for number in range(1, 21):
            await run_for_a_moment(number)
        assert {ctx.deliveries for ctx in recorder.contexts} == {1}
        assert raw("XLEN", stream) == 5
        assert not consumers(raw, stream, GROUP)
        await wait_until(lambda: _clients(raw) == 1)


async def test_a_stream_of_finished_jobs_is_empty(
    raw: Raw, stream: str, make_queue: MakeQueue
) -> None:
    """Whatever way jobs end, nothing of them stays but dead letters."""

    async def end(job: Email) -> None:
        if job.to == "bad":
            raise Reject("no")

    async with make_queue(end) as queue:
        queue.run()
        await queue.enqueue_bulk(
            email("bad" if n % 9 == 0 else "ok") for n in range(90)
        )
        await queue.enqueue(email(), delay=0.01)
        await queue.drain()

    keys = raw("KEYS", "*")
    assert isinstance(keys, list)
    dead = f"{{{stream}}}:{GROUP}:dlq".encode()
    assert sorted(map(str, keys)) == sorted(
        map(str, [stream.encode(), dead, b"flowd:queues"])
    )
    assert raw("XLEN", stream) == 0
    assert raw("XLEN", dead) == 10


_STEPS = """
import asyncio, sys
from flowd import Queue
from jobs.email import Email

async def main():
    # A turn that takes long on a busy machine is nothing that was left open.
    asyncio.get_running_loop().slow_callback_duration = 60
    queue = Queue(Email, print, url=sys.argv[1])
    await queue.init()
    handle = queue.run()
    await queue.enqueue(Email(to="a", subject="b"))
    await queue.drain()
    await handle.shutdown()
    await queue.aclose()

asyncio.run(main(), debug=True)
"""


def test_the_steps_one_by_one_end_without_a_complaint(redis_url: str) -> None:
    """`init`, `run`, `shutdown`, `aclose`: Python finds nothing that was left open."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", _STEPS, redis_url],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Email(to='a', subject='b', body=None)\n"


async def test_no_cycle_keeps_a_queue_alive_by_its_connections(
    make_queue: MakeQueue,
) -> None:
    """Collecting what is unreachable closes nothing that should have been closed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with make_queue() as queue:
            queue.run()
            await queue.enqueue(email())
            await queue.drain()
        del queue
        gc.collect()

    assert not [str(each.message) for each in caught]


async def test_ended_queues_keep_no_session(
    make_queue: MakeQueue,
) -> None:
    """A process that opens and closes queues again and again does not grow by it."""

    def sessions() -> int:
        gc.collect()
        return sum(isinstance(each, Session) for each in gc.get_objects())

    async def run_one() -> None:
        async with make_queue() as queue:
            queue.run()
            await queue.enqueue(email())
            await queue.drain()

    before = sessions()
    for _ in range(3):
        await run_one()
    assert sessions() == before
