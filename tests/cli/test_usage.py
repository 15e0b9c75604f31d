"""Words on the command line that cannot be read: the message says what to write."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from flowd import Producer, Queue
from flowd.cli import main
from flowd.cli.options import Parser, pair
from jobs.crawl import Crawl
from jobs.email import Email
from tests.support.program import Program
from tests.support.raw import Raw

WORKERS = """
import sys
from flowd import Queue
from jobs.email import Email

async def send(email: Email) -> None:
    print("sent", email.subject, file=sys.stderr, flush=True)

queues = [Queue(Email, send)]
"""


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("jobs enqueue m:J --at 2027-01-01T00:00:00", "as 2027-01-01T00:00:00Z"),
        ("jobs enqueue m:J --at 2027-01-01", "as 2027-01-01T00:00:00Z"),
        ("jobs enqueue m:J --at tomorrow", "as 2027-01-01T00:00:00Z"),
        ("jobs enqueue m:J --delay soon", "as 90s, 15m, 2h or 7d"),
        ("jobs enqueue m:J to", "as to=a@b.c"),
        ("jobs enqueue m:J =x", "as to=a@b.c"),
        ("dlq list --newer 1x", "as 90s, 15m, 2h or 7d"),
        ("dlq list --older=-1", "as 90s, 15m, 2h or 7d"),
        ("dlq list --field to", "as to=a@b.c"),
        ("dlq list --limit many", "as 0, 1 or 1000"),
        ("dlq redrive --all --rate fast", "as 50/s"),
        ("dlq redrive --all --rate 5/x", "as 50/s"),
        ("dlq redrive --all --rate 0", "as 50/s"),
        ("dlq redrive --all --set to", "as to=a@b.c"),
        ("stats --watch often", "as 90s, 15m, 2h or 7d"),
        ("run m:q --grace inf", "as 90s, 15m, 2h or 7d"),
        ("run m:q --metrics-port http", "as 9000"),
        ("run m:q --metrics-port 65536", "as 9000"),
        ("web --port http", "as 9000"),
        ("web --port 65536", "as 9000"),
        ("jobs enqueue m:J {}", "give JSON with --fields"),
        ("run m:q --processes all", "as 4 or auto"),
        ("run m:q --max-jobs 0", "as 1 or 1000"),
        ("run m:q --max-rss big", "as 500M or 2G"),
        ("run m:q --max-age 0", "as 90m or 12h"),
    ],
)
def test_a_value_that_cannot_be_read_shows_how_to_write_it(
    flowd: Program, words: str, advice: str
) -> None:
    """The message names the option, and shows a value that the option takes."""
    done = flowd(*words.split(), url="")
    said = done.err.splitlines()[-1]
    assert done.code == 2
    assert "error: argument " in said
    assert advice in said
    assert "invalid" not in said


@pytest.mark.parametrize(
    ("words", "usage", "message"),
    [
        ("stats --strem x", "flowd stats", "--strem x; did you mean --stream?"),
        ("dlq list --strem=x", "flowd dlq list", "=x; did you mean --stream?"),
        ("run a:b c", "flowd run", "unrecognized arguments: c"),
        ("run a:b -c 9", "flowd run", "sets it: Queue(..., concurrency=20)"),
        ("dlq list crawls", "flowd dlq list", "did you mean --stream crawls?"),
        ("pause --stream a", "flowd pause", "; STREAM is given without --stream"),
        (
            "jobs enqueue --job m:J to=x",
            "flowd jobs enqueue",
            "; MODULE:CLASS is given without --job",
        ),
    ],
)
def test_an_unknown_option_shows_the_usage_of_its_command(
    flowd: Program, words: str, usage: str, message: str
) -> None:
    """Not that of `flowd`, which lists commands only; the nearest option is named."""
    done = flowd(*words.split(), url="")
    assert done.code == 2
    assert done.err.startswith(f"usage: {usage} ")
    assert done.err.endswith(f"{message}\n")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("stat", "'stats'"),
        ("redrive", "'dlq redrive'"),
        ("enqueue", "'jobs enqueue'"),
        ("cancel", "'jobs cancel'"),
        ("list", "'jobs list' or 'dlq list' or 'cron list'"),
    ],
)
def test_an_unknown_command_names_those_that_have_such_a_verb(
    flowd: Program, word: str, meant: str
) -> None:
    """`enqueue` is a verb of `jobs`, and not `queue` misspelt."""
    done = flowd(word, url="")
    assert done.code == 2
    assert done.err.endswith(f"; did you mean {meant}?\n")


@pytest.mark.parametrize("several", ["*", "+"])
@pytest.mark.parametrize(
    "words",
    [
        "crawls --url U customer=7 region=eu",
        "crawls customer=7 --url U region=eu",
        "--url U crawls customer=7 region=eu",
        "crawls customer=7 region=eu --url U",
    ],
)
def test_options_may_stand_between_words(words: str, several: str) -> None:
    """A command takes all of its words, wherever its options stand."""
    parser = Parser()
    parser.add_argument("queue")
    parser.add_argument("values", nargs=several, type=pair)
    parser.add_argument("--url")
    options = parser.parse_args(words.split())
    assert (options.queue, options.url) == ("crawls", "U")
    assert options.values == [("customer", "7"), ("region", "eu")]


def test_a_word_behind_an_option_is_checked(flowd: Program) -> None:
    """As those ahead of it, in the words of its argument."""
    done = flowd("jobs", "enqueue", "a:b", "--url", "redis://127.0.0.1:1", "to", url="")
    assert done.code == 2
    assert "argument NAME=VALUE" in done.err
    assert "as to=a@b.c" in done.err


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
async def test_run_takes_the_url_of_queues_without_one(
    flowd: Program, redis_url: str, options: tuple[str, ...]
) -> None:
    """`--url` goes before FLOWD_URL, also in the processes that a parent starts."""
    flowd.write("workers.py", WORKERS)
    async with Producer(redis_url) as producer:
        await producer.enqueue(Email(to="x", subject="hi"))
    words = ("run", "workers:queues", "--burst", "--url", redis_url, *options)
    done = flowd(*words, url="redis://127.0.0.1:1")
    assert done.code == 0, done.err
    assert "sent hi" in done.err


def test_run_refuses_a_wrong_url_first(flowd: Program) -> None:
    """Before the user's module is imported; the exit code is that of wrong usage."""
    flowd.write("workers.py", "raise SystemExit('imported')")
    done = flowd("run", "workers:queues", "--url", "http://localhost")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "redis://" in done.err


@pytest.mark.parametrize(
    ("reference", "advice"),
    [
        ("workers:queue", "did you mean 'queues'?"),
        ("workers.py:queues", "must be MODULE:NAME, as workers:queues"),
        ("./workers.py:queues", "must be MODULE:NAME, as workers:queues"),
        ("app/inner.py:queues", "must be MODULE:NAME, as app.inner:queues"),
        ("app.inner.py:queues", "must be MODULE:NAME, as app.inner:queues"),
        ("app/inner:queues", "must be MODULE:NAME, as app.inner:queues"),
    ],
)
def test_a_reference_that_is_nearly_right_is_corrected(
    flowd: Program, tmp_path: Path, reference: str, advice: str
) -> None:
    """A misspelt name and the path of a file are answered with what was meant."""
    (tmp_path / "app").mkdir()
    flowd.write("workers.py", "queues = []")
    flowd.write("app/inner.py", "queues = []")
    done = flowd("run", reference)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert advice in done.err


def test_preflight_corrects_the_path_of_a_module(
    flowd: Program, tmp_path: Path
) -> None:
    """`jobs/email.py` is answered with `jobs.email`."""
    (tmp_path / "mine").mkdir()
    flowd.write("mine/email.py", "")
    done = flowd("preflight", "mine/email.py")
    assert done.code == 2
    assert "must be a package or module, as mine.email" in done.err


@pytest.mark.parametrize("command", ["dlq show", "dlq redrive", "jobs show"])
@pytest.mark.parametrize("name", ["123", "abc", "<1-1>"])
def test_an_id_that_is_none_is_explained(
    flowd: Program, raw: Raw, command: str, name: str
) -> None:
    """The message shows how ids look, and which command prints them."""
    raw("SADD", "flowd:queues", "emails\nsenders")
    done = flowd(*command.split(), name)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "this is no id; ids are like 1795537402210-0, 2edec4b2… (32 dig" in done.err
    assert "cron:NAME:…, and `list`" in done.err
    for known in ("1-1", "8f14e45fceea467a9d4b3a1a4b7c1f2d", "cron:nightly:now"):
        assert "this is no id" not in flowd(*command.split(), known).err


async def test_stats_of_one_stream_leaves_out_the_others(
    flowd: Program, redis_url: str
) -> None:
    """`--stream` filters both tables of `stats` and `consumers`, in text and in JSON."""
    async with Queue(Crawl, print, url=redis_url), Queue(Email, print, url=redis_url):
        pass
    for command in ("stats", "consumers"):
        assert "crawl" not in flowd(command, "--stream", "emails").out
    done = flowd("stats", "--stream", "emails", "--json")
    assert [queue["stream"] for queue in json.loads(done.out)] == ["emails"]
    assert flowd("consumers", "--stream", "emails", "--json").out == "[]\n"


@pytest.mark.parametrize("words", [("stats",), ("stats", "--watch"), ("consumers",)])
def test_stats_of_an_unknown_stream_says_so(
    flowd: Program, words: tuple[str, ...]
) -> None:
    """A misspelt stream is not shown as an empty server."""
    done = flowd(*words, "--stream", "email")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "no queue on stream email was set up" in done.err


@pytest.mark.parametrize(
    "words",
    [
        *(
            "stats",
            "consumers",
            "tail",
            "top",
            "doctor",
            "preflight",
            "keep",
            "exporter",
            "run",
        ),
        *("jobs", "jobs list", "jobs show", "jobs enqueue", "dlq", "dlq list"),
        *("cron", "cron list", "cron pause", "cron run"),
    ],
)
def test_a_description_reads_as_the_documentation_needs_it(
    capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """In a paragraph only what continues the item of a list is indented.

    The site is built of these texts, where other indentation is an error.
    """
    with pytest.raises(SystemExit, match="0"):
        main([*words.split(), "--help"])
    _, *blocks = capsys.readouterr().out.split("\n\n")
    checked = 0
    for block in blocks:
        if re.match(r"[a-zA-Z ()]+:\n  ", block):  # the options begin
            break
        for before, line in pairwise(block.splitlines()):
            deeper = len(line) - len(line.lstrip()) > len(before) - len(before.lstrip())
            assert not deeper or before.startswith("- "), line
        assert not block.startswith("  "), block
        checked += 1
    assert checked
