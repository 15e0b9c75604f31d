"""`flowd jobs` and `flowd consumers`: see what runs and waits, and enqueue by hand."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path

import pytest

import jobs.email
from flowd import Gate, Item, Priority, Queue, Unique
from flowd.cli import main
from jobs.crawl import Crawl
from jobs.email import Email
from tests.house.sources import ROOT
from tests.support.dead_letters import bury
from tests.support.email_job import RecordingHandler, email
from tests.support.gated import gated
from tests.support.jobs.report import Report
from tests.support.leases import die_with, expire
from tests.support.program import Program
from tests.support.raw import Raw

GROUP = "senders"
LARGE = tuple(f"{name}={'x' * 100_000}" for name in ("to", "subject", "body"))


async def set_up(url: str, *queued: Email | Item[Email]) -> list[str]:
    """The queue `emails`, without workers, with these jobs; returns their ids."""
    async with Queue(Email, RecordingHandler(), url=url) as queue:
        return await queue.enqueue_bulk(queued)


async def test_list(flowd: Program, redis_url: str, raw: Raw) -> None:
    """A line for each job: what runs first, then what waits, then what is delayed."""
    delayed = Item(email("c"), delay=5_400.0)
    ids = await set_up(redis_url, email("a"), email("b"), delayed)
    die_with(raw, "emails", GROUP, jobs=1)
    done = flowd("jobs", "list", "--raw")
    assert (done.code, done.err) == (0, "")
    head, *lines = done.out.splitlines()
    assert head.split() == ["job", "state", "time", "attempt", "progress", "fields"]
    assert [line.split()[0] for line in lines] == ids
    assert [line.split()[1] for line in lines] == ["running", "waiting", "scheduled"]
    assert [line.split("  ")[-1] for line in lines] == [
        f"to={each} subject=hi" for each in "abc"
    ]
    assert " due in 1h" in lines[2]
    waiting = flowd("jobs", "list", "--state", "waiting", "--stream", "emails")
    assert waiting.out.splitlines()[1].split()[0] == ids[1]
    assert flowd("jobs", "list", "--state", "done").code == 2


async def test_list_is_limited(flowd: Program, redis_url: str) -> None:
    """A list that is cut says so; one that is empty as well."""
    await set_up(redis_url)
    none = flowd("jobs", "list", "--state", "running")
    assert (none.out, none.err) == ("", "no job is running in emails (senders)\n")
    later = Item(email("later"), delay=60.0)
    await set_up(redis_url, *map(email, "abc"), later)
    cut = flowd("jobs", "list", "-n", "2")
    assert (cut.out.count("\n"), "--limit 0" in cut.err) == (3, True)
    exact = flowd("jobs", "list", "-n", "4")
    assert (exact.out.count("\n"), exact.err) == (5, "")
    assert flowd("jobs", "list", "--limit", "0").out.count("\n") == 5
    assert flowd("jobs", "list", "--limit", "-1").code == 2


async def test_jobs_are_printed_as_json(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """Each job is a line with the same keys, and what is no text is base64."""
    await set_up(redis_url)
    raw("XADD", "emails", "*", "to", "ä", "x", b"\xff", b"\xfe", "y")
    job = json.loads(flowd("jobs", "list", "--json", "--raw").out)
    assert job["fields"] == {"to": "ä"}
    assert job["bytes"] == [["eA==", "/w=="], ["/g==", "eQ=="]]
    assert {*job} == {
        *("id", "state", "entry_id", "enqueued_at", "attempt", "deliveries", "age"),
        *("due_in", "consumer", "silent", "progress", "doing", "fields", "bytes"),
        *("error", "expires_at", "why"),
    }
    shown = json.loads(flowd("jobs", "show", job["id"], "--json", "--raw").out)
    assert shown | {"age": 0} == job | {"age": 0}


async def test_show(flowd: Program, redis_url: str, raw: Raw) -> None:
    """Everything about a job, by its id, and whether its class can read it."""
    (first,) = await set_up(redis_url, email("a"))
    shown = flowd("jobs", "show", first, "--job", "jobs.email:Email")
    assert shown.code == 0, shown.err
    for text in (first, "waiting", "  to = a\n", "as Email"):
        assert text in shown.out
    die_with(raw, "emails", GROUP, jobs=1)
    expire(raw, "emails", GROUP)
    running = flowd("jobs", "show", first).out
    assert "silent      1h00m" in running
    assert "consumer    dead\n" in running
    raw("XADD", "emails", "*", "to", "b", "_id", "1000-0", "_attempt", "2")
    poison = flowd("jobs", "show", "1000-0", "--job", "jobs.email:Email").out
    assert "decodes     no: Email.subject: required field is missing" in poison
    raw("XADD", "emails", "*", "to", "c", "subject", "hi", "_id", "2000-0", "_v", "2")
    later = flowd("jobs", "show", "2000-0", "--job", "jobs.email:Email").out
    assert "decodes     no: Email._v: the job is of version 2" in later


async def test_a_job_that_is_not_there(flowd: Program, redis_url: str) -> None:
    """It is said what that means, and how far the search went; the exit code is 1."""
    await set_up(redis_url, email())
    done = flowd("jobs", "show", "1-1", "--scan", "7")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "at most 7 were searched" in done.err
    assert "it has no dead letter" in done.err


async def test_enqueue(flowd: Program, redis_url: str, raw: Raw) -> None:
    """The class checks the values; what is printed is the job's id."""
    crawl = ("jobs", "enqueue", "jobs.crawl:Crawl")
    done = flowd(*crawl, "url=u=1", "priority=3", "tags=")
    assert done.code == 0, done.err
    ((entry, fields),) = raw.entries("crawl")
    assert done.out == f"{entry}\n"
    assert fields == {b"url": b"u=1", b"priority": b"3", b"tags": b""}
    given = {"url": "v", "priority": 4, "tags": "", "assigned_to": None}
    flowd(*crawl, "--fields", json.dumps(given))
    flowd(*crawl, "url=w", "--fields", "-", text=json.dumps(given))
    assert [fields[b"url"] for _, fields in raw.entries("crawl")] == [
        b"u=1",
        b"v",
        b"w",
    ]
    assert Crawl.from_fields(raw.entries("crawl")[2][1]).priority == 4


async def test_the_fields_of_a_letter_are_enqueued_again(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """What flowd wrote next to them is ignored; an unknown name is refused."""
    own = {"_key": "k", "_traceparent": "00-1", "_attempt": "4", "_at": "1", "_id": "x"}
    given = {"to": "anna", "subject": "hi", **own}
    words = ("jobs", "enqueue", "jobs.email:Email", "--fields", "-")
    done = flowd(*words, text=json.dumps(given))
    assert done.code == 0, done.err
    ((_, fields),) = raw.entries("emails")
    assert fields == {b"to": b"anna", b"subject": b"hi"}
    assert flowd(*words, text=json.dumps(given | {"too": "x"})).code == 2


async def test_an_older_job_is_enqueued_as_one_of_today(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """`_v` is honoured as a worker does; names that are typed are the newest ones."""
    second = {"customer": 9, "day": "2026-01-02", "format": "csv", "password": "abc"}
    enqueue = ("jobs", "enqueue", "tests.support.jobs.report:Report")
    app_dir = ("--app-dir", str(ROOT))
    given = (*app_dir, "--fields", "-")
    text = json.dumps(second | {"_v": "2"})
    done = flowd(*enqueue, 'formats=["pdf"]', *given, text=text)
    assert done.code == 0, done.err
    newest = ("customer=9", 'days=["2026-01-02"]', 'formats=["pdf"]', "token=abc")
    done = flowd(*enqueue, *newest, *app_dir)
    assert done.code == 0, done.err
    (_, first), (_, other) = raw.entries("report")
    assert first == other
    assert Report.from_fields(first).token == "abc"
    newer = flowd(*enqueue, *given, text=json.dumps(second | {"_v": "4"}))
    assert (newer.code, "is of version 4" in newer.err) == (2, True)


async def test_enqueue_once_and_later(flowd: Program, redis_url: str, raw: Raw) -> None:
    """With a key the same job is enqueued once, with a delay it waits."""
    words = ("jobs", "enqueue", "jobs.email:Email", "to=a", "subject=hi")
    first = flowd(*words, "--key", "order-17", "--delay", "1h30m", "--json").out
    assert flowd(*words, "--key", "order-17").out == f"{json.loads(first)['id']}\n"
    assert raw("XLEN", "emails") == 0
    assert raw("ZCARD", "{emails}:delayed") == 1


async def test_a_duplicate_is_said(
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """That no job was added, and whether the one that is there got the fields."""

    async def enqueue(subject: str, *more: str) -> tuple[str, str]:
        words = ("enqueue", "jobs.email:Email", f"to={again}", f"subject={subject}")
        arguments = ["jobs", *words, "--url", redis_url, *more]
        assert await asyncio.to_thread(main, arguments) == 0
        return capsys.readouterr()

    rules = (
        (Unique(fields=("to",)), "is queued or runs already"),
        (Unique(fields=("to",), again="last"), "got these fields"),
    )
    for rule, what in rules:
        again, job = rule.again, gated(Gate(unique=rule))
        monkeypatch.setattr("jobs.email.Email", job)
        first, said = await enqueue("1", "--json")
        assert said == ""
        job_id = json.loads(first)["id"]
        assert json.loads(first) == {
            "id": job_id,
            "duplicate": False,
            "replaced": False,
        }
        if again == "last":  # the first one is followed by another, which stays one
            job_id = (await enqueue("1"))[0].strip()
        same, said = await enqueue("2")
        assert same == f"{job_id}\n"
        assert f"a duplicate: job {job_id} {what}" in said
        shown = json.loads((await enqueue("3", "--json"))[0])
        assert shown == {"id": job_id, "duplicate": True, "replaced": again == "last"}


async def test_a_job_is_enqueued_with_a_level(
    redis_url: str,
    raw: Raw,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the schema's `priority`; another one is refused, and one where there is none."""
    words = ["jobs", "enqueue", "jobs.email:Email", "to=a", "subject=", "--priority"]

    async def enqueue(level: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, [*words, level, "--url", redis_url])
        return code, capsys.readouterr().err

    code, said = await enqueue("high")
    assert (code, "declares no priority" in said) == (2, True)
    job = gated(Gate(priority=Priority()))
    monkeypatch.setattr("jobs.email.Email", job)
    assert await enqueue("high") == (0, "")
    assert b"p:0 " in str(raw("HVALS", "{emails}:delayed:jobs")).encode()
    code, said = await enqueue("urgent")
    assert (code, "must be one of high, normal, low" in said) == (2, True)


def test_a_job_is_enqueued_for_a_moment(flowd: Program, raw: Raw) -> None:
    """With `--at` it is due at that moment of its time zone."""
    words = ("jobs", "enqueue", "jobs.email:Email", "to=a", "subject=hi")
    done = flowd(*words, "--at", "2050-05-01T08:00:00+02:00")
    assert done.code == 0, done.err
    due = raw("ZSCORE", "{emails}:delayed", done.out.strip())
    assert due == b"2534997600000"
    assert raw("XLEN", "emails") == 0


def test_a_job_is_enqueued_with_a_deadline(flowd: Program, raw: Raw) -> None:
    """With `--expires` it may start until then, which `show` says."""
    words = ("jobs", "enqueue", "jobs.email:Email", "to=a", "subject=hi")
    done = flowd(*words, "--delay", "10s", "--expires", "1m")
    assert done.code == 0, done.err
    shown = flowd("jobs", "show", done.out.strip(), "--stream", "emails").out
    assert "expires" in shown
    assert b"+70000" in bytes(raw("HGET", "{emails}:delayed:jobs", done.out.strip()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("too=a", "subject=hi"), "Email has no field 'too'; it has to, subject, body"),
        (("to=a",), "Email.subject: required field is missing"),
        (("to",), "'to'"),
        (("--fields", "{"), "--fields is not JSON"),
        (("--fields", "[]"), "--fields must be a JSON object"),
        (("to=a", "subject=hi", "--delay", "soon"), "--delay"),
        (("to=a", "subject=hi", "--at", "2031-05-01T08:00:00"), "--at"),
        (("to=a", "subject=hi", "--delay", "1s", "--at", "2031-05-01Z"), "--at"),
        (LARGE, "Email.to: the job has more than 262144 bytes"),
    ],
)
def test_a_job_that_cannot_be(
    flowd: Program, raw: Raw, words: tuple[str, ...], said: str
) -> None:
    """Nothing is enqueued, and the error says which value and why; the exit code is 2."""
    done = flowd("jobs", "enqueue", "jobs.email:Email", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err.splitlines()[-1]
    assert raw("EXISTS", "emails", "{emails}:delayed") == 0


async def test_secret_fields_are_hidden(
    flowd: Program, redis_url: str, tmp_path: Path
) -> None:
    """With the job class, a secret field is shown as `<secret>`, in errors as well."""
    source = inspect.getsource(jobs.email)
    (tmp_path / "mine").mkdir()
    flowd.write(
        "mine/email.py", source.replace("format=1", 'format=1, secrets=("body",)')
    )
    (first,) = await set_up(redis_url, Email(to="x", subject="y", body="hunter2"))
    for words in (("list",), ("list", "--json"), ("show", first)):
        done = flowd("jobs", *words, "--job", "mine.email:Email")
        assert "hunter2" not in done.out + done.err
        assert "<secret>" in done.out


async def test_a_secret_that_is_no_text_is_hidden(
    flowd: Program, redis_url: str, raw: Raw, tmp_path: Path
) -> None:
    """Nor is it shown as base64."""
    source = inspect.getsource(jobs.email)
    (tmp_path / "mine").mkdir()
    flowd.write(
        "mine/email.py", source.replace("format=1", 'format=1, secrets=("body",)')
    )
    await set_up(redis_url)
    raw("XADD", "emails", "*", "to", b"\xff", "body", b"\xfehunter2")
    done = flowd("jobs", "list", "--json", "--job", "mine.email:Email")
    job = json.loads(done.out)
    assert (job["fields"], job["bytes"]) == ({"body": "<secret>"}, [["dG8=", "/w=="]])


async def test_consumers(flowd: Program, redis_url: str, raw: Raw) -> None:
    """Who works, where, whether its leases hold, and what it runs."""
    none = flowd("consumers")
    assert (none.code, none.out) == (0, "no queue was set up on this server yet\n")
    first, second = await set_up(redis_url, email("a"), email("b"))
    assert flowd("consumers").out == "no worker reads any queue\n"
    raw("SET", "{emails}:delayed", "something else")
    for command in ("stats", "consumers"):
        unseen = flowd(command)
        assert (unseen.code, unseen.out) == (3, "")
        assert "`flowd doctor` names it" in unseen.err
    raw("DEL", "{emails}:delayed")
    die_with(raw, "emails", GROUP, jobs=1, name="web-1-77-0123abcd")
    expire(raw, "emails", GROUP)
    die_with(raw, "emails", GROUP, jobs=1, name="mine")
    table, runs = flowd("consumers").out.split("\n\n")
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == [
        *("stream", "consumer", "state", "slots", "silent"),
        *("lease", "host", "pid", "job", "flowd"),
    ]
    assert rows[1][:4] == ["emails", "mine", "dead", "1"]
    assert rows[2][:3] == ["emails", "web-1-77-0123abcd", "dead"]
    assert rows[2][-5:] == ["-", "web-1", "77", "-", "-"]
    assert {line.split()[0] for line in runs.splitlines()[1:]} == {first, second}
    found = json.loads(flowd("consumers", "--json").out)
    assert [each["state"] for each in found] == ["dead", "dead"]
    assert (found[1]["host"], found[1]["pid"]) == ("web-1", 77)
    assert found[1]["runs"][0]["id"] == first


async def test_stats_shows_who_runs_what(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """Under the queues are the workers, then a line for each job, and how many more run."""
    ids = await set_up(redis_url, *[email(str(number)) for number in range(12)])
    die_with(raw, "emails", GROUP, jobs=12)
    queues, consumers, jobs = flowd("stats").out.split("\n\n")
    assert queues.count("\n") == 1
    assert queues.endswith("and no worker claims them: 12 jobs")
    assert consumers.splitlines()[1].split()[:3] == ["emails", "dead", "dead"]
    _, *rows, more = jobs.splitlines()
    assert [row.split()[0] for row in rows] == ids[:10]
    assert more == "… and 2 more run: flowd jobs list --state running"


async def test_stats_shows_only_queues_with_a_problem(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """With `--problems`, which then exits with 1."""
    async with Queue(Email, print, url=redis_url, stream="well"):
        pass
    calm = flowd("stats", "--problems")
    assert (calm.code, calm.out) == (0, "no problem in 1 queue\n")
    await set_up(redis_url, email())
    found = flowd("stats", "--problems")
    assert found.code == 1
    (row,) = found.out.splitlines()[1:]
    assert row.startswith("emails ")
    assert row.endswith("  no worker reads what waits: 1 job")
    (queue,) = json.loads(flowd("stats", "--problems", "--json").out)
    assert queue["problems"] == [
        {"level": "wrong", "text": "no worker reads what waits: 1 job"}
    ]
    whole = flowd("stats")
    assert [line.split()[0] for line in whole.out.splitlines()[1:]] == [
        "emails",
        "well",
    ]


async def test_show_finds_the_dead_letter_of_a_job(
    flowd: Program, redis_url: str
) -> None:
    """A job that is dead is shown as such, by its own id and by that of its letter."""
    (job_id,) = await bury(redis_url, "emails", Email(to="anna", subject="hi"))
    done = flowd("jobs", "show", job_id, "--raw")
    assert done.code == 0, done.err
    assert "state       dead\n" in done.out
    assert "  to = anna\n" in done.out
    letter = json.loads(flowd("jobs", "show", job_id, "--json", "--raw").out)
    assert letter["job_id"] == job_id
    again = flowd("jobs", "show", letter["id"], "--raw")
    assert again.out == done.out


async def test_a_broken_queue_hides_no_other(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """The others are shown, the error names the queue, and the exit code is 3."""
    await set_up(redis_url, email())
    raw("SADD", "flowd:queues", "broken\nworkers")
    raw("SET", "broken", "not a stream")
    done = flowd("stats")
    assert done.code == 3
    assert done.out.splitlines()[1].split()[:3] == ["emails", GROUP, "1"]
    assert done.err.startswith("flowd: error: broken (workers): ")


async def test_the_queue_must_be_clear(flowd: Program, redis_url: str) -> None:
    """One of several has to be named; where there is none, the error says so."""
    none = flowd("jobs", "list")
    assert (none.code, "no queue was set up on this server" in none.err) == (2, True)
    await set_up(redis_url)
    async with Queue(Crawl, print, url=redis_url):
        pass
    several = flowd("dlq", "list")
    assert (several.code, "crawl, emails" in several.err) == (2, True)
    grouped = flowd("dlq", "list", "--group", "strangers")
    assert grouped.code == 2
    assert "no queue of the group strangers was set up on this server" in grouped.err
    assert flowd("jobs", "list", "--stream", "crawl").code == 0
