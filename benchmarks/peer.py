"""One system under test, as the runner sees it: an environment and a program.

What a program is asked and answers is in `benchmarks/contract.py`. A program in Python
that needs more than this checkout says so at its top as PEP 723 has it, and gets an
environment of its own below `.bench/`, made when it is missing. One in another language
is a folder with the build file of that language, and is built below `.bench/`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Timer
from typing import IO, Any, Final, Self

__all__ = ["Failed", "Peer", "Program", "environment", "seconds_to_import", "start"]

_ROOT: Final = Path(__file__).parents[1]
_PROGRAMS: Final = _ROOT / "benchmarks" / "peers"
_ENVIRONMENTS: Final = _ROOT / ".bench"
_METADATA: Final = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.MULTILINE)
_PATIENCE: Final = 60.0

_BUILDS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "Cargo.toml": (("cargo", "build", "--release"), ("target/release/bench",)),
    "go.mod": (("go", "build", "-mod=mod", "-o", "bench", "."), ("./bench",)),
    "package.json": (
        ("npm", "install", "--no-audit", "--no-fund"),
        ("node", "main.mjs"),
    ),
}
"""Build file -> how its folder is built, and how the program is then started."""


class Failed(Exception):
    """A peer could not be installed, or its program broke; says how."""


class Program:
    """A program that runs, and what it prints.

    Attributes:
        pid: of the process.
    """

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.pid = process.pid
        self._process = process
        self._errors = errors

    def check(self) -> None:
        """Raise Failed if it has ended, as `answer` would."""
        if self._process.poll() is not None:
            self.answer()

    def stop(self) -> dict[str, Any]:
        """Send it SIGTERM, and return what it then answers; raises as `answer`."""
        self._process.terminate()
        return self.answer()

    def answer(self, within: float = _PATIENCE) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            Failed: it ended without one, or did not give one within so many seconds.
        """
        assert self._process.stdout is not None
        watchdog = Timer(within, self._process.kill)
        watchdog.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        finally:
            watchdog.cancel()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        code = self._process.wait()
        if code < 0:
            raise Failed(f"did not answer within {within:g} s")
        raise Failed(said[-1] if said else f"ended with code {code} and said nothing")


class Peer:
    """One program in `benchmarks/peers/`.

    Args:
        program: its file or folder.
        policy: under which it works, of `POLICIES`; only flowd has some.

    Attributes:
        name: of the program, and of the policy behind it.
    """

    def __init__(self, program: str, policy: str = "") -> None:
        self.name = f"{program}, {policy}" if policy else program
        self._program = program
        self._policy = policy
        self._python = Path(sys.executable)
        self._command: Sequence[str | Path] = self._module()
        self._folder = _ROOT

    @classmethod
    def every(cls) -> Iterator[Self]:
        """All of them, by name."""
        built = {
            path.parent.name for name in _BUILDS for path in _PROGRAMS.glob(f"*/{name}")
        }
        for name in sorted(built | {path.stem for path in _PROGRAMS.glob("*.py")}):
            yield cls(name)

    def install(self) -> None:
        """Make its environment, if it needs one and has none yet, or build it.

        Raises:
            Failed: pip or the build says why.
        """
        if (_PROGRAMS / self._program).is_dir():
            self._build(_PROGRAMS / self._program)
            return
        program = _PROGRAMS / f"{self._program}.py"
        found = _METADATA.search(program.read_text("utf-8"))
        if found is not None:
            text = re.sub("^# ?", "", found[1], flags=re.MULTILINE)
            needs: list[str] = tomllib.loads(text)["dependencies"]
            self._python = environment(self._program, *needs)
        self._command = self._module()

    def _module(self) -> Sequence[str | Path]:
        return (self._python, "-m", f"benchmarks.peers.{self._program}")

    def _build(self, source: Path) -> None:
        (name,) = _BUILDS.keys() & {path.name for path in source.iterdir()}
        build, self._command = _BUILDS[name]
        self._folder = _ENVIRONMENTS / self._program
        if shutil.which(build[0]) is None:
            raise Failed(f"{build[0]} is not on the PATH")
        # In the folder of the earlier build, so that little is built anew.
        shutil.copytree(source, self._folder, dirs_exist_ok=True)
        _run(*build, folder=self._folder)

    def ask(
        self, url: str, *command: str | int, within: float = _PATIENCE
    ) -> dict[str, Any]:
        """Run its program to the end; returns its answer, not that it is ready.

        Raises:
            Failed: it gave none.
        """
        with self.start(url, *command) as program:
            answer = program.answer(within)
            return program.answer(within) if "ready" in answer else answer

    def start(self, url: str, *command: str | int) -> AbstractContextManager[Program]:
        """Run its program, as `start` does."""
        words = [*self._command, *map(str, command)]
        return start(words, url, folder=self._folder, policy=self._policy)

    def seconds_to_import(self, modules: str) -> float:
        """Seconds that a new process takes to import modules that are compiled.

        Raises:
            Failed: they cannot be imported.
        """
        return seconds_to_import(modules, self._python)


@contextmanager
def start(
    command: Sequence[str | Path], url: str, *, folder: Path = _ROOT, policy: str = ""
) -> Generator[Program, None, None]:
    """Run a program there; on the way out it is killed if it still runs."""
    own = {"BENCH_URL": url, "BENCH_POLICY": policy}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **own},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Program(process, errors)
        finally:
            process.kill()


def seconds_to_import(modules: str, python: Path = Path(sys.executable)) -> float:
    """Seconds that a new process takes to import modules that are compiled.

    Raises:
        Failed: they cannot be imported.
    """
    code = (
        f"import time; began = time.perf_counter(); import {modules};"
        "print(time.perf_counter() - began)"
    )
    # The first run compiles what only this one needs, where that may be written.
    compiled = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    _run(python, "-c", code, env=compiled)
    return float(_run(python, "-c", code, env=compiled))


def environment(name: str, *packages: str) -> Path:
    """Return the Python of an environment with these packages; made if it is missing.

    Raises:
        Failed: pip says why.
    """
    folder = _ENVIRONMENTS / name
    python, installed = folder / "bin" / "python", folder / "installed"
    if installed.exists() and installed.read_text("utf-8").split("\n") == [*packages]:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    # Where Python comes without ensurepip, the pip of this checkout fills it.
    _run(sys.executable, "-m", "venv", "--without-pip", folder)
    pip = (sys.executable, "-m", "pip", "--python", python)
    _run(*pip, "install", "--quiet", "--disable-pip-version-check", *packages)
    installed.write_text("\n".join(packages), "utf-8")
    return python


def _run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=env, cwd=folder
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise Failed(said[-1] if said else f"{command[0]} ended with {done.returncode}")
    return done.stdout
