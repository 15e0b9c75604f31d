"""`flowd run`: queues in a process of their own."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from flowd import Producer
from flowd.embedded import Server
from jobs.email import Email
from tests.support.program import Program
from tests.support.raw import Raw

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

# What happens is said on standard error, where the log lines are.
SERVICE = """
import asyncio, sys
from contextlib import asynccontextmanager, contextmanager
from flowd import Queue, QueueGroup
from jobs.crawl import Crawl
from jobs.email import Email

def say(text):
    print(text, file=sys.stderr, flush=True)

@asynccontextmanager
async def open_queues():
    here = asyncio.current_task()
    say("opening")
    await asyncio.sleep(0)

    async def send(email):
        try:
            say(f"sends {email.to}")
            await asyncio.sleep(60 if email.to == "slow" else 0)
        finally:
            await asyncio.sleep(0.05)
            say(f"leaves {email.to}")

    async def crawl(page):
        pass

    yield [Queue(Email, send), Queue(Crawl, crawl)]
    await asyncio.sleep(0)
    assert asyncio.current_task() is here
    say("closed")

def service():
    return open_queues()

ready = open_queues()

@asynccontextmanager
async def one():
    async with open_queues() as queues:
        yield queues[0]

@asynccontextmanager
async def group():
    async with open_queues() as queues:
        yield QueueGroup(queues)

@asynccontextmanager
async def slow_to_open():
    try:
        say("opening")
        await asyncio.sleep(60)
        yield []
    finally:
        say("closed")

@asynccontextmanager
async def slow_to_close():
    async with open_queues() as queues:
        yield queues
        say("closing")
        await asyncio.sleep(60)

@asynccontextmanager
async def fails():
    raise ValueError("no database")
    yield []

@asynccontextmanager
async def fails_at_the_end():
    async with open_queues() as queues:
        yield queues
    raise ValueError("no database any more")

@asynccontextmanager
async def fails_to_close():
    try:
        yield Queue(Email, print)
    finally:
        raise ValueError("no way to close")

@asynccontextmanager
async def nothing():
    yield

@asynccontextmanager
async def wrong_queue():
    yield Queue(Email, print, block=0)

async def coroutine():
    return []

async def undecorated():
    yield []

@contextmanager
def blocking():
    yield []
"""


async def enqueue(url: str, *to: str) -> None:
    """Enqueue e-mails."""
    async with Producer(url) as producer:
        await producer.enqueue_bulk(Email(to=each, subject="hi") for each in to)


def said(err: str) -> list[str]:
    """The lines that are not the log's."""
    words = ("opening", "sends", "leaves", "closed")
    return [line for line in err.splitlines() if line.startswith(words)]


@pytest.mark.parametrize("name", ["queue", "many", "group", "build"])
async def test_every_way_to_name_queues(
    flowd: Program, redis_url: str, name: str
) -> None:
    """A Queue, a list, a QueueGroup and a function of these can be run."""
    flowd.write("workers.py", WORKERS)
    await enqueue(redis_url, "a", "b")
    done = flowd("run", f"workers:{name}", "--burst")
    assert done.code == 0, done.err
    assert done.err.count(" attempt 1 done in ") == 2
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


async def test_a_second_signal_releases(
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
        running.until("released")
        assert running.end() == 0
    ((_, fields),) = raw.entries("emails")
    assert fields[b"_attempt"] == b"1"
    assert raw("XPENDING", "emails", "senders") == [0, None, None, None]


async def test_grace_limits_the_wait(flowd: Program, redis_url: str, raw: Raw) -> None:
    """With `--grace 0` the first signal releases the jobs."""
    flowd.write("workers.py", WORKERS)
    await enqueue(redis_url, "first", "slow")
    with flowd.start("run", "workers:queue", "--grace", "0") as running:
        running.until("done")
        running.signal(signal.SIGTERM)
        running.until("released")
        assert running.end() == 0
    assert len(raw.entries("emails")) == 1


def test_a_signal_ends_the_wait_for_a_server(flowd: Program, tmp_path: Path) -> None:
    """A worker that waits for its server says so once, and a signal ends it."""
    flowd.write("workers.py", WORKERS)
    url = f"unix://{tmp_path}/absent.sock"
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


@pytest.mark.parametrize("name", ["open_queues", "service", "ready", "one", "group"])
async def test_a_context_manager_is_open_while_they_run(
    flowd: Program, redis_url: str, name: str
) -> None:
    """It opens before the first job and closes, in the same task, after the last."""
    flowd.write("workers.py", SERVICE)
    await enqueue(redis_url, "a")
    done = flowd("run", f"workers:{name}", "--burst")
    assert done.code == 0, done.err
    assert said(done.err) == ["opening", "sends a", "leaves a", "closed"]


async def test_a_signal_closes_after_the_last_handler(
    flowd: Program, redis_url: str
) -> None:
    """On SIGTERM it stays open until every handler has ended, cancelled ones too."""
    flowd.write("workers.py", SERVICE)
    await enqueue(redis_url, "slow")
    with flowd.start("run", "workers:service", "--grace", "0.1") as running:
        running.until("sends slow")
        running.signal(signal.SIGTERM)
        assert running.end() == 0
        assert said("".join(running.lines)) == [
            "opening",
            "sends slow",
            "leaves slow",
            "closed",
        ]


def test_context_manager_closes_when_redis_refuses(flowd: Program, raw: Raw) -> None:
    """What Redis refuses for good ends the worker as ever, after it was closed."""
    flowd.write("workers.py", SERVICE)
    raw("SET", "emails", "not a stream")
    done = flowd("run", "workers:service")
    assert done.code == 3
    assert said(done.err) == ["opening", "closed"]
    assert done.err.splitlines()[-1].startswith("flowd: ")
    assert "WRONGTYPE" in done.err
    assert "Traceback" not in done.err


def test_why_it_ended_is_said_when_it_cannot_close(flowd: Program, raw: Raw) -> None:
    """What failed to close is shown, and after it what Redis refused before."""
    flowd.write("workers.py", SERVICE)
    raw("SET", "emails", "not a stream")
    done = flowd("run", "workers:fails_to_close")
    assert done.code == 3
    assert "ValueError: no way to close" in done.err
    assert "WRONGTYPE" in done.err.splitlines()[-1]


async def test_a_burst_that_may_not_count_ends(
    flowd: Program, own_server: Server
) -> None:
    """A right that only the count of what is left needs ends the worker as any other."""
    flowd.write("workers.py", WORKERS)
    with Raw(own_server.url) as raw:
        raw("ACL", "SETUSER", "w", "on", ">pw", "~*", "&*", "+@all", "-zcard")
    url = f"unix://w:pw@{own_server.socket}"
    done = await asyncio.to_thread(flowd, "run", "workers:queue", "--burst", url=url)
    assert done.code == 3
    assert "lacks a right" in done.err.splitlines()[-1]


def test_context_manager_closes_when_redis_refuses_later(
    flowd: Program, raw: Raw
) -> None:
    """A worker that Redis refuses while it runs closes as well."""
    flowd.write("workers.py", SERVICE)
    with flowd.start("run", "workers:service") as running:
        running.until("runs up to")
        running.until("runs up to")
        raw("SET", "emails", "not a stream")
        assert running.end() == 3
        assert said("".join(running.lines)) == ["opening", "closed"]


def test_a_signal_ends_the_wait_and_closes(flowd: Program, tmp_path: Path) -> None:
    """A worker that still waits for its server closes on a signal."""
    flowd.write("workers.py", SERVICE)
    url = f"unix://{tmp_path}/absent.sock"
    with flowd.start("run", "workers:service", url=url) as running:
        running.until("cannot reach")
        running.signal(signal.SIGTERM)
        assert running.end() == 0
        assert said("".join(running.lines)) == ["opening", "closed"]


def test_a_signal_breaks_off_the_opening(flowd: Program) -> None:
    """What takes long to open is cancelled by a signal; that is no error."""
    flowd.write("workers.py", SERVICE)
    with flowd.start("run", "workers:slow_to_open") as running:
        running.until("opening")
        running.signal(signal.SIGTERM)
        assert running.end() == 0
        assert running.lines[-1] == "closed\n"


def test_a_second_signal_breaks_off_the_closing(flowd: Program) -> None:
    """What takes long to close is cancelled by a second signal."""
    flowd.write("workers.py", SERVICE)
    with flowd.start("run", "workers:slow_to_close") as running:
        running.until("runs up to")
        running.until("runs up to")
        running.signal(signal.SIGTERM)
        running.until("closing")
        running.signal(signal.SIGTERM)
        assert running.end() == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [("fails", "no database"), ("fails_at_the_end", "no database any more")],
)
def test_failing_context_manager_shows_its_traceback(
    flowd: Program, redis_url: str, name: str, text: str
) -> None:
    """An error of the context manager is shown from the user's line on."""
    flowd.write("workers.py", SERVICE)
    done = flowd("run", f"workers:{name}", "--burst")
    assert done.code == 3
    assert text in done.err
    assert f"in {name}\n" in done.err
    assert done.err.count("Traceback") == 1
    assert "cli/" not in done.err
    assert "contextlib" not in done.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nothing", "workers:nothing opened None; it must be a Queue"),
        ("coroutine", "workers:coroutine returned <coroutine object"),
        ("undecorated", "workers:undecorated returned <async_generator object"),
        ("blocking", "async generator under @contextlib.asynccontextmanager"),
        ("wrong_queue", "workers.py:88: block is 0"),
    ],
)
def test_function_without_queues_is_explained(
    flowd: Program, name: str, text: str
) -> None:
    """A function that gives something else ends with code 2 and one line on it."""
    flowd.write("workers.py", SERVICE)
    done = flowd("run", f"workers:{name}")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert text in done.err


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
        ("workers:queues", "holds [], which is empty; it must be a Queue"),
        ("./workers:queue", "must be MODULE:NAME"),
        (".workers:queue", "must be MODULE:NAME"),
        ("workers.py/:queue", "must be MODULE:NAME"),
    ],
)
def test_a_wrong_reference_is_explained(
    flowd: Program, reference: str, text: str
) -> None:
    """A reference that names no queue ends with code 2 and one line that says why."""
    flowd.write("workers.py", f"{WORKERS}\nqueues = []\n")
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


def test_missing_url_is_explained(flowd: Program) -> None:
    """Without a URL the line says how to give one."""
    flowd.write("workers.py", WORKERS)
    done = flowd("run", "workers:queue", url="")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "workers.py:14: no URL: set FLOWD_URL, as redis://" in done.err
    assert not [each for each in ("url=", "--url") if each in done.err]


async def test_the_example_service(redis_url: str) -> None:
    """The example in `examples/` sends, and rejects what is no address."""
    await enqueue(redis_url, "a@b.c", "no-at")
    done = Program(ROOT, redis_url)("run", "examples.email_service:queues", "--burst")
    assert done.code == 0, done.err
    assert "to a@b.c: hi" in done.err
    assert "dead-lettered (rejected): 'no-at' is no address" in done.err


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
        running.until("workers.py changed, restarting")
        running.until("emails has ended")
        running.until("runs up to")
        await enqueue(redis_url, "b")
        running.until("version TWO ran b")
        running.signal(signal.SIGTERM)
        assert running.end() == 0


async def test_a_terminal_that_is_closed_ends_both(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """No worker is left behind without its supervisor."""
    flowd.write("workers.py", CHANGING)
    with flowd.start("run", "workers:queue", "--reload") as running:
        running.until("runs up to")
        running.signal(signal.SIGHUP)
        running.until("emails has ended")
        assert running.end() == 0
    assert raw("XINFO", "CONSUMERS", "emails", "senders") == []


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


FALSE_LOGGING = """
import logging, sys, threading
from flowd import Queue
from jobs.email import Email

class Broken(Exception):
    pass

def refuse(*args, **options):
    raise Broken

async def send(email):
    threading.Thread(target=threading.Event().wait, args=(60,)).start()
    print("sent", file=sys.stderr, flush=True)

queue = Queue(Email, send)
logging.setLogRecordFactory(refuse)
"""


async def test_logging_that_raises_hides_no_exit_code(
    flowd: Program, redis_url: str
) -> None:
    """A signal, the metrics page and a thread that runs on are logged, or not; it ends."""
    flowd.write("false_logging.py", FALSE_LOGGING)
    with flowd.start("run", "false_logging:queue", "--metrics-port", "0") as running:
        await enqueue(redis_url, "a")
        running.until("sent")
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    assert any("(logging raised Broken)" in line for line in running.lines)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["stat"], "stats"), (["dlq", "lst"], "list"), (["job", "list"], "jobs")],
)
def test_an_unknown_command_suggests_the_nearest(
    flowd: Program, words: list[str], wanted: str
) -> None:
    """A typing error is answered with the command that was probably meant."""
    done = flowd(*words)
    assert done.code == 2
    assert done.err.endswith(f"; did you mean {wanted!r}?\n")
