"""The suite's own ground: the loop that a test runs on, and what fails a test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.program import Program
from tests.support.raw import Raw

_ROOT = Path(__file__).parents[2]

_FAULTY = """
import asyncio
import pytest

async def passes(): ...

async def test_that_passes(stream):
    await passes()

async def test_that_leaves_a_task():
    global task
    task = asyncio.ensure_future(asyncio.sleep(60))

async def test_that_loses_an_error():
    async def fail():
        raise ValueError
    asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

async def test_that_forgets_to_await():
    passes()

@pytest.mark.limit(0.01)
async def test_that_hangs():
    await asyncio.Event().wait()
"""


async def test_coroutine_test_runs_on_the_chosen_loop() -> None:
    """A coroutine test runs on the loop that FLOWD_TEST_LOOP names."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    assert loop == os.environ.get("FLOWD_TEST_LOOP", "asyncio")


def test_each_test_finds_the_server_empty(raw: Raw) -> None:
    """No key of another test is seen."""
    assert raw("DBSIZE") == 0
    raw("SET", "left", "behind")


def test_each_test_leaves_the_server_empty(raw: Raw) -> None:
    """What a test leaves behind is removed after it."""
    assert raw("DBSIZE") == 0
    raw("SET", "left", "behind")


def test_leftovers_fail_their_test(tmp_path: Path) -> None:
    """Left tasks, unseen errors, forgotten awaits and endless waits fail a test."""
    (tmp_path / "test_faulty.py").write_text(_FAULTY)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, "-c", _ROOT / "pyproject.toml", "--rootdir", tmp_path, tmp_path],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 failed, 1 passed" in done.stdout, done.stdout + done.stderr


_SAYS = """
import atexit, os, sys
atexit.register(print, "at exit")
print(sys.argv[1:], sys.path[:2], os.getcwd(), os.environ["FLOWD_URL"], os.getppid() > 1)
print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stdin.read())
print("é", file=sys.stderr)
{end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "queue = None",
        "raise ValueError('raised')",
        "sys.stdout.flush(); os.kill(os.getpid(), 9)",
    ],
)
def test_a_forked_command_is_as_one_that_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """It gets the same folder, arguments, streams and environment, and ends the same."""
    if not forked.can_fork(os.environ):
        pytest.skip("commands are not forked on this machine")
    program = Program(tmp_path, "redis://localhost:1")
    program.write("workers.py", _SAYS.format(end=end))
    words = ("run", "workers:queue")
    output = program(*words, text="read\n")
    monkeypatch.setattr(forked, "can_fork", _cannot)
    assert program(*words, text="read\n") == output
    assert "\nFalse False read\n" in output.out


def _cannot(_: object) -> bool:
    return False


def test_a_forked_command_is_killed_at_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs fails its test, and does not run on."""
    program = Program(tmp_path, "redis://localhost:1")
    program.write("workers.py", "import time\ntime.sleep(1000)")
    monkeypatch.setattr("tests.support.program.LIMIT", 0.5)
    with pytest.raises(subprocess.TimeoutExpired):
        program("run", "workers:queue")
