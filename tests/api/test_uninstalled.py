"""flowd that was copied into an application, as bundlers do, and has no metadata."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import hiredis
import redis

import flowd
import jobs
from tests.support.raw import Raw

_ENQUEUES: Final = """
import asyncio, sys
from flowd import Producer
from jobs.email import Email

async def main():
    async with Producer(sys.argv[1]) as producer:
        await producer.enqueue(Email(to="a", subject="s"))

asyncio.run(main())
"""


async def test_a_copy_that_is_not_installed_connects(
    redis_url: str, raw: Raw, tmp_path: Path
) -> None:
    """It names no version to the server, which is no reason for retries without end."""
    await asyncio.to_thread(_run, tmp_path, ["-c", _ENQUEUES, redis_url])
    assert raw("XLEN", "emails") == 1


def test_a_copy_that_is_not_installed_has_no_version(tmp_path: Path) -> None:
    """The command says that it does not know its version."""
    said = _run(tmp_path, ["-m", "flowd", "--version"])
    assert said == "flowd unknown: it is not installed\n"


def _run(folder: Path, words: Sequence[str]) -> str:
    """What a program says that finds these packages and nothing else."""
    for module in (flowd, jobs, redis, hiredis):
        (package,) = module.__path__
        (folder / module.__name__).symlink_to(package)
    done = subprocess.run(
        [sys.executable, "-S", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
