"""`flowd run --metrics-port`: a real worker, asked as Prometheus and probes ask."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from pathlib import Path

import pytest

from flowd import Producer
from flowd.embedded import Server
from tests.metrics.asking import Answer, get
from tests.support.email_job import email
from tests.support.leases import lease_connections
from tests.support.program import Program
from tests.support.raw import Raw
from tests.support.waiting import wait_until

WORKERS = """
import asyncio, time
from flowd import Queue
from jobs.email import Email

async def send(email, ctx):
    ctx.log.info("to %s", email.to)
    if email.to == "block":
        time.sleep(60)

queue = Queue(Email, send, block=0.2)
"""

HERE = ("--metrics-port", "0")


@pytest.fixture
def worker(tmp_path: Path, own_server: Server) -> Program:
    """A folder with a worker, and a server of its own."""
    program = Program(tmp_path, own_server.url)
    program.write("workers.py", WORKERS)
    return program


async def ready(url: str, status: int) -> Answer:
    """Ask until the answer has this status."""
    ending = time.monotonic() + 20
    while (answer := await get(url, "/readyz")).status != status:
        assert time.monotonic() < ending, answer
        await asyncio.sleep(0.05)
    return answer


async def test_worker_is_ready_while_it_reads(
    worker: Program, own_server: Server
) -> None:
    """Not while Redis is away, and then it says why; alive all the time."""
    with worker.start("run", "workers:queue", *HERE) as running:
        url = running.metrics_url()
        await ready(url, 200)
        own_server.pause()
        failing = await ready(url, 503)
        alive = await get(url, "/healthz")
        shown = await get(url, "/metrics")
        own_server.resume()
        await ready(url, 200)
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    assert re.match(r"emails: \w+ fails: ", failing.body)
    assert (alive.status, alive.body) == (200, "ok\n")
    assert re.search(r'flowd_queue_up\{.*queue="emails".*\} 0\.0', shown.body)


async def test_endpoint_shows_the_contents_of_queues(
    worker: Program, own_server: Server
) -> None:
    """And what it did itself, together with whatever else its process counts."""
    async with Producer(own_server.url) as producer:
        await producer.enqueue_bulk([email("a"), email("b")])
        await producer.enqueue(email("c"), delay=500)
    with worker.start("run", "workers:queue", *HERE) as running:
        url = running.metrics_url()
        line = running.until("to a")
        running.until(" done")
        running.until(" done")
        shown = (await get(url, "/metrics")).body
    assert re.search(r"flowd\.job: emails \S+ attempt 1 to a", line)
    assert 'flowd_jobs_done_total{group="senders",queue="emails"} 2.0' in shown
    assert re.search(
        r'flowd_jobs_delayed\{.*queue="emails",reason="scheduled".*\} 1\.0', shown
    )
    assert re.search(r'flowd_queue_up\{.*queue="emails".*\} 1\.0', shown)
    assert "python_info" in shown


async def test_a_hung_process_is_not_alive(worker: Program, own_server: Server) -> None:
    """A handler that keeps the event loop keeps the probe from its answer."""
    with worker.start("run", "workers:queue", *HERE) as running:
        url = running.metrics_url()
        await ready(url, 200)
        async with Producer(own_server.url) as producer:
            await producer.enqueue(email("block"))
        running.until("stood still")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await get(url, "/healthz")


def test_a_port_that_is_taken_is_said(worker: Program) -> None:
    """The worker does not start without what it was asked to show, or on half of an address."""
    with worker.start("run", "workers:queue", *HERE) as running:
        port = running.metrics_url().rpartition(":")[2]
        done = worker("run", "workers:queue", "--metrics-port", port)
    assert done.code == 2
    assert "--metrics-port" in done.err
    assert "in use" in done.err
    assert done.err.endswith("; 0 lets the system choose a port\n")
    alone = worker("run", "workers:queue", "--metrics-host", "0.0.0.0")
    assert (alone.code, "--metrics-port: give both" in alone.err) == (2, True)


@pytest.mark.parametrize("port", ["-1", "70000", "http"])
def test_invalid_port_is_reported(worker: Program, port: str) -> None:
    """Before anything is started."""
    done = worker("run", "workers:queue", f"--metrics-port={port}")
    assert done.code == 2
    assert "is no port: write it as 9000" in done.err


SEVERAL = """
from flowd import Producer, Queue
from flowd.metrics import Metrics
from jobs.crawl import Crawl
from jobs.email import Email
from prometheus_client import CollectorRegistry

async def handle(job):
    pass

several = [
    Queue(Email, handle, middleware=[Metrics(CollectorRegistry())]),
    Queue(Crawl, handle, middleware=[Metrics(CollectorRegistry())]),
]
elsewhere = Metrics()
queue = Queue(Email, handle)
"""


@pytest.mark.parametrize("name", ["several", "queue"])
def test_metrics_that_would_not_be_shown_are_refused(
    worker: Program, name: str
) -> None:
    """One is shown, so another is a mistake: one line says what to do, with code 2."""
    worker.write("several.py", SEVERAL)
    done = worker("run", f"several:{name}", *HERE)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "give the same to all" in done.err


LEASES = """
import asyncio, ctypes, threading
from dataclasses import replace
from flowd import Queue
from jobs.email import Email

start = threading.Thread.start

def refuse(thread):
    if thread.name == "flowd-lease":
        raise RuntimeError("can't start new thread")
    start(thread)

async def send(email, ctx):
    match email.to:
        case "slow":
            await asyncio.sleep(60)
        case "kill":
            threading.Thread.start = refuse
            (lease,) = [t for t in threading.enumerate() if t.name == "flowd-lease"]
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(lease.ident), ctypes.py_object(MemoryError))
        case "restore":
            threading.Thread.start = start
        case "stuck":
            while not ended.is_set():
                try:
                    await ended.wait()
                except asyncio.CancelledError:
                    if ctx.cancelled == "shutdown":
                        raise

ended = asyncio.Event()
rules = replace(Email.SPEC.policy, claim_after=1.0)
queue = Queue(Email, send, policy=rules)
narrow = Queue(Email, send, policy=replace(rules, timeout=0.1), concurrency=1)
"""


async def test_worker_is_not_ready_while_the_lease_connection_fails(
    worker: Program, own_server: Server
) -> None:
    """Though everything else works: its jobs may be started elsewhere too."""
    worker.write("workers.py", LEASES)
    with Raw(own_server.url) as raw, worker.start("run", "workers:queue", *HERE) as run:
        url = run.metrics_url()
        async with Producer(own_server.url) as producer:
            await producer.enqueue(email("slow"))
        await ready(url, 200)
        await wait_until(lambda: lease_connections(raw))
        most = raw.setting("maxclients")
        raw("CONFIG", "SET", "maxclients", int(raw.info("connected_clients")) - 1)
        for each in lease_connections(raw):
            raw("CLIENT", "KILL", "ID", each)
        failing = await ready(url, 503)
        raw("CONFIG", "SET", "maxclients", most)
        await ready(url, 200)
    assert failing.body.startswith("emails: renewing leases fails: ")


async def test_worker_is_not_ready_while_the_lease_thread_is_dead(
    worker: Program, own_server: Server
) -> None:
    """Until another could be started."""
    worker.write("workers.py", LEASES)
    async with Producer(own_server.url) as producer:
        with worker.start("run", "workers:queue", *HERE) as run:
            url = run.metrics_url()
            await ready(url, 200)
            await producer.enqueue(email("kill"))
            failing = await ready(url, 503)
            await producer.enqueue_bulk([email("restore"), email("slow")])
            await ready(url, 200)
    assert "the thread that renews them has died" in failing.body


async def test_worker_is_not_ready_while_every_slot_is_stuck(
    worker: Program, own_server: Server
) -> None:
    """It reads no job any more, and only its end frees the slots."""
    worker.write("workers.py", LEASES)
    async with Producer(own_server.url) as producer:
        with worker.start("run", "workers:narrow", *HERE) as run:
            url = run.metrics_url()
            await ready(url, 200)
            await producer.enqueue(email("stuck"))
            failing = await ready(url, 503)
    assert failing.body.startswith("emails: every slot has a handler that did not end")
