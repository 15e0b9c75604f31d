"""An error says what happened, where, and what to do next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest

from flowd import Queue
from flowd.cli import main
from flowd.embedded.process import Server
from jobs.email import Email
from tests.support.raw import Raw

NEVER: Final = "it has ended, or never was here"
USER: Final = "advised"

MISSES: Final = {
    "jobs cancel 9-9": f"no job 9-9 waits, runs or is delayed: {NEVER}",
    "jobs run-now 9-9": f"job 9-9 is not delayed: {NEVER}",
    "jobs cancel nine": "this is no id; ids are like",
    "dlq redrive 9-9": "and none whose job it is: it was redriven or purged, or never",
    "dlq redrive": "give the IDs of letters, or --all",
    "cron run weekly": "a worker of emails (senders) has registered; there: none",
    "limit emails customer=7 5": "declare them in the schema, and start a worker",
    "limit other": "(there: emails)",
    "queue clear": "deleting jobs cannot be undone: confirm it with --yes",
}


@pytest.mark.parametrize("line", MISSES)
def test_missing_thing_is_named_with_what_to_do(
    redis_url: str, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """Of a queue without jobs, letters, schedules and limits."""
    asyncio.run(set_up(redis_url))
    code, said = run(capsys, line, redis_url)
    assert code in (1, 2)
    assert MISSES[line] in said


async def set_up(redis_url: str) -> None:
    """A queue that holds nothing."""
    async with Queue(Email, print, url=redis_url):
        pass


def test_server_without_queues_says_how_one_appears(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """To a command that works on one queue."""
    code, said = run(capsys, "jobs list", redis_url)
    assert (code, "no queue was set up on this server yet: start a" in said) == (
        2,
        True,
    )


@pytest.mark.parametrize("command", ["stats", "preflight jobs"])
@pytest.mark.parametrize(
    ("rights", "password", "advice"),
    [
        ("+@all", "wrong", "check the user and the password in the URL"),
        ("+@connection", "secret", "`flowd doctor` those that a user lacks"),
    ],
)
def test_refused_user_sees_what_to_change(
    redis_url: str,
    raw: Raw,
    capsys: pytest.CaptureFixture[str],
    command: str,
    rights: str,
    password: str,
    advice: str,
) -> None:
    """A wrong password and a missing right are two things."""
    raw("ACL", "SETUSER", USER, "on", ">secret", "~*", "-@all", rights)
    url = with_login(redis_url, USER, password)
    code, said = run(capsys, command, url)
    raw("ACL", "DELUSER", USER)
    assert code == 3
    assert advice in said
    assert password not in said.replace("password", "")


def with_login(url: str, user: str, password: str) -> str:
    """The URL with a user; a path of a socket has one too."""
    return url.replace("://", f"://{user}:{password}@", 1)


def test_address_that_no_server_has_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With how to name another."""
    code, said = run(capsys, "stats", "redis://127.0.0.1:1")
    assert code == 3
    assert said.startswith("flowd: error: cannot reach redis://127.0.0.1:1: ")
    assert ".;" not in said
    assert said.endswith(
        "; start that server, or name another with --url or FLOWD_URL\n"
    )


@pytest.fixture
def tcp_server() -> Iterator[str]:
    """The URL of a plain server, over TCP."""
    with Server(tcp=True) as server:
        yield server.url


@pytest.mark.parametrize(
    ("scheme", "name", "reason"),
    [
        ("redis+sentinel", "/main", "is no sentinel"),
        ("redis+cluster", "", "is no Redis Cluster"),
    ],
)
def test_server_of_another_kind_is_recognized(
    tcp_server: str,
    capsys: pytest.CaptureFixture[str],
    scheme: str,
    name: str,
    reason: str,
) -> None:
    """A URL of sentinels or of a cluster, for a server that is neither."""
    code, said = run(capsys, "stats", tcp_server.replace("redis", scheme, 1) + name)
    assert code == 3
    assert reason in said
    assert "redis://HOST:PORT" in said


def run(capsys: pytest.CaptureFixture[str], line: str, url: str) -> tuple[int, str]:
    """The exit code of a command, and what it wrote to standard error."""
    code = main([*line.split(), "--url", url])
    return code, capsys.readouterr().err
