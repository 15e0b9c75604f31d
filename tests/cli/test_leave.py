"""A worker that has ended leaves, whatever its threads still do."""

from __future__ import annotations

import signal

import pytest

from flowd import Producer
from jobs.email import Email
from tests.support.leases import pending
from tests.support.program import Program
from tests.support.raw import Raw

WORKERS = """
import asyncio, atexit, socket, sys, threading, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from flowd import Queue
from jobs.email import Email

def say(text):
    print(text, file=sys.stderr, flush=True)

def hang():
    say("hangs")
    time.sleep(600)

pool = None

async def send(email):
    global pool
    loop = asyncio.get_running_loop()
    if email.to == "to_thread":
        await asyncio.to_thread(hang)
    if email.to == "getaddrinfo":
        socket.getaddrinfo = lambda *_, **__: hang()
        await loop.getaddrinfo("nowhere.invalid", 80)
    if email.to == "pool":
        pool = ThreadPoolExecutor(1)
        await loop.run_in_executor(pool, hang)
    if email.to == "processes":
        pool = ProcessPoolExecutor(1)
        await loop.run_in_executor(pool, hang)
    if email.to == "thread":
        threading.Thread(target=hang).start()
    while email.to == "swallow":
        say("hangs")
        try:
            await asyncio.sleep(600)
        except BaseException:  # also the end of a coroutine that is destroyed
            say("no")
    if email.to == "sync":
        await loop.run_in_executor(None, hang)

def at_exit():
    say("flushed")

atexit.register(at_exit)
print("buffered", end="")
queue = Queue(Email, send)
"""


@pytest.mark.parametrize(
    "how", ["to_thread", "getaddrinfo", "pool", "processes", "thread", "sync"]
)
@pytest.mark.parametrize("signals", [1, 3])
async def test_a_thread_that_hangs_does_not_keep_the_process(
    flowd: Program, redis_url: str, raw: Raw, how: str, signals: int
) -> None:
    """It ends with 0 after the grace, its exit hooks run and its output written."""
    flowd.write("workers.py", WORKERS)
    async with Producer(redis_url) as producer:
        await producer.enqueue(Email(to=how, subject="s"))
    grace = "0.2" if signals == 1 else "600"
    output = flowd.folder / "output"
    with (
        output.open("w") as out,
        flowd.start("run", "workers:queue", "--grace", grace, out=out) as running,
    ):
        running.until("hangs")
        running.signal(signal.SIGTERM)
        running.until("SIGTERM")
        for _ in range(signals - 1):
            running.signal(signal.SIGTERM)
            if how != "thread":  # that job is done, and so is the queue
                running.until("SIGTERM" if _ == 0 else "ended")
        assert running.end() == 0
    said = "".join(running.lines)
    assert "a thread that still runs cannot be cancelled" in said
    assert "flushed" in said
    assert output.read_text() == "buffered"
    assert raw("XINFO", "CONSUMERS", "emails", "senders") == []


async def test_a_coroutine_that_swallows_its_cancellation_does_not_keep_the_process(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """It ends with 0 as for a thread, names the handler, and counts no crash."""
    flowd.write("workers.py", WORKERS)
    async with Producer(redis_url) as producer:
        await producer.enqueue(Email(to="swallow", subject="s"))
    with flowd.start("run", "workers:queue", "--grace", "0") as running:
        running.until("hangs")
        running.signal(signal.SIGINT)
        assert running.end() == 0
    said = "".join(running.lines)
    assert "the process ends without 1 task (send, workers.py:" in said
    assert "flushed" in said
    (held,) = pending(raw, "emails", "senders")
    assert held.deliveries == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_worker_without_threads_leaves_as_python_does(
    flowd: Program, redis_url: str, number: signal.Signals
) -> None:
    """Nothing is said of threads, and exit hooks run once; a closed terminal is no kill."""
    flowd.write("workers.py", WORKERS)
    with flowd.start("run", "workers:queue") as running:
        running.until("runs up to")
        running.signal(number)
        assert running.end() == 0
    assert "".join(running.lines).count("flushed") == 1
    assert "thread" not in "".join(running.lines)


async def test_a_failure_is_said_though_a_thread_hangs(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """The exit code is that of the failure."""
    flowd.write("workers.py", WORKERS)
    async with Producer(redis_url) as producer:
        await producer.enqueue(Email(to="thread", subject="s"))
    with flowd.start("run", "workers:queue") as running:
        running.until("hangs")
        raw("DEL", "emails")
        raw("SET", "emails", "no stream")
        assert running.end() == 3
    assert "WRONGTYPE" in "".join(running.lines)
