"""`flowd doctor`: one line for each thing, and an exit code for monitoring."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowd.embedded import Server
from tests.support.program import Program
from tests.support.raw import Raw

PASSWORD = "correct-horse"
LEVELS = ("ok", "note", "warn", "wrong")


@pytest.fixture
def doctor(own_server: Server, tmp_path: Path) -> Program:
    return Program(tmp_path, own_server.url)


@pytest.fixture
def raw(own_server: Server) -> Iterator[Raw]:
    with Raw(own_server.url) as raw:
        yield raw


def test_a_server_that_is_well(doctor: Program) -> None:
    """Each line begins with how it is and what was looked at; the exit code is 0."""
    done = doctor("doctor")
    lines = done.out.splitlines()

    assert (done.code, done.err) == (0, "")
    assert [line.split()[1] for line in lines][:3] == ["version", "eviction", "memory"]
    assert all(line.split()[0] in LEVELS for line in lines)
    assert "wrong" not in done.out


def test_something_is_wrong(doctor: Program, raw: Raw) -> None:
    """The exit code is 1, and the line says what and what to do."""
    raw("CONFIG", "SET", "appendonly", "no")
    done = doctor("doctor")

    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("wrong")]
    assert "a restart loses every job. Set appendonly yes" in line


def test_a_warning_is_not_wrong(doctor: Program, raw: Raw) -> None:
    """A warning alone does not fail a check of monitoring; the help says so."""
    raw("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    done = doctor("doctor")

    assert done.code == 0
    assert "warn   eviction" in done.out
    assert (
        "exit code is 1 if a line is `wrong`, else 0" in doctor("doctor", "--help").out
    )


def test_doctor_prints_json(doctor: Program, raw: Raw) -> None:
    """Programs read the same findings, and the exit code is the same."""
    raw("CONFIG", "SET", "appendonly", "no")
    done = doctor("doctor", "--json")
    found = {each["check"]: each for each in json.loads(done.out)}

    assert done.code == 1
    assert found["persistence"] == {
        "level": "wrong",
        "check": "persistence",
        "text": "appendonly no and no snapshots: a restart loses every job",
        "advice": "set appendonly yes with appendfsync everysec",
    }


def test_the_lease_is_an_option(doctor: Program, raw: Raw) -> None:
    """With a longer lease, silence is no death."""
    raw("XGROUP", "CREATE", "emails", "senders", 0, "MKSTREAM")
    raw("SADD", "flowd:queues", "emails\nsenders")
    raw("XADD", "emails", "*", "f", "v")
    raw("XREADGROUP", "GROUP", "senders", "dead", "STREAMS", "emails", ">")
    claim = ("XCLAIM", "emails", "senders", "dead", 0)
    (entry,) = raw.entries("emails")
    raw(*claim, entry[0], "IDLE", 3_600_000, "JUSTID")

    assert doctor("doctor").code == 1


def test_no_server(doctor: Program, own_server: Server) -> None:
    """What cannot be reached cannot be examined: exit code 3, and one line."""
    own_server.kill()
    done = doctor("doctor")

    assert (done.code, done.out) == (3, "")
    assert len(done.err.splitlines()) == 1


def test_no_password_is_shown(doctor: Program, own_server: Server, raw: Raw) -> None:
    """Neither what it prints nor its errors have the URL's password in them."""
    raw("CONFIG", "SET", "requirepass", PASSWORD)
    for login in (PASSWORD, f"wrong-{PASSWORD}"):
        url = f"unix://:{login}@{own_server.socket}"
        for words in (("doctor",), ("doctor", "--json")):
            done = doctor(*words, url=url)
            assert done.code == (0 if login == PASSWORD else 3), done.err
            assert PASSWORD not in done.out + done.err


def test_hostile_names(doctor: Program, raw: Raw) -> None:
    """A queue's name cannot write to the terminal, nor make a line of its own."""
    stream, group = "\x1b[31mred\u202e\r", "a\nwrong  fake\x07"
    raw("XGROUP", "CREATE", stream, group, 0, "MKSTREAM")
    raw("XADD", stream, "*", "f", "v")
    raw("SADD", "flowd:queues", f"{stream}\n{group}")
    raw("XGROUP", "CREATE", stream, "\x1b]0;title\x07", 0)
    done = doctor("doctor")

    assert done.code == 1
    assert all(line.isprintable() for line in done.out.split("\n"))
    assert all(line.split()[0] in LEVELS for line in done.out.splitlines())
    assert "\\x1b[31mred\\u202e" in done.out
    assert "\\x1b]0;title" in done.out
    assert "wrong  fake" not in [line[:11] for line in done.out.splitlines()]

    printed = doctor("doctor", "--json").out
    assert printed.isascii()
    assert f"{stream} ({group}): no worker reads" in json.loads(printed)[-1]["text"]
