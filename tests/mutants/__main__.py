"""Put each deliberate bug into a copy of the project and run the tests that know it.

    python -m tests.mutants [NUMBER...]

Exits 1 if a bug survives, or if the copy fails without one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.mutants.mutant import ROOT, Mutant, mutants

_PARTS: Final = ("flowd", "codegen", "docs", "examples", "schemas", "tests")

# Seconds for a test that hangs, and for each that does not on a loaded machine.
_LIMIT: Final = 300.0
_EACH: Final = 10.0

# Most of the time they wait for what the bug keeps from happening.
_AT_ONCE: Final = 3


def main(numbers: Sequence[str]) -> int:
    """Try the mutants with these numbers, or all; returns the exit status."""
    chosen = [m for m in mutants() if not numbers or m.name.split("-")[0] in numbers]
    if not chosen:
        print("no mutant has such a number: python -m tests.mutants [NUMBER...]")
        return 2
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    with tempfile.TemporaryDirectory(prefix="flowd-mutants-") as folder:
        home = Path(folder)
        sound = _copy(home / "sound")
        passed, output = _passes(sound, tests)
        if not passed:
            print(output, "the tests fail without any mutant", sep="\n")
            return 1
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            caught = sum(pool.map(_is_caught, chosen, itertools.repeat(home)))
    print(f"{caught} of {len(chosen)} mutants were caught")
    return 0 if caught == len(chosen) else 1


def _is_caught(mutant: Mutant, home: Path) -> bool:
    folder = _copy(home / mutant.name)
    mutant.apply(folder)
    started = time.monotonic()
    passed, _ = _passes(folder, mutant.tests)
    seconds = time.monotonic() - started
    word = "SURVIVED" if passed else "caught  "
    print(f"{word} {seconds:5.1f} s  {mutant.name}: {mutant.bug}", flush=True)
    shutil.rmtree(folder)
    return not passed


def _copy(folder: Path) -> Path:
    for part in _PARTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _passes(folder: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Whether tests pass in a copy, and what they printed."""
    # In front of the checkout, which the environment has installed as editable.
    path = os.pathsep.join((str(folder), str(folder / "codegen")))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    where = (
        "import flowd, flowd_codegen;"
        "print(flowd.__file__, flowd_codegen.__file__, sep='\\n')"
    )
    found = _run((sys.executable, "-c", where), folder, environment)
    for line in found.stdout.splitlines():
        assert Path(line).is_relative_to(folder), f"{line} would be tested"
    command = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
    try:
        limit = _LIMIT + _EACH * len(tests)
        done = _run((*command, *tests), folder, environment, limit)
    except subprocess.TimeoutExpired:
        return False, "the tests hang"
    if done.returncode not in (0, 1):
        raise SystemExit(f"{tests} cannot be run:\n{done.stdout}{done.stderr}")
    return done.returncode == 0, done.stdout


def _run(
    command: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    limit: float = _LIMIT,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
