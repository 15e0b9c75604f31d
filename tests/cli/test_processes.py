"""`flowd run --processes N`: a parent, and workers that come and go."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from flowd import Producer
from flowd.cli.options import size
from flowd.cli.processes.cpus import usable_cpus
from jobs.email import Email
from tests.support.leases import expire
from tests.support.program import Program, Running, is_running
from tests.support.raw import Raw
from tests.support.waiting import wait_until

_WORKERS: Final = """
import asyncio, os, signal, sys, time
from flowd import Queue
from jobs.email import Email

RELEASE = "one"
kept = []

async def send(email, ctx):
    if email.to == "die" and ctx.deliveries == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if email.to == "slow":
        print("sends slow", file=sys.stderr, flush=True)
        await asyncio.Event().wait()
    if email.to == "block":
        print("blocks", file=sys.stderr, flush=True)
        time.sleep(60)
    if email.to == "large":
        kept.append(b"x" * 200_000_000)
    line = f"{email.subject} {ctx.attempt} {ctx.deliveries} {os.getpid()} {RELEASE}\\n"
    with open("ran.txt", "a") as file:
        file.write(line)

queue = Queue(Email, send)
"""
_PATIENCE: Final = 120.0
"""Seconds; a test starts up to twenty interpreters."""

_PID: Final = re.compile(r"process \d \(pid (\d+)\) is ready")


pytestmark = pytest.mark.limit(_PATIENCE)


class Ran:
    """What the handlers wrote down."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ran.txt"
        self._file.touch()

    def rows(self) -> list[list[str]]:
        """Subject, attempt, deliveries, pid and release of each run."""
        return [line.split() for line in self._file.read_text("utf-8").splitlines()]


@pytest.fixture
def ran(flowd: Program, tmp_path: Path) -> Ran:
    flowd.write("workers.py", _WORKERS)
    return Ran(tmp_path)


async def enqueue(url: str, to: str, subjects: Iterable[object] = ("hi",)) -> None:
    """Enqueue e-mails."""
    async with Producer(url) as producer:
        await producer.enqueue_bulk(
            Email(to=to, subject=str(each)) for each in subjects
        )


async def until(holds: Callable[[], object]) -> None:
    """Return once it holds; interpreters start slowly on a busy machine."""
    await wait_until(holds, _PATIENCE)


def until_ready(running: Running, count: int) -> list[int]:
    """Read until so many children are ready; returns their pids."""
    running.patience(_PATIENCE)
    return [
        int(found[1])
        for _ in range(count)
        if (found := _PID.search(running.until("is ready")))
    ]


def url_of(pid: int) -> str:
    """What a process has as FLOWD_URL."""
    entries = Path(f"/proc/{pid}/environ").read_text("utf-8").split("\0")
    (url,) = (each for each in entries if each.startswith("FLOWD_URL="))
    return url.partition("=")[2]


def get(url: str) -> tuple[int, str]:
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def value_of(page: str, name: str) -> float:
    """Of the one sample with this name."""
    (found,) = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)
    return float(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_with_0(
    flowd: Program, ran: Ran, redis_url: str, raw: Raw, number: signal.Signals
) -> None:
    """Children share the jobs, and a signal for the parent ends every one gracefully."""
    with flowd.start("run", "workers:queue", "--processes", "2") as running:
        pids = until_ready(running, 2)
        await enqueue(redis_url, "a", range(20))
        await until(lambda: len(ran.rows()) == 20)
        running.signal(number)
        assert running.end() == 0
    assert not any(map(is_running, pids))
    assert sum("finishing running jobs" in line for line in running.lines) == 3
    assert raw("XINFO", "CONSUMERS", "emails", "senders") == []
    for pid in pids:  # its process id distinguishes a child's lines
        assert any(f"flowd[{pid}]: emails has ended" in line for line in running.lines)


@pytest.mark.usefixtures("ran")
async def test_a_second_signal_releases_in_all(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """The second signal reaches children too: running jobs are back, uncounted."""
    with flowd.start("run", "workers:queue", "--processes", "2") as running:
        until_ready(running, 2)
        await enqueue(redis_url, "slow")
        running.until("sends slow")
        running.signal(signal.SIGTERM)
        running.until("finishing running jobs in 2 processes")
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    ((_, fields),) = raw.entries("emails")
    assert fields[b"_attempt"] == b"1"


def was_asked_twice(lines: list[str], pid: int) -> bool:
    """Whether a child got the signal and the parent's message, or ended between them."""
    asked = sum(f"[{pid}]: SIGTERM: finishing" in line for line in lines)
    return asked == 2 or any(f"[{pid}]: emails has ended" in line for line in lines)


async def test_a_signal_to_the_whole_group_is_one(
    flowd: Program, ran: Ran, redis_url: str
) -> None:
    """A child that is signalled as well, as systemd does, still has its grace."""
    words = ("run", "workers:queue", "--processes", "2")
    with flowd.start(*words) as running:
        pids = until_ready(running, 2)
        await enqueue(redis_url, "slow")
        running.until("sends slow")
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        running.signal(signal.SIGTERM)
        running.until("finishing running jobs in 2 processes")
        while not all(was_asked_twice(running.lines, pid) for pid in pids):
            running.until("flowd[")
        assert not any(" released" in line for line in running.lines)
        running.signal(signal.SIGTERM)
        running.until(" released")
        assert running.end() == 0
    assert not ran.rows()


async def test_a_child_that_is_killed_at_the_end_is_the_exit_code(
    flowd: Program, ran: Ran, redis_url: str
) -> None:
    """As in a shell, and the log says which process and what signal."""
    words = ("--processes", "1", "--max-jobs", "1000")
    with flowd.start("run", "workers:queue", *words) as running:
        (pid,) = until_ready(running, 1)
        await enqueue(redis_url, "slow")
        running.until("sends slow")
        running.signal(signal.SIGTERM)
        running.until("finishing running jobs in 1 process")
        os.kill(pid, signal.SIGKILL)
        assert f"(pid {pid})" in running.until("was killed by SIGKILL")
        assert running.end() == 128 + signal.SIGKILL
    assert not ran.rows()


async def test_a_child_that_dies_is_started_again(
    flowd: Program, ran: Ran, redis_url: str
) -> None:
    """After a crash another takes its place, later each time; no job is lost."""
    with flowd.start("run", "workers:queue", "--processes", "2") as running:
        first, second = until_ready(running, 2)
        os.kill(first, signal.SIGKILL)
        line = running.until("was killed by SIGKILL")
        assert f"(pid {first})" in line
        slot = line.partition("process ")[2][0]
        running.until(f"process {slot} starts again in 0.5 s")
        (third,) = until_ready(running, 1)
        os.kill(third, signal.SIGKILL)
        running.until(f"process {slot} starts again in 1 s")
        (fourth,) = until_ready(running, 1)
        await enqueue(redis_url, "a", range(20))
        await until(lambda: len(ran.rows()) == 20)
        assert {int(row[3]) for row in ran.rows()} <= {second, fourth}
        running.signal(signal.SIGTERM)
        assert running.end() == 0


def test_a_signal_ends_a_pause(flowd: Program) -> None:
    """Children that cannot load are tried again, and a signal ends that with 0."""
    flowd.write(
        "workers.py", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    with flowd.start("run", "workers:queue", "--processes", "2") as running:
        running.until("was killed by SIGSEGV")
        running.until("starts again in 0.5 s")
        running.signal(signal.SIGTERM)
        assert running.end() == 0


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(
    ("words", "url", "code", "text"),
    [
        (("workers:nothing",), None, 2, "has no 'nothing'"),
        (("workers:queue",), "http://nowhere", 2, "url"),
        (("broken:queue",), None, 3, "ModuleNotFoundError"),
    ],
)
def test_a_fault_at_the_start_ends_all(
    flowd: Program,
    words: tuple[str, ...],
    url: str | None,
    code: int,
    text: str,
) -> None:
    """A wrong name, URL or module is said once, and is the parent's exit code."""
    flowd.write("broken.py", "import nothing_of_this_name\n")
    done = flowd("run", *words, "--processes", "3", url=url)
    assert done.code == code, done.err
    assert text in done.err
    assert done.err.count("process 1") == 2  # it starts, it ended
    assert "process 2" not in done.err


@pytest.mark.usefixtures("ran")
def test_a_refusal_of_redis_ends_all(flowd: Program, raw: Raw) -> None:
    """What Redis refuses while they run ends all when it is refused at the restart."""
    with flowd.start("run", "workers:queue", "--processes", "2") as running:
        until_ready(running, 2)
        raw("SET", "emails", "not a stream")
        assert running.end() == 3
    assert any("WRONGTYPE" in line for line in running.lines)
    assert any("ended at its start with 3" in line for line in running.lines)


async def test_a_burst_ends_when_all_have(
    flowd: Program, ran: Ran, redis_url: str
) -> None:
    """With --burst the parent ends with 0 when no job is left."""
    await enqueue(redis_url, "a", range(50))
    done = flowd("run", "workers:queue", "--burst", "--processes", "2")
    assert done.code == 0, done.err
    assert sorted(int(row[0]) for row in ran.rows()) == list(range(50))


async def test_a_burst_outlives_a_crash(
    flowd: Program, ran: Ran, redis_url: str, raw: Raw
) -> None:
    """A child that dies in a burst is started again, and the rest is done."""
    await enqueue(redis_url, "a", range(10))
    await enqueue(redis_url, "die", ["last"])
    words = ("run", "workers:queue", "--burst", "--processes", "1")
    with flowd.start(*words, "--max-jobs", "1000") as running:
        running.until("was killed by SIGKILL")
        expire(raw, "emails", "senders")
        assert running.end() == 0, running.lines
    assert {row[0] for row in ran.rows()} == {*map(str, range(10)), "last"}
    assert raw("XLEN", "emails") == 0


@pytest.mark.limit(240.0)
async def test_sighup_under_load_costs_no_attempt(
    flowd: Program, ran: Ran, redis_url: str, raw: Raw
) -> None:
    """50 SIGHUPs: every job runs once, as its first attempt and its first delivery."""
    sent = 0
    stopping = asyncio.Event()

    async def load() -> None:
        nonlocal sent
        async with Producer(redis_url) as producer:
            while not stopping.is_set():
                await producer.enqueue(Email(to="a", subject=str(sent)))
                sent += 1
                await asyncio.sleep(0.002)

    def signals(running: Running) -> None:
        for _ in range(10):
            for _ in range(5):
                running.signal(signal.SIGHUP)
                running.until("replacing 2 processes, one by one")
            running.until("a replacement is ready")

    words = ("run", "workers:queue", "--processes", "2")
    with flowd.start(*words) as running:
        first = until_ready(running, 2)
        loading = asyncio.create_task(load())
        await asyncio.to_thread(signals, running)
        await until(
            lambda: len({row[3] for row in ran.rows()} - set(map(str, first))) > 4
        )
        stopping.set()
        await loading
        await until(lambda: len(ran.rows()) >= sent)
        running.signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.end) == 0
    rows = ran.rows()
    assert Counter(int(row[0]) for row in rows) == Counter(range(sent))
    assert {(row[1], row[2]) for row in rows} == {("1", "1")}
    assert raw("XLEN", "emails") == 0


async def test_sighup_brings_new_code(flowd: Program, ran: Ran, redis_url: str) -> None:
    """Each child is stopped only when its replacement, which has the new code, is ready."""
    with flowd.start("run", "workers:queue", "--processes", "2") as running:
        old = until_ready(running, 2)
        # Of another length: Python knows the compiled file by its second and its size.
        flowd.write("workers.py", _WORKERS.replace('"one"', '"other"'))
        running.signal(signal.SIGHUP)
        for _ in old:
            assert _PID.search(running.until("is ready"))
            running.until("a replacement is ready: finishing")
            running.until("emails has ended")
        await until(lambda: not any(map(is_running, old)))
        await enqueue(redis_url, "a", range(20))
        await until(lambda: len(ran.rows()) == 20)
        assert {row[4] for row in ran.rows()} == {"other"}
        running.signal(signal.SIGTERM)
        assert running.end() == 0


async def test_sighup_with_broken_code_changes_nothing(
    flowd: Program, ran: Ran, redis_url: str
) -> None:
    """Old processes stay when a replacement cannot start; the next SIGHUP tries again."""
    with flowd.start("run", "workers:queue", "--processes", "2") as running:
        old = until_ready(running, 2)
        flowd.write("workers.py", "import nothing_of_this_name\n")
        running.signal(signal.SIGHUP)
        running.until("was never ready: it stays")
        await enqueue(redis_url, "a", range(10))
        await until(lambda: len(ran.rows()) == 10)
        assert {int(row[3]) for row in ran.rows()} <= set(old)
        flowd.write("workers.py", _WORKERS.replace('"one"', '"two"'))
        running.signal(signal.SIGHUP)
        until_ready(running, 2)
        running.signal(signal.SIGTERM)
        assert running.end() == 0


async def test_a_replaced_child_that_does_not_end_is_killed(
    flowd: Program, ran: Ran, redis_url: str
) -> None:
    """Code that blocks the event loop cannot keep an old process for good."""
    words = ("run", "workers:queue", "--processes", "1", "--grace", "0")
    with flowd.start(*words, "--max-jobs", "1000") as running:
        (old,) = until_ready(running, 1)
        await enqueue(redis_url, "block")
        running.until("blocks")
        running.signal(signal.SIGHUP)
        until_ready(running, 1)
        assert f"(pid {old}) does not end" in running.until("killing it")
        await until(lambda: not is_running(old))
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    assert not ran.rows()


@pytest.mark.usefixtures("ran")
def test_a_terminal_that_is_closed_ends_all(
    flowd: Program, redis_url: str, tmp_path: Path
) -> None:
    """SIGHUP of a terminal means its end, not a replacement."""
    ours, theirs = os.openpty()
    command = (sys.executable, "-m", "flowd", "run", "workers:queue")
    process = subprocess.Popen(
        ("setsid", "--ctty", *command, "--processes", "2"),
        cwd=tmp_path,
        env=os.environ | {"FLOWD_URL": redis_url},
        stdin=theirs,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    with Running(process) as running:
        until_ready(running, 2)
        os.close(ours)
        running.until("SIGHUP: finishing running jobs in 2 processes")
        assert running.end() == 0


@pytest.mark.parametrize(
    ("words", "to"),
    [
        (("--max-jobs", "5"), "a"),
        (("--max-rss", "150M"), "large"),
        (("--max-age", "1"), "a"),
    ],
)
async def test_a_limit_replaces_a_process(
    flowd: Program, ran: Ran, redis_url: str, words: tuple[str, ...], to: str
) -> None:
    """A process at its limit works until another is ready, and then ends gracefully."""
    with flowd.start("run", "workers:queue", "--processes", "1", *words) as running:
        (old,) = until_ready(running, 1)
        await enqueue(redis_url, to, range(5 if to == "a" else 1))
        line = running.until("replacing process 1")
        assert f"(pid {old}): {words[0]}: it has" in line
        (new,) = until_ready(running, 1)
        running.until("a replacement is ready: finishing running jobs")
        await until(lambda: not is_running(old))
        flowd.write("workers.py", "import nothing_of_this_name\n")
        await enqueue(redis_url, "a", ["last"])
        await until(lambda: ran.rows()[-1][0] == "last")
        assert int(ran.rows()[-1][3]) == new or words[0] == "--max-age"
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    assert {(row[1], row[2]) for row in ran.rows()} == {("1", "1")}


def test_processes_above_max_rss_at_once_are_replaced_less_often(
    flowd: Program, ran: Ran
) -> None:
    """A limit below what a worker needs leaves the machine to the jobs, and is named."""
    words = ("--processes", "1", "--max-rss", "32M")
    with flowd.start("run", "workers:queue", *words) as running:
        running.patience(_PATIENCE)
        for _ in range(2):
            running.until("replacing process 1")
        said = "raise that limit; process 1 is replaced again in 0.5 s"
        assert any(said in line for line in running.lines)
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    assert not any("never ready" in line for line in running.lines)
    assert ran.rows() == []


def test_limits_replace_processes_in_turns(flowd: Program, ran: Ran) -> None:
    """One that is at its limit at once does not keep the others from their turn."""
    words = ("--processes", "2", "--max-age", "0.01")
    with flowd.start("run", "workers:queue", *words) as running:
        running.patience(_PATIENCE)
        lines = (running.until("replacing process") for _ in range(4))
        assert any("replacing process 2" in line for line in lines)
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    assert ran.rows() == []


async def test_children_of_a_killed_parent_end(
    flowd: Program, ran: Ran, redis_url: str, raw: Raw
) -> None:
    """When the parent is killed, children finish their jobs and leave nothing behind."""
    with flowd.start("run", "workers:queue", "--processes", "2") as running:
        pids = until_ready(running, 2)
        await enqueue(redis_url, "a", range(10))
        await until(lambda: len(ran.rows()) == 10)
        running.process.kill()
        try:
            await wait_until(lambda: not any(map(is_running, pids)), 30.0)
        finally:
            for pid in filter(is_running, pids):
                os.kill(pid, signal.SIGKILL)
        running.end()
    assert sum("the parent process is gone" in line for line in running.lines) == 2
    assert raw("XINFO", "CONSUMERS", "emails", "senders") == []


async def test_one_port_shows_all(flowd: Program, ran: Ran, redis_url: str) -> None:
    """Counters are sums that never fall; what queues hold is there once."""
    words = ("run", "workers:queue", "--processes", "2", "--metrics-port", "0")
    with flowd.start(*words) as running:
        url = running.metrics_url()
        pids = until_ready(running, 2)
        assert get(f"{url}/readyz") == (200, "ok\n")
        assert get(f"{url}/healthz") == (200, "ok\n")
        await enqueue(redis_url, "a", range(30))

        def done() -> float:
            return value_of(get(f"{url}/metrics")[1], "flowd_jobs_done_total")

        await until(lambda: done() == 30)
        assert {int(row[3]) for row in ran.rows()} <= set(pids)
        page = get(f"{url}/metrics")[1]
        handled = 'flowd_handler_duration_seconds_count{group="senders",queue="emails",result="returned"} 30.0'
        assert handled in page
        assert value_of(page, "flowd_queue_up") == 1
        assert value_of(page, "flowd_slots") == 20
        for slot in "12":
            assert f'process_resident_memory_bytes{{flowd_process="{slot}"}}' in page
        assert page.count("# TYPE flowd_jobs_done_total counter") == 1

        # One ends gracefully, one is killed: what both counted stays.
        running.signal(signal.SIGHUP)
        until_ready(running, 2)
        await until(lambda: not any(map(is_running, pids)))
        assert done() == 30
        await enqueue(redis_url, "a", range(10))
        await until(lambda: done() == 40)
        os.kill(int(ran.rows()[-1][3]), signal.SIGKILL)
        running.until("was killed by SIGKILL")
        assert done() == 40
        running.signal(signal.SIGTERM)
        assert running.end() == 0


async def test_the_port_shows_what_fails(
    flowd: Program, ran: Ran, redis_url: str
) -> None:
    """Readiness names the process that is not there; health one whose loop is blocked."""
    words = ("run", "workers:queue", "--processes", "2", "--metrics-port", "0")
    with flowd.start(*words) as running:
        url = running.metrics_url()
        pids = until_ready(running, 2)
        await enqueue(redis_url, "block")
        running.until("blocks")
        status, text = await asyncio.to_thread(get, f"{url}/healthz")
        assert (status, text.count("\n")) == (503, 1)
        assert "its event loop does not answer" in text
        status, text = await asyncio.to_thread(get, f"{url}/readyz")
        assert (status, text.count("\n")) == (503, 1)
        assert "it does not answer" in text
        status, page = await asyncio.to_thread(get, f"{url}/metrics")
        assert status == 200
        assert value_of(page, "flowd_jobs_running") == 1
        blocked = next(pid for pid in pids if f"(pid {pid})" in text)
        os.kill(blocked, signal.SIGKILL)
        running.until("was killed by SIGKILL")
        status, text = get(f"{url}/readyz")
        assert status == 503
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGTERM)
    assert not ran.rows()


@pytest.mark.usefixtures("ran")
def test_a_port_that_is_taken_starts_nothing(flowd: Program) -> None:
    """The parent says so and ends with 2 before any child starts."""
    words = ("run", "workers:queue", "--processes", "2", "--metrics-port")
    with flowd.start(*words, "0") as running:
        port = running.metrics_url().rpartition(":")[2]
        done = flowd(*words, port)
        assert (done.code, done.err.count("\n")) == (2, 1)
        running.signal(signal.SIGTERM)
        assert running.end() == 0


async def test_an_embedded_server_is_the_parents(flowd: Program, ran: Ran) -> None:
    """With FLOWD_URL=embedded: children share the parent's server."""
    with flowd.start(
        "run", "workers:queue", "--processes", "2", url="embedded:"
    ) as one:
        pids = until_ready(one, 2)
        (url,) = {url_of(pid) for pid in pids}
        assert url.startswith("unix://")
        await enqueue(url, "a", range(10))
        await until(lambda: len(ran.rows()) == 10)
        one.signal(signal.SIGTERM)
        assert one.end() == 0


@pytest.mark.usefixtures("ran")
def test_an_embedded_server_of_each_is_refused(flowd: Program) -> None:
    """A queue that would start a server in every child ends with 2 and what to write."""
    flowd.write("workers.py", _WORKERS.replace("send)", 'send, url="embedded:")'))
    done = flowd("run", "workers:queue", "--processes", "2")
    assert done.code == 2
    assert "set FLOWD_URL=embedded:" in done.err


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("--processes", "2", "--reload"),
            "--reload is for development and one process",
        ),
        (
            ("--max-jobs", "9", "--reload"),
            "--reload is for development and one process",
        ),
        (("--processes", "0"), "--processes: '"),
        (("--processes", "many"), "--processes: '"),
        (("--max-rss", "0"), "--max-rss: '"),
        (("--max-rss", "5X"), "--max-rss: '"),
        (
            ("--max-rss", "500"),
            "no memory of 32M or more, which each worker has: write",
        ),
        (("--max-age", "0"), "--max-age: '"),
        (("--max-jobs", "0"), "--max-jobs: '"),
        (("--supervised", "77"), "only a parent gives it"),
    ],
)
def test_wrong_options_are_explained(
    flowd: Program, words: tuple[str, ...], text: str
) -> None:
    """They end with code 2 before anything is started."""
    done = flowd("run", "workers:queue", *words)
    assert done.code == 2
    assert text in done.err
    assert "write it as" in done.err or not text.endswith("'")
    assert "starts" not in done.err


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize("words", [(), ("--processes", "1")])
def test_one_process_has_no_parent(flowd: Program, words: tuple[str, ...]) -> None:
    """Without a reason for a parent the worker is the process that was started."""
    with flowd.start("run", "workers:queue", *words) as running:
        line = running.until("runs up to")
        assert f"-{running.process.pid}-" in line
        assert " flowd: emails runs up to" in line
        running.signal(signal.SIGTERM)
        assert running.end() == 0


@pytest.mark.usefixtures("ran")
def test_a_worker_alone_loads_no_supervisor(tmp_path: Path) -> None:
    """The parent's modules cost a single worker nothing."""
    program = (
        "import sys; import flowd.cli;"
        "loaded = {'flowd.cli.processes.supervisor', 'flowd.cli.processes.supervised'};"
        "sys.exit(str(loaded & set(sys.modules)) if loaded & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_auto_knows_the_limit_of_a_container(
    tmp_path: Path, files: dict[str, str], most: int | None
) -> None:
    """The kernel's limit, in both forms, is rounded up; without one the CPUs count."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    assert usable_cpus(tmp_path) == (most or len(os.sched_getaffinity(0)))


def test_a_size_has_a_unit() -> None:
    """K, M, G and T are powers of 1024; a fraction is allowed."""
    assert [size(each) for each in ("7", "1K", "1.5M", "2G")] == [
        *(7, 1024, 1_572_864, 2_147_483_648)
    ]
