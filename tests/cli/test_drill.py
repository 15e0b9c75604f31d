"""Incidents, as they come at night: found and repaired with the command alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowd import Producer
from flowd.embedded import Server
from jobs.email import Email
from tests.support.email_job import email
from tests.support.leases import expire
from tests.support.program import Program
from tests.support.raw import Raw

GROUP = "senders"

WORKERS = """
import asyncio, logging
from flowd import Queue
from jobs.email import Email

async def send(email):
    logging.getLogger("shop").warning("sending to %s", email.to)
    if email.to == "hang":
        await asyncio.Event().wait()

queues = Queue(Email, send, concurrency=1)
"""
REPAIRED = WORKERS.replace("asyncio.Event().wait()", "asyncio.sleep(0)")


@pytest.fixture
def flowd(own_server: Server, tmp_path: Path) -> Program:
    program = Program(tmp_path, own_server.url)
    program.write("workers.py", WORKERS)
    return program


@pytest.fixture
def raw(own_server: Server) -> Iterator[Raw]:
    with Raw(own_server.url) as raw:
        yield raw


def stats(flowd: Program) -> dict[str, int]:
    """The numbers of the only queue."""
    done = flowd("stats", "--json")
    assert done.code == 0, done.err
    (queue,) = json.loads(done.out)
    return {name: queue[name] for name in ("waiting", "running", "delayed", "dead")}


def wrong(flowd: Program) -> list[str]:
    """What the doctor calls wrong."""
    done = flowd("doctor")
    found = [line for line in done.out.splitlines() if line.startswith("wrong")]
    assert done.code == bool(found)
    return found


def enqueue(flowd: Program, to: str) -> str:
    """Enqueue an e-mail; returns its id."""
    done = flowd("jobs", "enqueue", "jobs.email:Email", f"to={to}", "subject=hi")
    assert done.code == 0, done.err
    return done.out.strip()


def test_a_poison_deploy(flowd: Program, raw: Raw) -> None:
    """A producer that forgets a field: its jobs are dead, and go back with the field."""
    with flowd.start("run", "workers:queues") as worker:
        worker.until("runs up to")
        for number in range(20):
            raw("XADD", "emails", "*", "to", f"user{number}")
        enqueue(flowd, "well")
        worker.until("sending to well")

        assert stats(flowd)["dead"] == 20
        listed = flowd("dlq", "list", "--newer", "1h", "--error", "undecodable").out
        assert listed.count("Email.subject: required field is missing") == 20
        letter = listed.splitlines()[1].split()[0]
        shown = flowd("dlq", "show", letter, "--job", "jobs.email:Email").out
        assert "decodes     no: Email.subject" in shown

        choice = (
            *("--all", "--error", "subject", "--job", "jobs.email:Email"),
            *("--set", "subject=(none)"),
        )
        dry = flowd("dlq", "redrive", *choice, "--dry-run").out
        assert dry.splitlines()[-1] == "20 jobs would be put back into the stream"
        done = flowd("dlq", "redrive", *choice, "--rate", "200/s")
        assert done.out == "20 jobs put back into the stream\n"
        worker.until("sending to user19")
        worker.signal(signal.SIGTERM)
        assert worker.end() == 0
    assert sum(stats(flowd).values()) == 0


BAD = WORKERS.replace('if email.to == "hang":', "if True:")


def test_a_bad_deploy_is_paused_and_replaced(
    flowd: Program, raw: Raw, own_server: Server
) -> None:
    """Pause, look, cancel by field, deploy the fix, lose the server, resume: as it is typed.

    What was cancelled never runs again, nothing else is lost, and neither a restart of the
    server nor a worker of the new version ends the pause.
    """
    flowd.write("workers.py", BAD)
    with flowd.start("run", "workers:queues") as worker:
        for number in range(10):
            raw(
                "XADD",
                "emails",
                "*",
                "to",
                ("harmed", "fine")[number % 2],
                "subject",
                "x",
            )
        worker.until("sending to harmed")
        assert flowd("pause", "emails").out == "emails (senders) is paused\n"
        assert flowd("pause", "emails").out == "emails (senders) was paused\n"
        for _ in range(2):  # the second does not wait for the handler
            worker.signal(signal.SIGTERM)
            worker.until("SIGTERM")
        assert worker.end() == 0
    assert "paused" in flowd("stats").out
    assert "paused" in flowd("doctor").out

    chosen = ("--all", "--stream", "emails", "--field", "to=harmed")
    dry = flowd("jobs", "cancel", *chosen, "--dry-run").out
    assert dry.splitlines()[-1] == "5 jobs would be cancelled"
    assert flowd("jobs", "cancel", *chosen).code == 2  # it asks, and no one can answer
    done = flowd("jobs", "cancel", *chosen, "--rate", "100/s", "--yes")
    assert (done.code, done.out) == (0, "5 jobs cancelled\n")

    flowd.write("workers.py", REPAIRED)
    with flowd.start("run", "workers:queues") as repaired:
        repaired.until("runs up to")
        own_server.kill()
        own_server.restart()
        enqueue(flowd, "fine")
        repaired.until("answers again")
        assert json.loads(flowd("stats", "--json").out)[0]["paused"] is not None
        assert flowd("resume", "emails").out == "emails (senders) is active\n"
        for _ in range(6):
            repaired.until("sending to fine")
        repaired.until(" done")
        repaired.signal(signal.SIGTERM)
        assert repaired.end() == 0
    assert sum(stats(flowd).values()) == 0
    removed = json.loads(flowd("stats", "--json").out)[0]["removed"]
    assert sum(each["jobs"] for each in removed) == 5


def test_a_stuck_handler(flowd: Program) -> None:
    """Jobs wait behind one that hangs: which, in which process, and it runs once repaired."""
    with flowd.start("run", "workers:queues") as worker:
        job_id = enqueue(flowd, "hang")
        enqueue(flowd, "behind")
        worker.until("sending to hang")

        assert stats(flowd) == {"waiting": 1, "running": 1, "delayed": 0, "dead": 0}
        (consumer,) = json.loads(flowd("consumers", "--json").out)
        assert consumer["state"] == "working"
        (run,) = consumer["runs"]
        assert (run["id"], consumer["pid"]) == (job_id, worker.process.pid)
        assert "to = hang" in flowd("jobs", "show", job_id, "--raw").out

        flowd.write("workers.py", REPAIRED)
        with flowd.start("run", "workers:queues") as repaired:
            repaired.until("sending to behind")
            for _ in range(2):  # the first waits for the handler, the second does not
                os.kill(consumer["pid"], signal.SIGTERM)
                worker.until("SIGTERM")
            assert worker.end() == 0
            repaired.until("sending to hang")
            repaired.until(" done")
            repaired.signal(signal.SIGTERM)
            assert repaired.end() == 0
    assert sum(stats(flowd).values()) == 0


def test_a_dead_consumer(flowd: Program, raw: Raw) -> None:
    """A killed worker's jobs are seen as abandoned, until another one takes them over."""
    with flowd.start("run", "workers:queues") as worker:
        job_id = enqueue(flowd, "hang")
        worker.until("sending to hang")
        worker.signal(signal.SIGKILL)
        worker.end()
    enqueue(flowd, "behind")
    expire(raw, "emails", GROUP)
    raw("DEL", f"{{emails}}:{GROUP}:workers")  # as after the hour that it is kept

    (consumer,) = json.loads(flowd("consumers", "--json").out)
    assert (consumer["state"], consumer["pid"]) == ("dead", worker.process.pid)
    assert consumer["runs"][0]["id"] == job_id
    assert any("abandoned" in line and "1 job." in line for line in wrong(flowd))

    flowd.write("workers.py", REPAIRED)
    with flowd.start("run", "workers:queues", "--burst") as repaired:
        repaired.until("sending to hang")
        assert repaired.end() == 0
    assert sum(stats(flowd).values()) == 0
    assert wrong(flowd) == []


async def test_a_full_server(flowd: Program, raw: Raw) -> None:
    """Nothing can be enqueued: what fills the server is saved in a file and purged."""
    async with Producer(flowd.url) as producer:
        await producer.enqueue_bulk(
            Email(to="x", subject="s" * 10_000) for _ in range(500)
        )
    flowd.write(
        "workers.py",
        WORKERS.replace('"hang"', '"x"').replace(
            "await asyncio.Event().wait()", 'raise __import__("flowd").Reject("no")'
        ),
    )
    assert flowd("run", "workers:queues", "--burst").code == 0
    raw("CONFIG", "SET", "maxmemory", raw.info("used_memory"))

    refused = flowd("jobs", "enqueue", "jobs.email:Email", "to=a", "subject=hi")
    assert refused.code == 3
    assert "maxmemory" in refused.err
    assert any("memory" in line for line in wrong(flowd))
    assert stats(flowd) == {"waiting": 0, "running": 0, "delayed": 0, "dead": 500}
    saved = flowd("dlq", "export", "--raw").out
    assert saved.count("\n") == 500
    assert flowd("dlq", "purge", "--all", "--older", "0s", "--yes").code == 0

    assert wrong(flowd) == []
    enqueue(flowd, "a")
    again = json.loads(saved.splitlines()[0])["fields"]
    fields = json.dumps({name: again[name] for name in ("to", "subject")})
    words = ("jobs", "enqueue", "jobs.email:Email", "--fields", "-")
    assert flowd(*words, text=fields).code == 0
    assert stats(flowd)["waiting"] == 2
    assert email("a").to_fields() == raw.entries("emails")[0][1]
