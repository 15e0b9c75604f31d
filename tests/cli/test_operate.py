"""`flowd stats` and `flowd dlq`: show what queues hold, and repair it."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import pytest

import jobs.email
from flowd import Producer, Queue
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.program import Program
from tests.support.raw import Raw

NO_RETRIES = replace(Email.SPEC.policy, max_retries=0)
EMAILS = ("--stream", "emails")


async def die(email: Email) -> None:
    """Fail with what the e-mail says."""
    raise ValueError(email.subject)


async def dead_letters(url: str, *subjects: str) -> None:
    """Let one job die for each subject."""
    async with Queue(Email, die, url=url, policy=NO_RETRIES) as queue:
        await queue.enqueue_bulk(Email(to="x", subject=each) for each in subjects)
        queue.run()
        await queue.drain()


async def test_stats_counts_every_queue(flowd: Program, redis_url: str) -> None:
    """One line for each queue that was set up, and the same numbers as JSON."""
    await dead_letters(redis_url, "one", "two")
    async with Queue(Crawl, print, url=redis_url), Producer(redis_url) as producer:
        await producer.enqueue(Email(to="x", subject="later"), delay=60.0)
        await producer.enqueue(Crawl(url="u", priority=1, tags=[]))
    done = flowd("stats")
    assert done.code == 0, done.err
    lines = done.out.replace("next due", "due").splitlines()
    assert lines[0].split() == [
        *("stream", "group", "waiting", "oldest", "running", "retrying", "scheduled"),
        *("due", "dead", "workers", "problem"),
    ]
    crawl, emails = lines[1].split(), lines[2].split()
    assert crawl[:3] == ["crawl", "crawlers", "1"]
    assert crawl[5:11] == ["0", "0", "0", "-", "0", "0"]
    assert lines[1].endswith("  no worker reads what waits: 1 job")
    assert emails[:7] == ["emails", "senders", "0", "-", "0", "0", "1"]
    assert emails[-4:] == ["0", "2", "dead", "letters"]
    crawl, emails = json.loads(flowd("stats", "--json").out)
    assert (crawl["waiting"], crawl["delayed"], crawl["next_due"]) == (1, 0, None)
    assert 0 < emails.pop("next_due") <= 60
    assert emails.pop("settled") in (2, None)  # Redis before 7 does not count
    assert emails == {
        "stream": "emails",
        "group": "senders",
        "waiting": 0,
        "oldest": None,
        "running": 0,
        "delayed": 1,
        "parked": 0,
        "delays": {
            "scheduled": 1,
            "released": 0,
            "retrying": 0,
            "newer_version": 0,
            "estimated": False,
        },
        "dead": 2,
        "paused": None,
        "removed": [],
        "schedules": [],
        "consumers": [],
        "slots": 0,
        "busy": 0,
        "problems": [{"level": "warn", "text": "2 dead letters"}],
        "notes": [],
    }


async def test_stats_of_a_queue_that_is_gone(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """A queue whose stream was deleted is shown without consumers."""
    await dead_letters(redis_url)
    raw("DEL", "emails")
    shown = flowd("stats").out.splitlines()[1].split()[2:]
    assert shown == ["0", "-", "0", "0", "0", "-", "0", "-"]


def test_stats_of_an_empty_server(flowd: Program) -> None:
    """A server without queues is no error."""
    done = flowd("stats")
    assert (done.code, done.out) == (0, "no queue was set up on this server yet\n")


async def test_list_and_show(flowd: Program, redis_url: str) -> None:
    """`list` has a line for each letter, `show` everything of one."""
    await dead_letters(redis_url, "one", "two", "three")
    listed = flowd("dlq", "list", *EMAILS)
    assert listed.code == 0, listed.err
    head, *lines = listed.out.splitlines()
    assert head.split() == ["letter", "died", "reason", "error"]
    assert [line.rpartition(": ")[2] for line in lines] == ["one", "two", "three"]
    first = lines[0].split()[0]
    shown = flowd("dlq", "show", first, *EMAILS, "--raw").out
    for text in (first, "ValueError: one", "subject = one", "raise ValueError"):
        assert text in shown
    assert "flowd/worker/executor.py" not in shown


async def test_list_is_limited(flowd: Program, redis_url: str) -> None:
    """`--limit` and `--where` choose, and a list that is cut says so."""
    await dead_letters(redis_url, "one", "two", "three")
    cut = flowd("dlq", "list", *EMAILS, "--limit", "2")
    assert cut.out.count("\n") == 3
    assert "--limit 0" in cut.err
    assert flowd("dlq", "list", *EMAILS, "--limit", "0").out.count("\n") == 4
    assert flowd("dlq", "list", *EMAILS, "--error", "two").out.count("\n") == 2


async def test_list_as_json(flowd: Program, redis_url: str) -> None:
    """As JSON each letter is a line with fields, reason and times."""
    await dead_letters(redis_url, "one")
    letter = json.loads(flowd("dlq", "list", *EMAILS, "--json", "--raw").out)
    assert letter["fields"]["subject"] == "one"
    assert letter["reason"] == "failed"
    assert letter["attempts"] == 1
    assert letter["died_at"].endswith("+00:00")


async def test_redrive(flowd: Program, redis_url: str, raw: Raw) -> None:
    """One letter, those about a text, or all go back into the stream."""
    await dead_letters(redis_url, "one", "two", "three", "four")
    first = flowd("dlq", "list", *EMAILS).out.splitlines()[1].split()[0]
    done = flowd("dlq", "redrive", first, *EMAILS)
    assert (done.code, done.out) == (0, "1 job put back into the stream\n")
    flowd("dlq", "redrive", "--all", "--error", "three", *EMAILS)
    subjects = [fields[b"subject"] for _, fields in raw.entries("emails")]
    assert subjects == [b"one", b"three"]
    done = flowd("dlq", "redrive", "--all", "--job", "jobs.email:Email", "--json")
    assert json.loads(done.out) == {"redriven": 2}
    assert flowd("dlq", "redrive", first, *EMAILS).code == 1


async def test_purge_asks(flowd: Program, redis_url: str, raw: Raw) -> None:
    """Nothing is deleted without `--yes` without a terminal to ask on."""
    await dead_letters(redis_url, "one", "two")
    refused = flowd("dlq", "purge", "--all", *EMAILS)
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert raw("XLEN", "{emails}:senders:dlq") == 2
    done = flowd("dlq", "purge", "--all", "--yes", *EMAILS)
    assert (done.code, done.out) == (0, "2 jobs deleted\n")
    assert raw("XLEN", "{emails}:senders:dlq") == 0


@pytest.mark.parametrize("letter", ["-", "+", "5", "0-1", "no"])
async def test_a_letter_that_is_not_there(
    flowd: Program, redis_url: str, letter: str
) -> None:
    """An id of no letter is said to be none, also one that Redis would read as all."""
    await dead_letters(redis_url, "one")
    for verb in (("show",), ("redrive",), ("purge", "--yes")):
        done = flowd("dlq", *verb, *EMAILS, "--", letter)
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert f"no dead letter {letter} " in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("redrive",),
        ("redrive", "1-1", "--all"),
        ("redrive", "1-1", "--error", "x"),
        ("list", "--stream", "unknown"),
        ("list", "--job", "json:JSONDecoder"),
        ("list", "--job", "nowhere:Email"),
    ],
)
async def test_wrong_usage(
    flowd: Program, redis_url: str, words: tuple[str, ...]
) -> None:
    """A command that cannot be meant ends with code 2 and one line."""
    await dead_letters(redis_url, "one")
    queue = () if {"--stream", "--job"} & {*words} else EMAILS
    done = flowd("dlq", *words, *queue)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("flowd: ")


async def test_two_groups_are_distinguished(flowd: Program, raw: Raw) -> None:
    """When a stream was set up with two groups, `--group` must say which."""
    raw("SADD", "flowd:queues", "emails\none", "emails\ntwo")
    done = flowd("dlq", "list", *EMAILS)
    assert done.code == 2
    assert "one, two" in done.err
    assert flowd("dlq", "list", *EMAILS, "--group", "one").code == 0


async def test_the_terminal_gets_no_control_characters(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """What payloads, names and errors contain is shown as escapes."""
    evil = "\x1b[2J\x07\u202e\x9b31m\r\n"
    await dead_letters(redis_url, evil)
    raw("SADD", "flowd:queues", f"s{evil}\ng{evil}".encode())
    letter = flowd("dlq", "list", *EMAILS).out.splitlines()[1].split()[0]
    for words in (
        ("dlq", "list", *EMAILS),
        ("dlq", "list", *EMAILS, "--json"),
        ("dlq", "show", letter, *EMAILS),
        ("dlq", "list", "--stream", evil, "--group", "g"),
        ("dlq", "show", evil, *EMAILS),
        ("stats",),
    ):
        done = flowd(*words)
        assert not set(done.out + done.err) & set("\x1b\x07\u202e\x9b\r"), words
    assert "\\x1b[2J" in flowd("dlq", "show", letter, *EMAILS).out


async def test_secret_fields_are_hidden(
    flowd: Program, redis_url: str, tmp_path: Path, raw: Raw
) -> None:
    """With the job class, a secret field is shown as `<secret>`."""
    source = inspect.getsource(jobs.email)
    (tmp_path / "mine").mkdir()
    flowd.write(
        "mine/email.py", source.replace("format=1", 'format=1, secrets=("body",)')
    )
    async with Queue(Email, die, url=redis_url, policy=NO_RETRIES) as queue:
        await queue.enqueue(Email(to="x", subject="y", body="hunter2"))
        queue.run()
        await queue.drain()
    for words in (
        ("list", "--json"),
        ("show", flowd("dlq", "list", *EMAILS).out.splitlines()[1].split()[0]),
    ):
        done = flowd("dlq", *words, "--job", "mine.email:Email")
        assert "hunter2" not in done.out + done.err
        assert "<secret>" in done.out


@pytest.mark.parametrize("words", [("stats",), ("dlq", "list", *EMAILS)])
def test_a_server_that_cannot_be_asked(flowd: Program, words: tuple[str, ...]) -> None:
    """A wrong place ends with code 3 and one line, without the password."""
    done = flowd(*words, url="redis://me:hunter2@127.0.0.1:1/0")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "cannot reach redis://***@127.0.0.1:1/0" in done.err
    assert "hunter2" not in done.err


def test_a_url_that_cannot_be(flowd: Program) -> None:
    """A wrong URL ends with code 2 and one line, without the password."""
    done = flowd("stats", "--url", "http://me:hunter2@localhost")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "redis://" in done.err
    assert "hunter2" not in done.err


def test_version_and_help(flowd: Program) -> None:
    """`--version` and `--help` work without a server."""
    assert flowd("--version", url="").out.startswith("flowd ")
    for words in (("--help",), ("run", "--help"), ("dlq", "--help"), ("stats", "-h")):
        assert flowd(*words, url="").code == 0
    assert flowd(url="").code == 2
