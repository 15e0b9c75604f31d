"""`flowd preflight` as a command: nothing written or betrayed, and how it exits."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowd.broker.settings import without_login
from flowd.cli import main
from flowd.embedded import Server
from tests.ops.preflight.queue import STREAM, add, fill, preflight, table, write
from tests.support.proxy import proxy_to
from tests.support.raw import Raw

# What is done within a script is counted as well.
READING = {
    *("auth", "client", "client|id", "client|setname", "client|setinfo", "hello"),
    *("eval", "evalsha", "info", "xlen", "zcard", "xpending", "xrange", "xrevrange"),
    *("smembers", "xinfo", "xinfo|groups", "xinfo|consumers", "zrange", "hget"),
    *("config", "config|resetstat"),  # this test's own
}


def test_preflight_writes_nothing(
    own_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user that may not write is enough, and the server saw no command that does."""
    write('priority = "u8?"')
    with Raw(own_server.url) as raw:
        asyncio.run(fill(own_server.url, raw))
        raw("ACL", "SETUSER", "reader", "on", ">word", "~*", "+@all", "-@write")
        before = raw.info("rdb_changes_since_last_save")
        raw("CONFIG", "RESETSTAT")
        assert preflight(f"unix://reader:word@{own_server.socket}") == 0
        stats = raw("INFO", "commandstats")
        assert isinstance(stats, bytes)
        assert set(re.findall(r"cmdstat_([\w|]+):", stats.decode())) <= READING
        assert raw.info("rdb_changes_since_last_save") == before
    assert table(capsys.readouterr().out)["stream"] == (3, 3, 0, 0, 0)


def test_secrets_are_not_shown(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the value nor, in any format, the password of the server."""
    write('to = { type = "str", max_len = 3, secret = true }')
    add(raw, "to", "hunter2", "subject", "y")
    for form in ((), ("--json",), ("--github",)):
        assert preflight(redis_url, *form) == 1
        printed = capsys.readouterr()
        assert "<secret>" in printed.out
        assert "hunter2" not in printed.out + printed.err
    assert preflight("redis://me:hunter2@localhost:1") == 3
    assert "hunter2" not in capsys.readouterr().err


EVIL = "\x1b[2J\x07\u202e\n::error::"


@pytest.mark.parametrize("form", [(), ("--json",), ("--github",)])
def test_text_of_others_is_harmless(
    redis_url: str,
    raw: Raw,
    capsys: pytest.CaptureFixture[str],
    form: tuple[str, ...],
) -> None:
    """Names, values, ids and patterns move no cursor and end no line."""
    write(r'to = { type = "str", pattern = "\u202e+" }')
    add(raw, "to", EVIL, "subject", "y")
    add(raw, EVIL, "x")
    raw("ZADD", "{emails}:delayed", 1, EVIL)
    raw("HSET", "{emails}:delayed:jobs", EVIL, b"\x92\xa2to\xa1x")
    assert preflight(redis_url, *form) == 1
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert not any(line.startswith("::error::") for line in out.splitlines())
    assert "x1b[2J" in out or "u001b[2J" in out


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("redis://localhost:1", 3, "flowd: error: cannot reach redis://localhost:1"),
        ("http://localhost", 2, "must start with redis://"),
        ("", 2, "flowd: error: no URL: give --url or set FLOWD_URL, as redis://"),
    ],
)
def test_a_server_that_cannot_be_asked_is_no_answer(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    code: int,
    said: str,
) -> None:
    """Neither yes nor no: 3 if it is the server, 2 if it is the usage."""
    monkeypatch.delenv("FLOWD_URL", raising=False)
    write()
    assert preflight(url) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err


@pytest.mark.parametrize("asked", [b"COUNT", b"EVAL", b"XLEN"])
async def test_a_connection_that_is_lost_is_no_answer(
    filled: str, capsys: pytest.CaptureFixture[str], asked: bytes
) -> None:
    """Exit 3, wherever it happens, also behind what was read already."""
    write()
    async with proxy_to(filled) as proxy:
        proxy.lose(asked)
        assert await asyncio.to_thread(preflight, proxy.url) == 3
        assert proxy.lost == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"flowd: error: the answer of {without_login(proxy.url)} was lost: "
        "the server closed the connection\n"
    )


def test_an_app_dir_that_is_no_folder_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 2, before a server is asked."""
    write()
    assert preflight("redis://localhost:1", "--app-dir", "src") == 2
    assert capsys.readouterr().err == "flowd: error: --app-dir 'src' is not a folder\n"


def test_a_key_of_another_type_names_its_queue(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3: this is not flowd's stream."""
    write()
    raw("SET", STREAM, "x")
    assert preflight(redis_url) == 3
    assert (
        "flowd: error: the queue emails: a key is not flowd's"
        in capsys.readouterr().err
    )


def test_missing_queue_is_reported(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the wrong server; exit 0, as nothing would fail."""
    write()
    assert preflight(redis_url) == 0
    assert capsys.readouterr().out == (
        f"yes: no job is queued for these classes; is {without_login(redis_url)} the right server and "
        "database?\n"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shop", "shop has no class that flowd-gen wrote"),
        ("shop.email", "there is no module 'shop.email' in"),
        ("shop.plain", "shop.plain has no class that flowd-gen wrote"),
        ("missing", "there is no module 'missing' in"),
        ("shop:Email", "'shop:Email' must be a package or module, as in app.jobs"),
        ("shop/email.py", "'shop/email.py' must be a package or module"),
    ],
)
def test_name_without_job_classes_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    """Exit 2; no server is asked."""
    Path("shop").mkdir()
    Path("shop/__init__.py").touch()
    Path("shop/plain.py").write_text("class Email: SPEC = None\n")
    assert main(["preflight", name, "--url", "redis://localhost:1"]) == 2
    assert capsys.readouterr().err.startswith(f"flowd: error: {said}")


def test_package_is_searched_for_generated_modules_only(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user's other modules are not imported: one may start a program."""
    write(folder="shop/inner/jobs")
    for name in ("shop", "shop/inner", "shop/other"):
        Path(name).mkdir(exist_ok=True)
        Path(name, "__init__.py").touch()
    for name in ("shop/main.py", "shop/inner/main.py", "shop/other/__init__.py"):
        Path(name).write_text("raise SystemExit(0)\n")
    for package in ("shop", "shop.inner", "shop.inner.jobs", "shop.inner.jobs.email"):
        assert main(["preflight", package, "--url", filled]) == 0
        assert table(capsys.readouterr().out)["stream"] == (3, 3, 0, 0, 0)


@pytest.mark.parametrize(
    "words", [(), ("shop", "--limit", "-1"), ("shop", "--ids", "x")]
)
def test_wrong_usage_exits_with_2(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The usage is shown."""
    with pytest.raises(SystemExit) as caught:
        main(["preflight", *words])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: flowd preflight ")


def test_a_terminal_gets_a_bar(filled: str) -> None:
    """On standard error, and nothing of it on standard output."""
    write()
    here, there = pty.openpty()
    words = [sys.executable, "-m", "flowd", "preflight", "shop", "--url", filled]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    done = subprocess.run(
        words, env=environment, stdout=subprocess.PIPE, stderr=there, check=True
    )
    drawn = os.read(here, 65_536).decode()
    os.close(there)
    os.close(here)
    assert "7/7" in drawn
    assert done.stdout.decode().splitlines()[-1].startswith("yes: all jobs")
    assert b"\x1b" not in done.stdout


def test_progress_is_printed_without_a_terminal(
    filled: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log of a deploy shows that it moves."""
    monkeypatch.setattr("flowd.cli.progress._LINE_EVERY", 0.0)
    write()
    assert preflight(filled) == 0
    assert capsys.readouterr().err.splitlines() == [
        "decoding: 3 of about 7 jobs",
        "decoding: 5 of about 7 jobs",
        "decoding: 7 of about 7 jobs",
    ]
