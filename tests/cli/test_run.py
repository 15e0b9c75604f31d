"""`flowd run`: queues in a process of their own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from flowd import Producer
from jobs.email import Email
from tests.cli.program import Program
from tests.raw import Raw

ROOT = Path(__file__).parents[2]

WORKERS = """
import asyncio
from flowd import Queue, QueueGroup
from jobs.crawl import Crawl
from jobs.email import Email

async def send(email):
    if email.to == "slow":
        await asyncio.sleep(60)

async def crawl(page):
    pass

queue = Queue(Email, send)
many = [queue, Queue(Crawl, crawl)]
group = QueueGroup(many)

def build():
    return many

def fail():
    raise ValueError("no settings")
"""


async def enqueue(url: str, *to: str) -> None:
    """Enqueue e-mails."""
    async with Producer(url) as producer:
        await producer.enqueue_bulk(Email(to=each, subject="hi") for each in to)


@pytest.mark.parametrize("name", ["queue", "many", "group", "build"])
async def test_every_way_to_name_queues(
    flowd: Program, redis_url: str, name: str
) -> None:
    """A Queue, a list, a QueueGroup and a function of these can be run."""
    flowd.write("workers.py", WORKERS)
    await enqueue(redis_url, "a", "b")
    done = flowd("run", f"workers:{name}", "--burst")
    assert done.code == 0, done.err
    assert done.err.count(" done\n") == 2
    assert done.out == ""


async def test_a_signal_ends_it_with_0(flowd: Program, redis_url: str) -> None:
    """SIGTERM lets running jobs end, forgets the consumer and exits with 0."""
    flowd.write("workers.py", WORKERS)
    await enqueue(redis_url, "a")
    with flowd.start("run", "workers:queue") as running:
        running.until("done")
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    with Raw(redis_url) as raw:
        assert raw("XINFO", "CONSUMERS", "emails", "senders") == []


async def test_a_second_signal_hands_back(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """After a second signal a running job is back in the stream, uncounted."""
    flowd.write("workers.py", WORKERS)
    await enqueue(redis_url, "first", "slow")
    with flowd.start("run", "workers:queue") as running:
        running.until("done")
        running.signal(signal.SIGINT)
        running.until("finishing running jobs")
        running.signal(signal.SIGINT)
        running.until("handed back")
        assert running.end() == 0
    ((_, fields),) = raw.entries("emails")
    assert fields[b"_attempt"] == b"1"
    assert raw("XPENDING", "emails", "senders") == [0, None, None, None]


async def test_grace_limits_the_wait(flowd: Program, redis_url: str, raw: Raw) -> None:
    """With `--grace 0` the first signal hands back."""
    flowd.write("workers.py", WORKERS)
    await enqueue(redis_url, "first", "slow")
    with flowd.start("run", "workers:queue", "--grace", "0") as running:
        running.until("done")
        running.signal(signal.SIGTERM)
        running.until("handed back")
        assert running.end() == 0
    assert len(raw.entries("emails")) == 1


def test_a_signal_ends_the_wait_for_a_server(flowd: Program, tmp_path: Path) -> None:
    """A worker that waits for its server says so once, and a signal ends it."""
    flowd.write("workers.py", WORKERS)
    url = f"unix://{tmp_path}/nobody.sock"
    with flowd.start("run", "workers:queue", url=url) as running:
        running.until("cannot reach")
        running.signal(signal.SIGTERM)
        assert running.end() == 0
        assert sum("cannot reach" in line for line in running.lines) == 1


def test_a_refusal_ends_it_with_one_line(flowd: Program, raw: Raw) -> None:
    """What Redis refuses for good ends the worker with one line and code 3."""
    flowd.write("workers.py", WORKERS)
    raw("SET", "emails", "not a stream")
    done = flowd("run", "workers:queue")
    assert done.code == 3
    assert done.err.startswith("flowd: ")
    assert "WRONGTYPE" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("workers", "must be MODULE:NAME"),
        ("nowhere:queue", "there is no module 'nowhere'"),
        ("workers.deep:queue", "there is no module 'workers.deep'"),
        ("workers:nothing", "the module 'workers' has no 'nothing'"),
        ("workers:send", "it must be a Queue"),
        ("workers:asyncio", "it must be a Queue"),
        ("workers:Email", "it must be a Queue"),
    ],
)
def test_a_wrong_reference_is_explained(
    flowd: Program, reference: str, text: str
) -> None:
    """A reference that names no queue ends with code 2 and one line that says why."""
    flowd.write("workers.py", WORKERS)
    done = flowd("run", reference)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert text in done.err


def test_app_dir_is_where_modules_are(flowd: Program, tmp_path: Path) -> None:
    """`--app-dir` makes another folder importable."""
    (tmp_path / "app").mkdir()
    flowd.write("app/workers.py", WORKERS)
    assert flowd("run", "workers:queue", "--burst").code == 2
    done = flowd("run", "workers:queue", "--burst", "--app-dir", "app")
    assert done.code == 0, done.err
    missing = flowd("run", "workers:queue", "--app-dir", "nowhere")
    assert (missing.code, missing.err.count("\n")) == (2, 1)


def test_a_module_that_fails_shows_its_own_traceback(flowd: Program) -> None:
    """An error inside the user's module is shown from the user's line on."""
    flowd.write("workers.py", "import missing_library\n")
    done = flowd("run", "workers:queue")
    assert done.code == 3
    assert 'workers.py", line 1' in done.err
    assert "missing_library" in done.err
    assert "importlib" not in done.err
    assert "cli" not in done.err


def test_a_function_that_fails_shows_its_own_traceback(flowd: Program) -> None:
    """An error of the function that builds queues is shown from its line on."""
    flowd.write("workers.py", WORKERS)
    done = flowd("run", "workers:fail")
    assert done.code == 3
    assert done.err.splitlines()[1].endswith("in fail")
    assert "no settings" in done.err


def test_a_queue_that_cannot_be_is_placed(flowd: Program) -> None:
    """A wrong argument of a queue is shown with the user's line, without a traceback."""
    flowd.write(
        "workers.py", WORKERS.replace("(Email, send)", "(Email, send, block=0)")
    )
    done = flowd("run", "workers:queue")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "workers.py:14: block is 0" in done.err


def test_without_a_server_named(flowd: Program) -> None:
    """Without a URL the line says how to give one."""
    flowd.write("workers.py", WORKERS)
    done = flowd("run", "workers:queue", url="")
    assert done.code == 2
    assert "FLOWD_URL" in done.err


async def test_the_example_service(redis_url: str) -> None:
    """The example in `examples/` sends, and rejects what is no address."""
    await enqueue(redis_url, "a@b.c", "nobody")
    done = Program(ROOT, redis_url)("run", "examples.email_service:queues", "--burst")
    assert done.code == 0, done.err
    assert "to a@b.c: hi" in done.err
    assert "dead-lettered (rejected): 'nobody' is no address" in done.err


CHANGING = """
import sys
from flowd import Queue
from jobs.email import Email

async def send(email):
    print("version ONE ran", email.to, file=sys.stderr, flush=True)

queue = Queue(Email, send)
"""


async def test_changed_code_is_run(flowd: Program, redis_url: str) -> None:
    """With --reload a worker starts anew after a change; a signal ends both with 0."""
    flowd.write("workers.py", CHANGING)
    with flowd.start("run", "workers:queue", "--reload", "--grace", "20") as running:
        running.until("runs up to")
        await enqueue(redis_url, "a")
        running.until("version ONE ran a")
        flowd.write("workers.py", CHANGING.replace("ONE", "TWO"))
        running.until("workers.py changed, starting anew")
        running.until("emails has ended")
        running.until("runs up to")
        await enqueue(redis_url, "b")
        running.until("version TWO ran b")
        running.signal(signal.SIGTERM)
        assert running.end() == 0


async def test_broken_code_is_waited_for(flowd: Program, redis_url: str) -> None:
    """Code that cannot be imported ends the worker, and the next change starts it."""
    flowd.write("workers.py", "import nothing_of_this_name\n")
    await enqueue(redis_url, "a")
    with flowd.start("run", "workers:queue", "--reload") as running:
        running.until("ModuleNotFoundError")
        flowd.write("workers.py", CHANGING)
        running.until("version ONE ran a")
        running.signal(signal.SIGINT)
        assert running.end() == 0
