"""What a terminal gets: drawn where it is one, and never control characters of a job."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flowd import Queue
from flowd.cli import main
from flowd.cli.output import blocks_that_fit, print_blocks, span
from flowd.cli.table import Table
from jobs.email import Email
from tests.support.email_job import RecordingHandler
from tests.support.leases import die_with
from tests.support.program import LIMIT, Program
from tests.support.raw import Raw

# Erase, colour, title, right-to-left, C1, a line of its own, and rich's own markup.
EVIL = "\x1b[2J\x1b]0;t\x07\u202e\u2066\x9b31m\r\nwarn [red]x[/red]"
OBEYED = set("\x1b\x07\x9b\r\u202e\u2066")
HARM = ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e", "\u2066")
PYTHON = shlex.quote(sys.executable)
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def on_terminal(
    program: Program, *words: str, typed: str = "", code: int = 0, **environment: str
) -> str:
    """Run the command on a terminal of its own; returns what it wrote there."""
    here, there = pty.openpty()
    os.write(here, typed.encode())
    process = subprocess.Popen(
        [sys.executable, "-m", "flowd", *words],
        cwd=program.folder,
        env=os.environ
        | {"FLOWD_URL": program.url, "TERM": "xterm-256color", "COLUMNS": "200"}
        | environment,
        stdin=there,
        stdout=there,
        stderr=there,
    )
    os.close(there)
    written = b""
    while select.select([here], [], [], LIMIT)[0]:
        try:
            written += os.read(here, 65_536)
        except OSError:  # how Linux reports that no writer is left
            break
    os.close(here)
    assert process.wait(LIMIT) == code, written
    return written.decode()


async def set_up(url: str, raw: Raw, text: str) -> None:
    """Jobs that run, wait, are delayed and died, all with this text in every place."""
    async with Queue(Email, RecordingHandler(), url=url):
        pass
    fields = ("to", text, text, text)
    raw("XADD", "emails", "*", *fields)
    die_with(raw, "emails", "senders", jobs=1, name=f"c-{text}")
    raw("XADD", "emails", "*", *fields, "_id", text, "_at", text)
    raw("ZADD", "{emails}:delayed", 1, text)
    own = ("id", "reason", "error", "traceback", "attempts", "deliveries", "enqueued")
    letter = [word for name in (*own, "consumer") for word in (f"_dlq_{name}", text)]
    raw("XADD", "{emails}:senders:dlq", "*", *fields, *letter)


def missing(_: str) -> None:
    """Instead of `find_spec`, where an extra is not installed."""


COMMANDS = [
    ("stats",),
    ("consumers",),
    ("jobs", "list"),
    ("jobs", "show", EVIL),
    ("jobs", "show", EVIL, "--job", "jobs.email:Email"),
    ("dlq", "list"),
    ("dlq", "redrive", "--all", "--dry-run"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: "-".join(words[:2]))
async def test_text_of_others_is_harmless(
    flowd: Program, redis_url: str, raw: Raw, words: tuple[str, ...]
) -> None:
    """Ids, names, values and errors are shown as escapes, on a terminal and in a pipe."""
    await set_up(redis_url, raw, EVIL)
    done = flowd(*words)
    assert done.code == 0, done.err
    assert not OBEYED & set(done.out + done.err)
    assert "\\x1b[2J" in done.out or words == ("stats",)
    assert not any(line.startswith("warn") for line in done.out.splitlines())

    drawn = COLOUR.sub("", on_terminal(flowd, *words)).replace("\r\n", "\n")
    assert not OBEYED & set(drawn)
    assert "[red]x[/red]" in drawn.replace("\n", "") or words[0] in (
        "stats",
        "consumers",
    )


@pytest.mark.parametrize("words", [*COMMANDS, ("dlq", "export", "--raw")])
async def test_json_is_ascii(
    flowd: Program, redis_url: str, raw: Raw, words: tuple[str, ...]
) -> None:
    """Programs get the text as it is, and a terminal nothing that it obeys."""
    await set_up(redis_url, raw, EVIL)
    done = flowd(*words, "--json")
    assert done.code == 0, done.err
    assert done.out.isascii()
    assert not OBEYED & set(done.out)
    lines = done.out.splitlines()
    documents = [done.out] if lines[0] in ("[", "{") else lines
    assert all(json.loads(each) is not None for each in documents)


async def test_large_values_are_cut(flowd: Program, redis_url: str, raw: Raw) -> None:
    """A value of a megabyte is a few lines, and whole in an export."""
    await set_up(redis_url, raw, "x" * 1_000_000)
    letter = flowd("dlq", "list").out.splitlines()[1].split()[0]
    waiting = json.loads(
        flowd("jobs", "list", "--state", "waiting", "--json", "--raw").out
    )
    for words, most in (
        (("stats",), 3_000),
        (("jobs", "list"), 2_500),
        (("dlq", "list"), 1_500),
        (("jobs", "show", waiting["entry_id"]), 60_000),
        (("dlq", "show", letter), 100_000),
    ):
        done = flowd(*words)
        assert done.code == 0, done.err
        assert 0 < len(done.out) < most, words
    assert len(waiting["fields"]["to"]) == 1_000_000
    assert (
        len(json.loads(flowd("dlq", "export", "--raw").out)["fields"]["to"])
        == 1_000_000
    )


async def test_a_purge_asks(flowd: Program, redis_url: str, raw: Raw) -> None:
    """It says how many letters of which queue, and only a yes deletes them."""
    await set_up(redis_url, raw, "anna")
    purge = ("dlq", "purge", "--all")
    asked = on_terminal(flowd, *purge, typed="n\n", code=2)
    assert "Delete 1 dead letter of emails (senders) for good? [y/N]" in asked
    assert "nothing was deleted" in asked
    assert "Delete 0 " in on_terminal(
        flowd, *purge, "--field", "to=bert", typed="\n", code=2
    )
    assert raw("XLEN", "{emails}:senders:dlq") == 1
    assert "1 job deleted" in on_terminal(flowd, *purge, typed="y\n")
    assert raw("XLEN", "{emails}:senders:dlq") == 0


async def test_colours_only_on_a_terminal(flowd: Program, redis_url: str) -> None:
    """And not where NO_COLOR is set; the words are the same."""
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        await queue.enqueue(Email(to="a", subject="s"))
    coloured = on_terminal(flowd, "stats")
    plain = on_terminal(flowd, "stats", NO_COLOR="1").replace("\r\n", "\n")
    assert re.search(r"\x1b\[[\d;]*1m", coloured)
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", plain)
    assert (
        AGE.sub("", COLOUR.sub("", plain)).split()
        == AGE.sub("", flowd("stats").out).split()
    )


def test_tables_are_plain_text_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal too: columns that fit, numbers under each other, text of others safe."""
    monkeypatch.setattr("flowd.cli.output.find_spec", missing)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    rows = [["a", "1,000"], ["long\x1b[2J", "2"]]
    print_blocks([Table(["name", "n"], rows, {"n"}), "and\x07 a line"])

    assert capsys.readouterr().out.splitlines() == [
        "name             n",
        "a            1,000",
        "long\\x1b[2J      2",
        "and\\x07 a line",
    ]


async def test_an_export_has_a_bar_on_standard_error_only(
    flowd: Program, redis_url: str, raw: Raw, tmp_path: Path
) -> None:
    """What goes to a file is the letters, whole lines, though a bar is drawn."""
    await set_up(redis_url, raw, "anna")
    target = tmp_path / "letters.jsonl"
    shell = f"{PYTHON} -m flowd dlq export --raw > {shlex.quote(str(target))}"
    here, there = pty.openpty()
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", shell],
        env=os.environ | {"FLOWD_URL": redis_url, "TERM": "xterm"},
        stderr=there,
        check=False,
    )
    os.close(there)
    drawn = os.read(here, 65_536)
    os.close(here)

    assert done.returncode == 0
    assert b"exporting" in drawn
    assert json.loads(target.read_text())["fields"]["to"] == "anna"


async def test_lines_under_a_bar_keep_their_length(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """What is copied from a narrow terminal is the JSON that was printed."""
    await set_up(redis_url, raw, "long " * 40)
    words = ("dlq", "list", "--error", "long", "--json", "--raw")
    shown = COLOUR.sub("", on_terminal(flowd, *words, COLUMNS="60"))
    whole = flowd(*words).out.strip()
    assert whole in shown


async def test_a_terminal_that_cannot_be_drawn_on(
    flowd: Program, redis_url: str
) -> None:
    """It gets plain text, as a pipe does, and nothing that waits for the end."""
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        await queue.enqueue(Email(to="a", subject="s"), delay=600.0)
    shown = on_terminal(flowd, "stats", TERM="dumb").replace("\r\n", "\n")
    assert NEXT.sub("", shown) == NEXT.sub("", flowd("stats").out)


NEXT = re.compile(r" +(?:9m\d\ds|10m00s|problem)")
AGE = re.compile(r"[\d.]+ s\b")
IDS = re.compile(r"\d{13}-\d+|[0-9a-f]{32}")


@pytest.mark.parametrize("words", [("stats",), ("consumers",), ("jobs", "list")])
async def test_narrow_terminal_folds_and_cuts_no_id(
    flowd: Program, redis_url: str, raw: Raw, words: tuple[str, ...]
) -> None:
    """At 80 columns every line fits and has whole ids; long texts are cut, columns go."""
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        jobs = [Email(to="x" * 100, subject="s") for _ in range(4)]
        ids = await queue.enqueue_bulk(jobs)
        later = await queue.enqueue(jobs[0], delay=600.0)
    die_with(
        raw, "emails", "senders", jobs=3, name="worker-of-a-long-name-12345-1a2b3c4d"
    )
    raw("HSET", "{emails}:senders:progress", ids[0], "0.5 " + "parsing " * 30)
    drawn = COLOUR.sub("", on_terminal(flowd, *words, COLUMNS="80")).replace("\r", "")
    lines = drawn.splitlines()
    assert max(map(len, lines)) <= 80, drawn
    expected = [*ids[:3]] if words[0] != "jobs" else [*ids, later]
    assert [each for line in lines for each in IDS.findall(line)] == expected
    if words[0] != "jobs":
        assert "worker-of-a-long-name-12345-1a2b3c4d" in drawn
    assert "…" in drawn
    if words[0] != "jobs":  # a list cuts what a job says of itself in a pipe as well
        assert "…" not in flowd(*words).out.replace("… and", "")


def test_rows_that_a_screen_has_no_room_for_are_counted() -> None:
    """The longest table loses most, and the first rows stay, which are the worst."""
    queues = Table(["stream"], [[str(number)] for number in range(50)])
    workers = Table(["consumer"], [["a"], ["b"]])
    fitted = blocks_that_fit([queues, workers, "a fault"], 20)
    first, more, second, fault = fitted
    assert isinstance(first, Table)
    assert [row[0] for row in first.rows] == [str(number) for number in range(12)]
    assert (more, second, fault) == ("… and 38 more", workers, "a fault")
    assert blocks_that_fit([workers], 20) == [workers]


async def in_shell(url: str, words: str) -> tuple[int, str]:
    """Run a command as a shell does; returns its exit code and its standard error."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", f"{PYTHON} -m flowd {words}"],
        env=os.environ | {"FLOWD_URL": url},
        capture_output=True,
        check=False,
        text=True,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", ["stats", "jobs list --json", "doctor"])
async def test_a_full_disk(redis_url: str, words: str) -> None:
    """What cannot be printed is an error in one line, and not a traceback."""
    async with Queue(Email, RecordingHandler(), url=redis_url) as queue:
        await queue.enqueue(Email(to="anna", subject="x"))
    said = (
        "flowd: error: failed to write the output: [Errno 28] No space left on device\n"
    )
    assert await in_shell(redis_url, f"{words} > /dev/full") == (3, said)


async def test_command_works_with_a_closed_output(redis_url: str) -> None:
    """A command whose output was closed before it began works, and shows nothing."""
    async with Queue(Email, RecordingHandler(), url=redis_url):
        pass
    assert await in_shell(redis_url, "stats >&-") == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "show", "\udcff"),
        ("jobs", "list", "--stream", "\udcff", "--group", "g"),
        ("dlq", "list", "--field", "to=\udcff", "--job", "jobs.email:Email"),
        ("jobs", "enqueue", "jobs.email:Email", "to=\udcff", "subject=x"),
        ("jobs", "enqueue", "jobs.email:Email", "--fields", '{"to":"\\ud800"}'),
    ],
    ids=lambda words: "-".join(words[:3]),
)
async def test_words_that_are_no_text(
    redis_url: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Bytes that are not UTF-8 are wrong usage, in one line."""
    async with Queue(Email, RecordingHandler(), url=redis_url):
        pass
    assert await asyncio.to_thread(main, (*words, "--url", redis_url)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be encoded as UTF-8" in line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1m00s"),
        (3_599.6, "1h00m"),
        (86_399.0, "23h59m"),
        (90_000.0, "1d01h"),
        (-65.0, "-1m05s"),
        (60.0 * 86_400 * 365, "21,900d00h"),
    ],
)
def test_times_are_short(seconds: float | None, shown: str) -> None:
    """Two units, the larger ones; what is overdue has a minus."""
    assert span(seconds) == shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """Every command and its verbs are among the words that a shell completes."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("stats", "consumers", "jobs", "enqueue", "redrive", "doctor", "newer"):
        assert word in script


def test_completion_in_a_shell(tmp_path: Path) -> None:
    """What bash is given makes it complete the beginning of a word."""
    program = (
        f'eval "$({PYTHON} -m flowd completion bash)";'
        "COMP_WORDS=(flowd dlq red); COMP_CWORD=2; COMP_LINE='flowd dlq red';"
        "COMP_POINT=13; _shtab_flowd; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["redrive"]


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("completion", "bash"), "pip install shtab"),
        (("run", "workers:queue", "--reload"), "pip install watchfiles"),
        (("run", "jobs.email:Email", "--metrics-port", "0"), "pip install prometheus"),
    ],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    extra: str,
) -> None:
    """What needs an extra says which, and how to install it."""
    monkeypatch.setattr("flowd.cli.completion.find_spec", missing)
    monkeypatch.setattr("flowd.cli.run.find_spec", missing)
    assert main(words) == 2
    assert extra in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        *(
            "",
            "stats",
            "consumers",
            "tail",
            "jobs",
            "jobs list",
            "jobs show",
            "jobs enqueue",
        ),
        *("dlq", "dlq list", "dlq show", "dlq export", "dlq redrive", "dlq purge"),
        *("run", "doctor", "preflight", "exporter", "completion"),
    ],
)
def test_help_has_examples(capsys: pytest.CaptureFixture[str], words: str) -> None:
    """The help of every command shows how it is used; none of the examples is wrong."""
    with pytest.raises(SystemExit, match="0"):
        main([*words.split(), "--help"])
    shown = capsys.readouterr().out
    assert f"  flowd {words}" in shown or words == "completion"
    assert "$(flowd completion bash)" in shown or words != "completion"
