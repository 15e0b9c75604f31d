"""`SyncProducer`: what a `Producer` does, for code that does not await."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import redis
from redis.connection import Connection

from flowd import (
    BulkError,
    EncodeError,
    Item,
    Job,
    Middleware,
    OptionError,
    OutcomeUnknown,
    SyncProducer,
    Unreachable,
)
from flowd.embedded import Server
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.email_job import email
from tests.support.proxy import proxy_to
from tests.support.raw import Raw
from tests.support.waiting import wait_until, wait_until_blocking

HELLO = {b"to": b"a@b.c", b"subject": b"hi"}


def connections(raw: Raw) -> set[str]:
    """The ids of the connections that flowd has."""
    return {client["id"] for client in raw.clients("flowd")}


def threads() -> int:
    """How many threads producers have."""
    return sum(thread.name == "flowd-producer" for thread in threading.enumerate())


def run(program: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with warnings about all that it leaves open."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_job_is_enqueued(redis_url: str, raw: Raw) -> None:
    """The entry is the one that `Producer` writes, and its id is returned."""
    with SyncProducer(redis_url) as producer:
        job_id = producer.enqueue(Email(to="a@b.c", subject="hi"))
    assert raw.entries("emails") == [(job_id, HELLO)]


def test_the_arguments_are_those_of_a_producer(redis_url: str, raw: Raw) -> None:
    """An id, a delay, a key and its time go where `Producer` puts them."""
    with SyncProducer(redis_url) as producer:
        assert producer.enqueue(email(), id="7-1") == "7-1"
        later = producer.enqueue(email(), delay=60)
        first = producer.enqueue(email(), key="order-7", key_ttl=1000)
        assert producer.enqueue(email(), key="order-7") == first
    assert raw("HKEYS", "{emails}:delayed:jobs") == [later.encode()]
    assert [entry_id for entry_id, _ in raw.entries("emails")] == ["7-1", first]
    left = raw("TTL", "{emails}:key:order-7")
    assert isinstance(left, int)
    assert 900 < left <= 1000


def test_many_jobs_are_enqueued(redis_url: str, raw: Raw) -> None:
    """More jobs than are read ahead arrive in order, `Item` and several classes too."""
    jobs: list[Email | Crawl | Item[Email]] = [email(str(n)) for n in range(11_000)]
    jobs += [Crawl(url="u", priority=1, tags=[]), Item(email(), key="k")]
    with SyncProducer(redis_url) as producer:
        ids = producer.enqueue_bulk(jobs)
    entries = raw.entries("emails")
    assert [entry_id for entry_id, _ in entries] == [*ids[:-2], ids[-1]]
    assert [int(fields[b"to"]) for _, fields in entries[:-1]] == [*range(11_000)]
    assert raw("XLEN", "crawl") == 1


def test_a_client_lends_its_settings(server: Server, raw: Raw) -> None:
    """A redis-py client of the kind that blocks is taken in place of a URL."""
    with (
        redis.Redis(unix_socket_path=server.socket, db=3) as client,
        SyncProducer(redis=client) as producer,
    ):
        producer.enqueue(email())
    raw("SELECT", "3")
    assert raw("XLEN", "emails") == 1


def test_a_client_that_cannot_lend_is_refused() -> None:
    """A client whose connections are of some other class is refused by its name."""

    class Tunnel(Connection):
        """Nothing that flowd knows."""

    pool = redis.ConnectionPool(connection_class=Tunnel)
    with pytest.raises(OptionError, match="connections of the class Tunnel; give url="):
        SyncProducer(redis=redis.Redis(connection_pool=pool))


def test_threads_share_a_connection(redis_url: str, raw: Raw) -> None:
    """Threads that enqueue at once get each its own ids, over one connection."""
    with SyncProducer(redis_url) as producer, ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(producer.enqueue, [email(str(n)) for n in range(400)]))
        assert len(connections(raw)) == 1
        assert threads() == 1
    stored = {entry_id: fields[b"to"] for entry_id, fields in raw.entries("emails")}
    assert [int(stored[job_id]) for job_id in ids] == [*range(400)]


async def test_sync_producer_works_in_a_thread_with_a_loop(
    redis_url: str, raw: Raw
) -> None:
    """In the thread of a running event loop a call works as anywhere else."""
    with SyncProducer(redis_url) as producer:
        producer.enqueue(email())
    assert raw("XLEN", "emails") == 1


def test_sync_producer_reopens_after_close(redis_url: str, raw: Raw) -> None:
    """`close` leaves no thread and no connection, may be repeated, and is not the end."""
    producer = SyncProducer(redis_url)
    producer.close()
    producer.enqueue(email())
    producer.close()
    producer.close()
    assert threads() == 0
    wait_until_blocking(lambda: not connections(raw))
    producer.enqueue(email())
    producer.close()
    assert raw("XLEN", "emails") == 2


def test_unreferenced_sync_producer_ends(redis_url: str) -> None:
    """The thread of a producer without references ends by itself."""
    producer = SyncProducer(redis_url)
    producer.enqueue(email())
    assert threads() == 1
    del producer
    gc.collect()
    wait_until_blocking(lambda: threads() == 0)


def test_a_program_need_not_close_it(redis_url: str, raw: Raw) -> None:
    """A program that ends without closing it ends at once and leaves nothing open."""
    program = """
import sys
from flowd import SyncProducer
from jobs.email import Email
producer = SyncProducer(sys.argv[1])
producer.enqueue(Email(to="a@b.c", subject="hi"))
"""
    done = run(program, redis_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert raw.entries("emails")[0][1] == HELLO


def test_errors_are_those_of_a_producer(redis_url: str, tmp_path: object) -> None:
    """What cannot be said, reached or stored raises what `Producer` raises."""
    with pytest.raises(OptionError, match="must start with redis://"):
        SyncProducer("localhost")
    with (
        SyncProducer(f"unix://{tmp_path}/absent", connect_timeout=0.1) as nowhere,
        pytest.raises(Unreachable, match="cannot reach"),
    ):
        nowhere.enqueue(email())
    with SyncProducer(redis_url) as producer:
        with pytest.raises(EncodeError, match=r"Crawl\.priority"):
            producer.enqueue(Crawl(url="u", priority=-1, tags=[]))
        with pytest.raises(OptionError, match="delay is -1"):
            producer.enqueue(email(), delay=-1)


def test_the_iterable_is_read_where_it_belongs(redis_url: str) -> None:
    """A generator runs in the caller's thread, where its database connection is."""
    seen: set[str] = set()

    def jobs() -> Iterator[Email]:
        for _ in range(3):
            seen.add(threading.current_thread().name)
            yield email()

    with SyncProducer(redis_url) as producer:
        producer.enqueue_bulk(jobs())
    assert seen == {threading.current_thread().name}


def test_a_batch_that_breaks_off_counts(redis_url: str, raw: Raw) -> None:
    """A failing iterable and a bad job say how many jobs are certainly stored."""

    def failing() -> Iterator[Email]:
        for _ in range(5_000):
            yield email()
        raise OSError("the file ends here")

    bad = Crawl(url="u", priority=-1, tags=[])
    with SyncProducer(redis_url) as producer:
        with pytest.raises(BulkError, match="5000 jobs are stored; then: the f") as one:
            producer.enqueue_bulk(failing())
        assert isinstance(one.value.cause, OSError)
        assert raw("XLEN", "emails") == len(one.value.ids) == 5_000
        with pytest.raises(BulkError, match="5500 jobs are stored; then: Crawl") as two:
            producer.enqueue_bulk([*(email() for _ in range(5_600)), bad, email()])
        assert isinstance(two.value.cause, EncodeError)
        assert (len(two.value.ids), two.value.unknown) == (5_500, 0)
    assert raw("XLEN", "emails") == 10_500


async def test_closing_tells_those_that_wait(own_server: Server) -> None:
    """A call that waits while another thread closes says that it does not know."""
    async with proxy_to(own_server.url) as proxy:
        producer = SyncProducer(proxy.url)
        await asyncio.to_thread(producer.enqueue, email())
        own_server.pause()
        before = proxy.requests
        single = asyncio.create_task(asyncio.to_thread(producer.enqueue, email()))
        await wait_until(lambda: proxy.requests == before + 1)
        two = [email(), email()]
        bulk = asyncio.create_task(asyncio.to_thread(producer.enqueue_bulk, two))
        await wait_until(lambda: proxy.requests == before + 2)

        producer.close()
        with pytest.raises(OutcomeUnknown, match="closed before an answer"):
            await single
        with pytest.raises(
            BulkError, match="0 jobs are stored, 2 more may be"
        ) as failed:
            await bulk
        assert (failed.value.ids, failed.value.unknown) == ((), 2)
        own_server.resume()


async def test_ctrl_c_ends_a_call_with_a_note(own_server: Server) -> None:
    """An interrupted call ends at once, and says that the job may be stored."""
    program = """
import sys
from flowd import SyncProducer
from jobs.email import Email
producer = SyncProducer(sys.argv[1], connect_timeout=60)
producer.enqueue(Email(to="first", subject="hi"))
print("first", flush=True)
sys.stdin.readline()
producer.enqueue(Email(to="second", subject="hi"), key="k")
"""
    async with proxy_to(own_server.url) as proxy:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, proxy.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin
        assert process.stdout
        assert await process.stdout.readline() == b"first\n"
        own_server.pause()
        before = proxy.requests
        process.stdin.write(b"\n")
        await wait_until(lambda: proxy.requests > before)
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
        own_server.resume()
    assert b"KeyboardInterrupt\nflowd: the enqueue was interrupted. The jobs" in said
    assert process.returncode == -signal.SIGINT


FORK = """
import gc, os, socket, sys
from urllib.parse import unquote, urlsplit
from flowd import SyncProducer
from jobs.email import Email

parts = urlsplit(sys.argv[1])
server = unquote(parts.path) or (parts.hostname, parts.port)

def connections():
    # The sockets that lead to the server, by inode.
    found = set()
    for name in os.listdir("/dev/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as peer:
                if peer.getpeername() == server:
                    found.add(os.fstat(peer.fileno()).st_ino)
        except OSError:
            continue
    return found

producer = SyncProducer(sys.argv[1])
producer.enqueue(Email(to="parent before", subject="hi"))
before = connections()
assert len(before) == 1, before
child = os.fork()
if not child:
    assert not connections(), "the child has sockets of its parent"
    gc.collect()
    producer.enqueue(Email(to="child", subject="hi"))
    producer.enqueue_bulk([Email(to="child", subject="hi")])
    sys.exit(7)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
assert connections() == before
producer.enqueue(Email(to="parent after", subject="hi"))
"""


def test_a_forked_child_has_its_own_connection(redis_url: str, raw: Raw) -> None:
    """A child shares no socket with its parent, and both go on after the fork."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, redis_url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    names = [fields[b"to"] for _, fields in raw.entries("emails")]
    assert names == [b"parent before", b"child", b"child", b"parent after"]


EXIT = """
import atexit, sys
from flowd import SyncProducer
from jobs.email import Email

def flush():
    producer.enqueue(Email(to="at exit", subject="hi"))

if "early" in sys.argv:
    atexit.register(flush)
producer = SyncProducer(sys.argv[1])
if "early" not in sys.argv:
    atexit.register(flush)
producer.enqueue(Email(to="before", subject="hi"))
"""


@pytest.mark.parametrize(
    "when",
    [
        "late",
        pytest.param(
            "early",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12),
                reason="no thread can be started at the end of the program",
            ),
        ),
    ],
)
def test_a_program_may_enqueue_at_its_exit(redis_url: str, raw: Raw, when: str) -> None:
    """What it flushes last is stored, whichever was set up first."""
    done = subprocess.run(
        [sys.executable, "-c", EXIT, redis_url, when],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert raw("XLEN", "emails") == 2


class Exits(Middleware):
    """Raises what would end an event loop, in the call or in a task of its own."""

    def __init__(self, error: BaseException, *, in_task: bool) -> None:
        self.error: BaseException | None = error
        self.in_task = in_task

    async def enqueue(
        self,
        stream: str,
        items: Iterable[Item[Job]],
        send: Callable[[Iterable[Item[Job]]], Awaitable[list[str]]],
    ) -> list[str]:
        """Fail once."""
        error, self.error = self.error, None
        if error is not None:
            if self.in_task:
                await asyncio.create_task(_raise(error))
            raise error
        return await send(items)


async def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("in_task", [False, True])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_middleware_that_exits_is_the_callers(
    redis_url: str, raw: Raw, error: BaseException, in_task: bool
) -> None:
    """The caller gets it, other calls go on, and the thread is the same."""
    exits = Exits(error, in_task=in_task)
    with SyncProducer(redis_url, middleware=[exits]) as producer:
        with pytest.raises(type(error)) as raised:
            producer.enqueue(email())
        assert raised.value is error
        (thread,) = [t for t in threading.enumerate() if t.name == "flowd-producer"]
        producer.enqueue(email())
        assert thread.is_alive()
    assert raw("XLEN", "emails") == 1


def test_an_iterable_that_exits_says_what_is_stored(redis_url: str, raw: Raw) -> None:
    """What it raises comes through, with a note, and the producer goes on."""

    def exits() -> Iterator[Email]:
        for _ in range(5_000):
            yield email()
        raise SystemExit(3)

    with SyncProducer(redis_url) as producer:
        with pytest.raises(SystemExit) as raised:
            producer.enqueue_bulk(exits())
        assert raised.value.__notes__ == [
            "flowd: the 5000 jobs before these are stored."
        ]
        producer.enqueue(email())
    assert raw("XLEN", "emails") == 5_001


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_made_anew(redis_url: str, raw: Raw) -> None:
    """The next call starts another; so does a bulk, which goes on."""

    def dies() -> Iterator[Email]:
        for _ in range(5_000):
            yield email()
        die()
        yield email()

    def die() -> None:
        (thread,) = [t for t in threading.enumerate() if t.name == "flowd-producer"]
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(MemoryError)
        )
        with suppress(OutcomeUnknown, Unreachable, MemoryError):
            producer.enqueue(email())  # the loop wakes up, and dies
        wait_until_blocking(lambda: not thread.is_alive())

    with SyncProducer(redis_url) as producer:
        producer.enqueue(email())
        die()
        producer.enqueue(email("next"))
        ids = producer.enqueue_bulk(dies())
    assert len(ids) == 5_001
    assert b"next" in [fields[b"to"] for _, fields in raw.entries("emails")]


def test_a_bulk_that_cannot_be_sent_on_says_what_is_stored(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started any more, the error has what was stored before."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def closes() -> Iterator[Email]:
        for _ in range(5_000):
            yield email()
        producer.close()
        monkeypatch.setattr(threading.Thread, "start", refuse)
        yield email()

    with SyncProducer(redis_url) as producer:
        with pytest.raises(BulkError, match="5000 jobs are stored; then: ") as raised:
            producer.enqueue_bulk(closes())
        assert isinstance(raised.value.cause, Unreachable)
        assert (len(raised.value.ids), raised.value.unknown) == (5_000, 0)
        with pytest.raises(BulkError, match="0 jobs are stored"):
            producer.enqueue_bulk([email()])
