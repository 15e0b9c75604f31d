"""Run the real command `flowd` in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from tests.support import forked

LIMIT: Final = 100.0
"""Seconds after which a command counts as hung; less than a test has."""


@dataclass(frozen=True, slots=True)
class Output:
    """How a command ended."""

    code: int
    out: str
    err: str


def is_running(pid: int) -> bool:
    """Whether the process exists and is not merely waiting to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return sys.platform != "linux"
    return status.rpartition(")")[2].split()[0] != "Z"


class Program:
    """The command, with a folder to run in and a server to ask."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def write(self, name: str, text: str) -> None:
        """Write a module of the user's."""
        (self.folder / name).write_text(text, "utf-8")

    def __call__(self, *words: str, url: str | None = None, text: str = "") -> Output:
        """Run it to its end, with `text` to read."""
        environment = self._environment(url)
        if forked.can_fork(environment):
            return Output(
                *forked.run(
                    words,
                    folder=self.folder,
                    environment=environment,
                    text=text,
                    limit=LIMIT,
                )
            )
        done = subprocess.run(
            self._command(words),
            cwd=self.folder,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return Output(done.returncode, done.stdout, done.stderr)

    def start(
        self, *words: str, url: str | None = None, out: IO[str] | None = None
    ) -> Running:
        """Start it and let it run; what it prints goes to `out`, if there is one."""
        return Running(
            subprocess.Popen(
                self._command(words),
                cwd=self.folder,
                env=self._environment(url),
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "flowd", *words]

    def _environment(self, url: str | None) -> dict[str, str]:
        return os.environ | {"FLOWD_URL": self.url if url is None else url}


class Running:
    """A command that runs; killed at the end if it still does, or after the limit."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._overdue = threading.Timer(LIMIT, self._kill)

    def __enter__(self) -> Self:
        self._overdue.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._overdue.cancel()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _kill(self) -> None:
        """Kill it and what it started, which would keep its standard error open."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        started = children.read_text().split() if children.exists() else []
        self.process.kill()
        for each in started:
            with suppress(ProcessLookupError):
                os.kill(int(each), signal.SIGKILL)

    def patience(self, seconds: float) -> None:
        """Let it run so long from now on."""
        self._overdue.cancel()
        self._overdue = threading.Timer(seconds, self._kill)
        self._overdue.start()

    def until(self, text: str) -> str:
        """Read log lines up to one with `text`, and return it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"ended without {text!r}:\n{''.join(self.lines)}")

    def metrics_url(self) -> str:
        """Read up to the line that says where it listens, and return the URL."""
        found = re.search(r"(http://\S+)/metrics", self.until("serves metrics at"))
        assert found
        return found[1]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        assert self.process.stderr is not None
        self.lines += self.process.stderr
        return self.process.wait()
