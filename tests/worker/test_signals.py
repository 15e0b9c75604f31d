"""A signal is for the worker, for its host, and never for both a process and its child."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from flowd import Producer, Queue
from jobs.email import Email
from tests.support.email_job import RecordingHandler
from tests.support.program import Running
from tests.support.raw import Raw
from tests.support.waiting import wait_until

_FORKS: Final = """
import asyncio, multiprocessing, os, signal, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from flowd import Queue
from jobs.email import Email

fork = multiprocessing.get_context("fork")

def sleep():
    time.sleep(600)

def by_process(number):
    child = fork.Process(target=sleep)
    child.start()
    for _ in range(20):
        # Python drops a KeyboardInterrupt that comes while other hooks of the fork run.
        os.kill(child.pid, number)
        child.join(1)
        if (ended := child.exitcode) is not None:
            break
    child.kill()
    return ended

def by_fork(number):
    pid = os.fork()
    if pid == 0:
        try:
            sleep()
        finally:
            os._exit(1)
    for turn in range(400):
        if turn % 20 == 0:  # as above
            os.kill(pid, number)
        if (done := os.waitpid(pid, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(done[1])
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)

def by_subprocess(number):
    child = subprocess.Popen(["sleep", "600"], preexec_fn=lambda: None)
    child.send_signal(number)
    return child.wait(20)

def by_pool(number):
    with ProcessPoolExecutor(1, mp_context=fork) as pool:
        future = pool.submit(sleep)
        while not (pid := next(iter(pool._processes), None)):
            time.sleep(0.01)
        os.kill(pid, number)
        return type(future.exception(20)).__name__

WAYS = {"process": by_process, "fork": by_fork, "subprocess": by_subprocess, "pool": by_pool}

async def send(email):
    way, where, number = email.to.split()
    call = WAYS[way]
    if where == "thread":
        ended = await asyncio.to_thread(call, int(number))
    else:
        ended = call(int(number))
    # Both loops hear signals through a pipe: one for the parent is seen after a timer.
    await asyncio.sleep(0.1)
    print(email.to, "ended with", ended, file=sys.stderr, flush=True)

async def main():
    async with Queue(Email, send) as queue:
        await queue.run_until_stopped()
        print("stopped", file=sys.stderr, flush=True)

queue = Queue(Email, send)
"""

_RUNS: Final = {
    "asyncio": "import asyncio, workers; asyncio.run(workers.main())",
    "uvloop": "import uvloop, workers; uvloop.run(workers.main())",
    "flowd run": "",
}


def start(folder: Path, url: str, text: str, run: str) -> Running:
    """Start a program whose module `workers` has this text."""
    (folder / "workers.py").write_text(text, "utf-8")
    words = ["-c", run] if run else ["-m", "flowd", "run", "workers:queue"]
    return Running(
        subprocess.Popen(
            [sys.executable, "-W", "ignore", *words],
            cwd=folder,
            env=os.environ | {"FLOWD_URL": url},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


@pytest.mark.limit(120)
@pytest.mark.parametrize("run", _RUNS)
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_a_signal_for_a_child_ends_the_child(
    redis_url: str, tmp_path: Path, run: str, where: str
) -> None:
    """However it was forked; the worker runs on, and ends by a signal of its own."""
    dead = {
        # A child that has only just been forked has no KeyboardInterrupt to raise yet.
        "process": {signal.SIGTERM: {"-15"}, signal.SIGINT: {"1", "-2"}},
        "fork": {signal.SIGTERM: {"-15"}, signal.SIGINT: {"1", "-2"}},
        "subprocess": {signal.SIGTERM: {"-15"}, signal.SIGINT: {"-2"}},
        "pool": {signal.SIGTERM: {"BrokenProcessPool"}},
    }
    with start(tmp_path, redis_url, _FORKS, _RUNS[run]) as running:
        async with Producer(redis_url) as producer:
            for way, numbers in dead.items():
                for number, ended in numbers.items():
                    what = f"{way} {where} {int(number)}"
                    await producer.enqueue(Email(to=what, subject="s"))
                    line = running.until(" ended with ")
                    assert line.strip() in {f"{what} ended with {it}" for it in ended}
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    said = "".join(running.lines)
    assert run == "flowd run" or said.endswith("stopped\n")
    assert "SIGINT" not in said


_HOST: Final = """
import asyncio, os, signal, sys
from flowd import Queue
from jobs.email import Email

def say(text):
    # What is buffered refuses a handler that comes while the text before is written.
    os.write(2, f"{text}\\n".encode())

async def send(email):
    say(f"sends {email.to}")
    await asyncio.to_thread(sys.stdin.readline)
    say(f"sent {email.to}")

async def main():
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    def heard(number, frame=None):
        say(f"host heard {int(number)}")
        loop.call_soon_threadsafe(stop.set)
    def leave(number, frame):
        heard(number)
        sys.exit(7)
    how = sys.argv[1]
    for number in (signal.SIGTERM, signal.SIGINT):
        if how == "signal":
            signal.signal(number, heard)
        elif how == "raising":
            signal.signal(number, leave)
        else:
            loop.add_signal_handler(number, heard, number)
    async with Queue(Email, send) as first, Queue(Email, send, stream="second") as second:
        ends = [asyncio.ensure_future(each.run_until_stopped()) for each in (first, second)]
        say("runs")
        await stop.wait()
        say("host stops")
        await asyncio.gather(*ends)
        say("queues ended")
    stop.clear()
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(stop.wait(), 20)
"""


@pytest.mark.parametrize("run", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["signal", "loop", "raising"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_host_hears_its_signals(
    redis_url: str, tmp_path: Path, run: str, how: str, number: signal.Signals
) -> None:
    """Its handler is called at once, the job ends, and afterwards it is the only one."""
    text = _RUNS[run].replace("; ", f"; import sys; sys.argv[1:] = ['{how}']; ", 1)
    with start(tmp_path, redis_url, _HOST, text) as running:
        async with Producer(redis_url) as producer:
            running.until("runs")
            await producer.enqueue(Email(to="a", subject="s"))
            running.until("sends a")
            running.signal(number)
            running.until(f"host heard {int(number)}")
            running.until("host stops")
            assert running.process.stdin is not None
            running.process.stdin.close()  # the handler waits for a line
            running.until("sent a")
        code = running.end()
    said = "".join(running.lines)
    if how == "raising":
        assert code == 7
        return
    assert code == 0
    assert "queues ended" in said
    assert said.count("host heard") == 2


async def test_a_host_that_comes_later_puts_back_what_was_there(
    redis_url: str, stream: str
) -> None:
    """A handler that a host keeps from us beyond our end does what it did before us."""
    heard: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        recorder = RecordingHandler()
        async with Queue(Email, recorder, url=redis_url, stream=stream) as queue:
            ours = asyncio.ensure_future(queue.run_until_stopped())
            await wait_until(lambda: signal.getsignal(signal.SIGTERM) != former)
            await asyncio.sleep(0)
            kept = signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.kill(os.getpid(), signal.SIGINT)
            await ours
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        signal.signal(signal.SIGTERM, kept)
        os.kill(os.getpid(), signal.SIGTERM)
        await wait_until(lambda: heard)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert heard == [signal.SIGTERM]


def test_uvicorn_and_queues_end_together(
    redis_url: str, tmp_path: Path, raw: Raw
) -> None:
    """A web server with queues in its lifespan stops at the first SIGTERM."""
    pytest.importorskip("uvicorn")
    (tmp_path / "web.py").write_text(
        """
import asyncio, signal
from contextlib import asynccontextmanager
import uvicorn
from flowd import Queue
from jobs.email import Email

async def send(email):
    pass

@asynccontextmanager
async def lifespan(scope):
    former = signal.getsignal(signal.SIGTERM)
    async with Queue(Email, send) as queue:
        running = asyncio.ensure_future(queue.run_until_stopped())
        while signal.getsignal(signal.SIGTERM) == former:
            await asyncio.sleep(0.01)
        print("up", flush=True)
        yield
        await running
        print("down", flush=True)

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    async with lifespan(scope):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})

uvicorn.run(app, port=0, log_level="error")
""",
        "utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, "web.py"],
        cwd=tmp_path,
        env=os.environ | {"FLOWD_URL": redis_url},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.readline() == "down\n"
        # uvicorn ends as the signal would have ended it.
        assert process.wait(20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()
    assert raw("XINFO", "CONSUMERS", "emails", "senders") == []
