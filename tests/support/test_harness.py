"""The suite's own ground: the loop that a test runs on, and what fails a test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

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
