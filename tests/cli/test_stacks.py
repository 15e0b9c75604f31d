"""SIGUSR1 logs where each handler stands."""

from __future__ import annotations

import signal

import pytest

from flowd import Producer
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.program import Program

WORKERS = """
import asyncio, os, time
from flowd import Queue
from jobs.crawl import Crawl
from jobs.email import Email

def begun():
    os.write(2, b"begun\\n")

async def ask_the_server():
    asyncio.get_running_loop().call_soon(begun)  # once the next line waits
    await asyncio.sleep(600)

async def send(email):
    if email.to == "task":
        await asyncio.gather(asyncio.create_task(ask_the_server()))
    elif email.to == "await":
        await ask_the_server()
    else:
        compute_at_length()

def compute_at_length():
    begun()
    while True:
        time.sleep(0.01)

def crawl(page):
    compute_at_length()

queues = [Queue(Email, send), Queue(Crawl, crawl)]
"""


async def enqueue(url: str, *jobs: Email | Crawl) -> None:
    """Enqueue jobs."""
    async with Producer(url) as producer:
        for job in jobs:
            await producer.enqueue(job)


@pytest.mark.parametrize("words", [(), ("--processes", "2")])
async def test_signal_logs_stacks_of_tasks_and_threads(
    flowd: Program, redis_url: str, words: tuple[str, ...]
) -> None:
    """Of each handler the job, how long it has run, and the lines it stands at."""
    flowd.write("workers.py", WORKERS)
    emails = [Email(to=to, subject="s") for to in ("await", "task")]
    await enqueue(redis_url, *emails, Crawl(url="http://a", priority=1, tags=[]))
    with flowd.start("run", "workers:queues", *words) as running:
        for _ in range(3):
            running.until("begun")
        running.signal(signal.SIGUSR1)
        # Each process logs its own handlers; the innermost line of a stack comes last.
        waits = "await asyncio.sleep(600)"
        while not shows(
            running.lines, waits, 2
        ) or "in compute_at_length" not in "".join(running.lines):
            running.until("\n")
        running.signal(signal.SIGTERM)
        running.until("finishing running jobs")
        running.signal(signal.SIGTERM)
        running.end()
    text = "".join(running.lines)
    assert text.count(" has run for ") == 3
    assert text.count(" in workers.send:") == 2
    assert text.count(" in workers.crawl:") == 1
    assert "in ask_the_server" in text
    assert "in compute_at_length" in text
    assert "executor.py" not in text
    assert "Traceback" not in text


async def test_signal_names_the_handler_that_holds_the_loop(
    flowd: Program, redis_url: str
) -> None:
    """It is what such a signal is sent for: the loop itself could say nothing."""
    flowd.write("workers.py", WORKERS)
    await enqueue(redis_url, Email(to="block", subject="s"))
    with flowd.start("run", "workers:queues") as running:
        running.until("the event loop has stood still")
        running.signal(signal.SIGUSR1)
        running.until(" in workers.send:")
        running.until("in compute_at_length")


async def test_idle_worker_logs_that_nothing_runs(
    flowd: Program, redis_url: str
) -> None:
    """And goes on."""
    flowd.write("workers.py", WORKERS)
    await enqueue(redis_url)
    with flowd.start("run", "workers:queues") as running:
        running.until("runs up to 10 jobs as")
        running.until("runs up to 10 jobs as")
        running.signal(signal.SIGUSR1)
        running.until("SIGUSR1: 0 handlers run in ")
        running.signal(signal.SIGTERM)
        assert running.end() == 0


def shows(lines: list[str], text: str, times: int) -> bool:
    """Whether a line of source is shown so often, as in a stack."""
    return sum(line.strip() == text for line in lines) >= times
