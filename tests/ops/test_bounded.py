"""No command of an operator asks for more than a page, however many jobs there are."""

from __future__ import annotations

import shlex
from typing import Final

import pytest

from flowd.cli import main
from tests.ops.many import GROUP, STREAM, fill
from tests.support.raw import Raw

JOBS: Final = 3_000
PAGE: Final = 1_000
FIRST_PAGE: Final = 320
"""Commands, those within scripts as well: two for each job of a page, and some more."""

COMMANDS: Final = [
    "stats",
    "stats --json",
    "consumers",
    "jobs list",
    "jobs list --json",
    "jobs list --state waiting",
    "jobs list --state running",
    "jobs list --state delayed",
    "jobs show job2999",
    "dlq list",
    "dlq list --json",
    "dlq list --newer 1h",
    "dlq list --older 1h",
    "doctor",
]

SCANS: Final = [
    "jobs list --limit 0",
    "jobs show not-there --scan 0",
    "dlq list --error not-there",
    "dlq list --limit 0 --field subject=hi",
    "dlq summary",
    "dlq summary --scan 0 --newer 1h --field subject=hi",
    "dlq export --raw",
    "dlq redrive --all --dry-run",
    "dlq redrive --all --error not-there",
    "dlq purge --all --yes --field to=not-there",
]

# Each takes as long with a million jobs as with one.
HARMLESS: Final = {
    *("ACL", "AUTH", "CLIENT", "CONFIG", "INFO", "TIME", "EVAL", "EVALSHA", "SELECT"),
    *("XLEN", "ZCARD", "ZSCORE", "HGET", "HMGET", "HEXISTS", "GET", "EXISTS", "XINFO"),
}


def is_bounded(command: str, *words: str) -> bool:
    """Whether its answer cannot have more than a page."""
    match command.upper(), words:
        case "SMEMBERS", ["flowd:queues"]:
            return True
        case "XPENDING", [_, _]:
            return True
        case "XPENDING", [_, _, first, last, count, *_]:
            return first == last or int(count) <= PAGE
        case "XRANGE" | "XREVRANGE", [_, first, last]:
            return first == last
        case "XRANGE" | "XREVRANGE", [_, _, _, option, count]:
            return option.upper() == "COUNT" and int(count) <= PAGE
        case "ZRANGE", [_, first, last, *_]:
            return 0 <= int(last) - int(first) < PAGE and int(first) >= 0
        case name, _:
            return name in HARMLESS


def commands_of(line: str, url: str, watcher: Raw) -> list[list[str]]:
    """What the server is asked, in scripts as well, while a command runs."""
    assert main([*line.split(), "--url", url]) in (0, 1)
    with Raw(url) as raw:
        raw("ECHO", "that was it")
    seen: list[list[str]] = []
    while True:
        words = shlex.split(
            watcher.line().decode("utf-8", "replace").partition("] ")[2]
        )
        if words == ["ECHO", "that was it"]:
            return seen
        seen.append(words)


@pytest.mark.parametrize("line", [*COMMANDS, *SCANS])
def test_every_question_has_a_limit(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """KEYS and ranges without an end are never sent; a first page takes few commands."""
    fill(raw, JOBS, running=500)
    with Raw(redis_url) as watcher:
        watcher("MONITOR")
        seen = commands_of(line, redis_url, watcher)

    assert len(seen) > 3
    assert [words for words in seen if not is_bounded(*words)] == []
    if line in COMMANDS:
        assert len(seen) < FIRST_PAGE
    assert raw("XLEN", STREAM) == JOBS
    assert raw("XLEN", f"{{{STREAM}}}:{GROUP}:dlq") == JOBS
    assert "not-there" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "most"),
    [
        (
            "dlq list -n 2 --newer 1h",
            3,
        ),  # one behind the last shows that there are others
        ("dlq list --error ValueError --scan 7", 7),
        ("dlq export -n 2 --raw", 2),
        ("dlq purge --all --yes -n 2", 2),
        ("dlq export -n 2 --raw --error ValueError", 100),
    ],
)
def test_no_more_letters_are_read_than_can_be_meant(
    redis_url: str, raw: Raw, line: str, most: int
) -> None:
    """Each may be large; where each has to be looked at, a page is."""
    fill(raw, 150, running=10)
    with Raw(redis_url) as watcher:
        watcher("MONITOR")
        seen = commands_of(line, redis_url, watcher)
    assert {words[5] for words in seen if words[0] == "XRANGE"} == {f"{most}"}


@pytest.mark.parametrize(
    "line",
    [
        "KEYS *",
        "SCAN 0",
        "XRANGE s - +",
        "XRANGE s - + COUNT 100000",
        "XPENDING s g - + 100000",
        "ZRANGE z 0 -1",
        "HGETALL h",
        "SMEMBERS s",
        "LRANGE l 0 -1",
    ],
)
def test_unbounded_command_is_detected(line: str) -> None:
    """The judge above is one."""
    assert not is_bounded(*line.split())
