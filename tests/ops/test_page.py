"""The pages on operations name what the log and the doctor say."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final, cast, get_args

import pytest

from flowd import Concurrency, Gate, Queue
from flowd.cli import command_line, main
from flowd.cli.output import as_json
from flowd.model.event import EventName
from flowd.ops.tail import TailEvent
from tests.house.sources import ROOT, RUNTIME, modules
from tests.ops.many import GROUP, STREAM, fill
from tests.ops.page import OPERATIONS
from tests.ops.test_doctor import CHECKS
from tests.support.gated import gated
from tests.support.raw import Raw
from tests.support.scheduled import every, scheduled


def _first_cells(heading: str) -> list[str]:
    """What the table with this first heading names in its first column."""
    table = OPERATIONS.partition(f"| {heading} |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_event_is_on_the_page() -> None:
    """The page has every event of the log, and no other."""
    # A signal is for the process and not for a queue: only the log has it, and the stacks
    # that one of them asks for.
    events = {*get_args(EventName), "signal", "stack"}
    named = _first_cells("event")
    assert len(named) == len(set(named))
    assert set(named) == events


def test_every_event_happens() -> None:
    """No event is named that the runtime does not emit."""
    source = "".join(path.read_text("utf-8") for path in modules(RUNTIME))
    emitted = re.findall(
        r'emit\(\s*[\w.]+(?: if [^,]+)?,\s*"(\w+)"|name="(\w+)"', source
    )
    # Of these two, one method emits both.
    assert {"".join(each) for each in emitted} | {"started", "ended"} >= {
        *get_args(EventName)
    }


def test_every_check_is_on_the_page() -> None:
    """The page has what each check looks at, and why."""
    assert set(_first_cells("check")) == {*CHECKS, "queue", "server"}


_NIGHT: Final = (ROOT / "docs/incidents.md").read_text("utf-8")

_COMMANDS: Final = [
    line
    for block in re.findall(r"```sh\n(.*?)```", _NIGHT, re.DOTALL)
    for line in block.splitlines()
]

_KEYS: Final = {
    command: re.findall(r"`(\w+)`", keys.partition(" (")[0])
    for command, keys in re.findall(
        r"^\| `flowd (.+?)` \| .+? \| (.+) \|$", _NIGHT, re.MULTILINE
    )
}


def run(capsys: pytest.CaptureFixture[str], url: str, *words: str) -> str:
    """Run a command that works, and return what it printed."""
    assert main([*words, "--url", url]) in (0, 1), capsys.readouterr().err
    return capsys.readouterr().out


_ENDLESS: Final = ("flowd stats --watch", "flowd tail", "flowd tail --json")


@pytest.mark.parametrize(
    "line", [each for each in _COMMANDS if each not in _ENDLESS and "|" not in each]
)
def test_every_command_of_the_night_works(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """The commands of the page can be typed; ids are those of the server."""
    fill(raw, 30, running=10)
    letter = run(capsys, redis_url, "dlq", "list").splitlines()[1].split()[0]
    job = run(capsys, redis_url, "jobs", "list").splitlines()[1].split()[0]
    line = re.sub(r"\d+-0", letter if "dlq" in line else job, line.partition(" > ")[0])
    program, *words = shlex.split(line)

    assert program == "flowd"
    run(capsys, redis_url, *words)


def test_the_recipe_for_a_full_server(redis_url: str, raw: Raw, tmp_path: Path) -> None:
    """In a shell, word for word: what the file holds is gone, and can be enqueued again."""
    fill(raw, 30, running=10)
    letters = f"{{{STREAM}}}:{GROUP}:dlq"
    old = _pairs(raw.entries(letters)[:2])
    raw("DEL", letters)
    for number, pairs in enumerate(old):
        raw("XADD", letters, f"{number + 1}-0", *pairs)
    raw("XADD", letters, "*", *old[0])
    moving, again = (each for each in _COMMANDS if "letters.jsonl" in each)

    # A disk that is full ends the export, and then nothing is purged.
    shell(
        moving.replace("> letters.jsonl", "> /dev/full"), redis_url, tmp_path, ok=False
    )
    assert raw("XLEN", letters) == 3
    shell(moving, redis_url, tmp_path)
    assert len((tmp_path / "letters.jsonl").read_text().splitlines()) == 2
    assert raw("XLEN", letters) == 1

    if shutil.which("jq"):
        shell(again, redis_url, tmp_path)
        assert raw.entries(STREAM)[-1][1] == raw.entries(STREAM)[0][1]


def _pairs(entries: list[tuple[str, dict[bytes, bytes]]]) -> list[list[bytes]]:
    """The fields of entries as they are written."""
    return [[*chain.from_iterable(fields.items())] for _, fields in entries]


def shell(line: str, url: str, folder: Path, *, ok: bool = True) -> None:
    """Type a line in this folder."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    python = os.pathsep.join((str(ROOT), os.environ["PYTHONPATH"]))
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=os.environ | {"FLOWD_URL": url, "PATH": path, "PYTHONPATH": python},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is ok, done.stderr


_MORE: Final = {
    "jobs enqueue": ("jobs.email:Email", "to=a", "subject=b"),
    "preflight": ("jobs.email",),
    "dlq redrive": ("--all",),
    "dlq purge": ("--all", "--yes"),
    "limit": (STREAM,),
    "cron run": ("nightly",),
}

_SECTION: Final = _NIGHT.partition("## Output for programs")[2]


def json_commands(parser: argparse.ArgumentParser, *words: str) -> Iterator[str]:
    """The commands of a parser that take `--json`, as they are typed."""
    if "--json" in parser.format_usage():
        yield " ".join(words)
    for action in parser._actions:
        choices: Any = action.choices
        if isinstance(choices, Mapping):  # of a parser with commands
            verbs = cast("Mapping[str, argparse.ArgumentParser]", choices)
            for word, verb in verbs.items():
                yield from json_commands(verb, *words, word)


def test_every_command_with_json_is_on_the_page() -> None:
    """What it prints is promised there, in a row of the table or in the text below it."""
    commands = {*json_commands(command_line())}
    named = {*re.findall(r"`flowd ([a-z -]+?)(?: --[a-z-]+.*?)?`", _SECTION)}
    assert "stats" in commands
    assert commands - named == set()
    assert {*_KEYS} <= commands


async def set_up_policies(redis_url: str) -> None:
    """Let the queue have a limit and a schedule."""
    gate = Gate(concurrency=Concurrency(per=("to",), limit=1))
    job = gated(gate, scheduled(every(3_600)))
    queue = Queue(job, print, url=redis_url, stream=STREAM, group=GROUP)
    await queue.init()
    await queue.aclose()


@pytest.mark.parametrize("command", sorted({*_KEYS} - {"tail"}))
def test_the_keys_are_those_of_the_page(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Programs find what the page promises, and nothing that it does not name."""
    fill(raw, 3, running=10)
    if command.startswith(("limit", "cron")):
        asyncio.run(set_up_policies(redis_url))
        run(capsys, redis_url, "limit", STREAM, "to=a", "7")
    words = (*command.split(), *_MORE.get(command, ()), "--json")
    found = keys(run(capsys, redis_url, *words))
    if "--all" in words:
        found += keys(run(capsys, redis_url, *words, "--dry-run"))

    assert found == _KEYS[command]


def test_the_keys_of_an_event_are_those_of_the_page() -> None:
    """What `flowd tail` shows of an event has them too."""
    event = TailEvent(datetime.now(UTC), "done", "1-0", 1, "worker", "done")
    assert keys(json.dumps(as_json(event))) == _KEYS["tail"]


def keys(printed: str) -> list[str]:
    """Those of the first object, in their order."""
    whole = json.loads(printed if printed[0] == "[" else printed.splitlines()[0])
    return [*(whole[0] if isinstance(whole, list) else whole)]
