"""What `flowd preflight` finds in queues, and how it says so."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from flowd import Queue
from jobs.email import Email
from tests.ops.preflight.queue import (
    DEAD,
    STREAM,
    add,
    line_of,
    preflight,
    table,
    write,
)
from tests.support.dead_letters import bury, raw_letters
from tests.support.raw import Raw


def test_classes_that_read_everything_may_be_deployed(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 0, the numbers of each place, and the letter that was no job before."""
    write()
    assert preflight(filled) == 0
    printed = capsys.readouterr()
    assert table(printed.out) == {
        "stream": (3, 3, 0, 0, 0),
        "delayed": (2, 2, 0, 0, 0),
        "dead letters": (2, 1, 0, 0, 1),
    }
    assert (
        "note[UNDECODABLE_BEFORE]: Email.to: 1 job died as undecodable" in printed.out
    )
    last = printed.out.splitlines()[-1]
    assert re.fullmatch(
        r"yes: all jobs in the streams of these classes can be read"
        r" \(7 looked at, [\d,]+ messages/s\)",
        last,
    )
    assert printed.err == ""


def test_failing_field_is_named_with_place_and_reason(
    filled: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1; each field and reason at its line of the class, with counts and ids."""
    write('priority = "u8"')
    wrong = add(raw, "to", "x", "subject", "y", "priority", "256")
    assert preflight(filled, "--ids", "2") == 1
    out = capsys.readouterr().out
    first, second = out.split("shop/email.py:")[1:3]
    assert first.startswith(
        f"{line_of('priority: int')}: breaking[UNREADABLE]: Email.priority: 6 jobs cannot be read: required"
        " field is missing\n"
    )
    assert "= in emails: stream 3, delayed 2, dead letters 1\n" in first
    first_id, *_ = (entry_id for entry_id, _ in raw.entries(STREAM))
    assert f"  = stream {first_id} (fields present: 'to', 'subject')\n" in first
    assert first.count("  = stream ") == 2
    assert "  = and 4 more\n" in first
    assert "1 job cannot be read: not in 0..255\n" in second
    assert f"  = stream {wrong} got b'256'\n" in second
    assert table(out) == {
        "stream": (4, 0, 0, 4, 0),
        "delayed": (2, 0, 0, 2, 0),
        "dead letters": (2, 0, 0, 1, 1),
    }
    assert out.splitlines()[-1].startswith(
        "no: 7 of the jobs that are there now cannot"
    )


def test_letters_that_were_no_jobs_do_not_count(
    filled: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are reported: as before, readable by now, or not written by flowd."""
    add(raw, "to", "x", to=DEAD)
    write('sender = "str?"', 'to = "str?"', 'subject = "str?"')
    assert preflight(filled) == 0
    out = capsys.readouterr().out
    assert "Email: 1 job died as undecodable, and can be read now" in out
    assert "`flowd dlq redrive` them, after the deploy" in out
    assert "still cannot be read: the dead letter was not written by flowd" in out
    assert table(out)["dead letters"] == (3, 1, 0, 0, 2)


def test_json_has_an_object_for_each_finding_and_each_place(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing else, so that a program reads every line."""
    write('priority = "u8"')
    assert preflight(filled, "--json", "--ids", "1") == 1
    printed = capsys.readouterr()
    found, before, *places = map(json.loads, printed.out.splitlines())
    (sample,) = found.pop("samples")
    assert found.pop("notes")
    assert found == {
        "path": "shop/email.py",
        "line": line_of("priority: int"),
        "severity": "breaking",
        "code": "UNREADABLE",
        "message": "Email.priority: 6 jobs cannot be read: required field is missing",
        "job": "Email",
        "stream": "emails",
        "group": "senders",
        "field": "priority",
        "reason": "required field is missing",
        "count": 6,
        "places": {"stream": 3, "delayed": 2, "dead letters": 1},
    }
    assert sample["place"] == "stream"
    assert sample["detail"] == "(fields present: 'to', 'subject')"
    assert before["severity"] == "note"
    assert places[2] == {
        "job": "Email",
        "stream": "emails",
        "group": "senders",
        "place": "dead letters",
        "seen": 2,
        "readable": 0,
        "newer": 0,
        "unreadable": 1,
        "undecodable_before": 1,
    }
    assert "no: 6 of the jobs" in printed.err


def test_github_shows_findings_at_their_lines(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What breaks is an error there, the rest a notice."""
    write('priority = "u8"')
    assert preflight(filled, "--github") == 1
    lines = capsys.readouterr().out.splitlines()
    place = "file=shop/email.py,line"
    assert [line.partition("::Email")[0] for line in lines] == [
        f"::error {place}={line_of('priority: int')},title=UNREADABLE",
        f"::notice {place}={line_of('priority: int')},title=UNDECODABLE_BEFORE",
    ]


def test_a_job_of_a_newer_version_waits(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not undecodable, whatever its fields: a newer worker takes it."""
    write()
    add(raw, "to", "x", "subject", "y")
    newer = add(raw, "recipient", "x", "_v", 2)
    assert preflight(redis_url) == 0
    out = capsys.readouterr().out
    assert "note[NEWER_VERSION]: Email._v: 1 job will wait for newer workers" in out
    assert f"  = stream {newer}\n" in out
    assert table(out) == {"stream": (2, 1, 1, 0, 0)}
    assert "can be read; 1 job will wait for newer workers (2" in out


def test_jobs_above_the_limits_are_reported(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of too many fields or bytes, in the stream and packed among the dead letters."""
    write()
    asyncio.run(_die_of_size(redis_url, raw))
    good = ("to", "x", "subject", "y")
    add(raw, *good, *many_fields(1_100))
    add(raw, *good, "more", b"x" * 300_000)
    assert preflight(redis_url) == 1
    out = capsys.readouterr().out
    assert "Email: 1 job cannot be read: the entry has 1102 fields; a job" in out
    assert "Email: 1 job cannot be read: the entry has more than 262144 bytes" in out
    assert "still cannot be read: the entry has 1302 fields; a job has 1000" in out
    assert table(out) == {
        "stream": (2, 0, 0, 2, 0),
        "dead letters": (1, 0, 0, 0, 1),
    }


async def _die_of_size(url: str, raw: Raw) -> None:
    add(raw, "to", "x", "subject", "y", *many_fields(1_300))
    await bury(url, STREAM)
    (letter,) = raw_letters(raw, STREAM)
    assert letter[0] == b"_packed"


def many_fields(number: int) -> list[str]:
    """Names and values of so many."""
    return [word for each in range(number) for word in (f"f{each}", "x")]


def test_a_worker_does_what_was_said(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same jobs, workers run those that can be read, and bury the others."""
    write('body = "str?"')
    for number in range(40):
        extra = ("_attempt", "x") if number % 8 == 7 else ("extra", number)
        subject = ("subject", b"\xff" if number % 5 == 4 else b"y")
        add(raw, "to", number, *extra, *(subject if number % 3 else ()))
    assert preflight(redis_url, "--json") == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    run: list[Email] = []
    asyncio.run(_work(redis_url, run))
    assert said["readable"] == len(run)
    assert said["unreadable"] == len(raw_letters(raw, STREAM))
    assert run
    assert said["unreadable"]


async def _work(url: str, run: list[Email]) -> None:
    async def note(job: Email) -> None:
        run.append(job)

    async with Queue(Email, note, url=url) as queue:
        queue.run()
        await queue.drain()


def test_a_limit_looks_at_the_first_of_each_place(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the answer says that it is about them."""
    write('priority = "u8"')
    assert preflight(filled, "--limit", "1", "--ids", "0") == 1
    out = capsys.readouterr().out
    assert table(out) == {
        "stream": (1, 0, 0, 1, 0),
        "delayed": (1, 0, 0, 1, 0),
        "dead letters": (1, 0, 0, 0, 1),
    }
    assert "= in emails: stream 1, delayed 1\nshop" in out
    assert "no: 2 of the jobs of the first 1 of each place cannot be read" in out
