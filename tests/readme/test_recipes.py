"""The recipes work, word for word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from tests.house.sources import ROOT
from tests.readme.quickstart import Folder, commands, files, section
from tests.support.raw import Raw

PAGE: Final = ROOT / "docs/recipes.md"


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Folder:
    """A folder with the jobs, and the session's server."""
    folder = Folder(tmp_path, Path(sys.executable).parent, redis_url)
    for command in ("flowd-gen init", "flowd-gen schemas -o jobs"):
        folder.run(command)
    return folder


def follow(folder: Folder, title: str, program: str) -> None:
    """Write the files of a recipe, and run a program that uses them."""
    folder.write(files(section(title, PAGE)) | {"program.py": program})
    folder.run("python program.py")


def addresses(raw: Raw) -> list[str]:
    """To whom e-mails are enqueued."""
    return [fields[b"to"].decode() for _, fields in raw.entries("emails")]


def test_fastapi(folder: Folder, raw: Raw) -> None:
    """A request enqueues, a repeated one does not again, and a failure is a 503."""
    program = """
from fastapi.testclient import TestClient
from flowd import Unreachable
from flowd.testing import RecordingProducer
from api import app, get_producer

with TestClient(app) as client:
    def sign_up():
        return client.post("/sign-up", params={"address": "a@b.c"})

    first = sign_up()
    assert first.status_code == 202, first.text
    assert sign_up().json() == first.json()

    producer = RecordingProducer()
    producer.memory.error = Unreachable("down")
    app.dependency_overrides[get_producer] = lambda: producer
    assert sign_up().status_code == 503
"""
    follow(folder, "FastAPI", program)
    assert addresses(raw) == ["a@b.c"]


def test_django(folder: Folder, raw: Raw) -> None:
    """A view enqueues when its transaction is committed, and not when it fails."""
    program = """
import django
from django.conf import settings

settings.configure(
    ROOT_URLCONF="views",
    ALLOWED_HOSTS=["testserver"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

from django.core.management import call_command
from django.db import IntegrityError
from django.test import Client

call_command("migrate", verbosity=0)
client = Client()
assert client.post("/sign-up", {"address": "a@b.c"}).status_code == 202
try:
    client.post("/sign-up", {"address": "a@b.c"})
except IntegrityError:
    pass
else:
    raise AssertionError("the name is taken")
"""
    follow(folder, "Django", program)
    assert addresses(raw) == ["a@b.c"]


def test_flask(folder: Folder, raw: Raw) -> None:
    """A request enqueues and is answered with the job's id."""
    program = """
from web import app

reply = app.test_client().post("/sign-up", data={"address": "a@b.c"})
assert reply.status_code == 202
print(reply.json["job"])
"""
    follow(folder, "Flask", program)
    assert addresses(raw) == ["a@b.c"]


class _MailApi(BaseHTTPRequestHandler):
    """Takes every e-mail."""

    protocol_version = "HTTP/1.1"
    taken: Final[list[bytes]] = []

    def do_POST(self) -> None:
        self.taken.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def mail_api() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _MailApi) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_worker_with_a_database(folder: Folder, raw: Raw, mail_api: str) -> None:
    """What is opened around the queues is there for their handlers."""
    program = """
from flowd import SyncProducer
from jobs.email import Email

SyncProducer().enqueue(Email(to="a@b.c", subject="hi"))
"""
    title = "A worker with a database"
    follow(folder, title, program)
    (run,) = commands(section(title, PAGE))
    folder.run(f"MAIL_API={mail_api} {run} --burst")
    assert _MailApi.taken == [b'{"to":"a@b.c"}']
    assert raw("XLEN", "emails") == 0


def test_outbox(folder: Folder, raw: Raw) -> None:
    """What is committed arrives once, also if a relay dies before it can delete it."""
    committed = """
import sqlite3
from jobs.email import Email
from outbox import TABLE, put

db = sqlite3.connect("shop.db")
db.execute(TABLE)
for address in ("ä@b.c", "b@b.c"):
    with db:
        put(db, Email(to=address, subject="hi"))
try:
    with db:
        put(db, Email(to="no-at", subject="hi"))
        raise ValueError
except ValueError:
    pass
"""
    dies = """
import os
import sqlite3
from flowd import SyncProducer
from outbox import relay

class Dies(SyncProducer):
    def enqueue_bulk(self, jobs, **options):
        super().enqueue_bulk(jobs, **options)
        os._exit(9)

relay(sqlite3.connect("shop.db"), Dies())
"""
    left = """
import sqlite3
print(sqlite3.connect("shop.db").execute("SELECT count(*) FROM outbox").fetchone()[0])
"""
    follow(folder, "A transactional outbox", committed)
    assert addresses(raw) == []
    folder.write({"dies.py": dies, "left.py": left})
    folder.run("python dies.py; test $? -eq 9")
    assert folder.run("python left.py") == "2\n"
    assert addresses(raw) == ["ä@b.c", "b@b.c"]

    folder.run(
        "python relay.py shop.db & relay=$!;"
        " until test $(python left.py) = 0; do sleep 0.05; done; kill $relay"
    )
    assert addresses(raw) == ["ä@b.c", "b@b.c"]


def test_every_file_is_used() -> None:
    """The recipes are these, so that none is on the page without a test."""
    titles = [
        line[3:] for line in PAGE.read_text("utf-8").splitlines() if line[:3] == "## "
    ]
    assert titles == [
        "FastAPI",
        "Django",
        "Flask",
        "A worker with a database",
        "A transactional outbox",
        "Sentry",
    ]


SECRETS: Final = """
[job.Login.fields]
token = { type = "str", secret = true }

[job.Login.queue]
stream      = "logins"
group       = "users"
max_retries = 0
"""


def test_sentry(folder: Folder) -> None:
    """Jobs that fail alike are one issue, others another, and no secret is sent."""
    program = """
import asyncio, json
from dataclasses import replace

from sentry_sdk.transport import Transport

import tracking
from flowd import Queue
from jobs.email import Email
from jobs.login import Login

sent = []

class Memory(Transport):
    def capture_envelope(self, envelope):
        sent.extend(e for e in [envelope.get_event()] if e is not None)

async def send(email):
    if email.to.startswith("refused"):
        raise ConnectionRefusedError(f"no route to {email.to}")
    raise LookupError(f"{email.to} is unknown")

async def log_in(login):
    token = login.token
    raise PermissionError(f"{token} has ended")

async def main():
    rules = replace(Email.SPEC.policy, max_retries=1, backoff=replace(
        Email.SPEC.policy.backoff, kind="fixed", base=0.001))
    async with Queue(Email, send, policy=rules) as queue, Queue(Login, log_in) as users:
        await queue.enqueue_bulk(
            Email(to=f"{kind}{n}", subject="s") for kind in ("refused", "lost") for n in (1, 2)
        )
        await users.enqueue_bulk(Login(token=f"hidden-{n}") for n in (1, 2))
        queue.run(); users.run()
        await queue.drain(); await users.drain()

tracking.start(dsn="https://key@localhost/1", transport=Memory)
asyncio.run(main())

def issue(event):
    error = event["exception"]["values"][-1]
    frames = error.get("stacktrace", {}).get("frames", ())
    place = [(f["function"], f["lineno"]) for f in frames]
    return str((event.get("fingerprint"), event["logentry"]["message"], error["type"], place))

issues = {}
for event in sent:
    issues.setdefault(issue(event), []).append(event)
found = sorted(
    (e[0]["tags"]["event"], e[0]["exception"]["values"][-1]["type"], len(e))
    for e in issues.values()
)
assert found == [
    ("dead_letter", "ConnectionRefusedError", 2),
    ("dead_letter", "LookupError", 2),
    ("dead_letter", "PermissionError", 2),
    ("retry", "ConnectionRefusedError", 2),
    ("retry", "LookupError", 2),
], found
for event in sent:
    error = event["exception"]["values"][-1]
    if error["type"] != "PermissionError":
        assert error["stacktrace"]["frames"][-1]["function"] == "send"
assert "hidden-" not in json.dumps(sent, default=repr)
"""
    folder.write({"schemas/login.toml": SECRETS})
    folder.run("flowd-gen schemas/ -o jobs/")
    follow(folder, "Sentry", program)
