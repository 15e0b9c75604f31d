"""Worker processes to kill, pause and end, and what they wrote down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from tests.support.waiting import wait_until_blocking

__all__ = ["Note", "WorkerPool", "parse_notes", "pause", "resume"]

_ROOT: Final = Path(__file__).parents[3]


class Note(NamedTuple):
    """One line of evidence."""

    pid: int
    at: float
    """Seconds since 1970."""

    what: str
    """start, ran, raised, cancelled, said or signal."""

    words: list[str]


def parse_notes(lines: Iterable[str]) -> list[Note]:
    """Read lines of evidence."""
    split = (line.split() for line in lines)
    return [Note(int(pid), float(at), what, words) for pid, at, what, *words in split]


class WorkerPool:
    """Worker processes on one stream; all end with the test.

    Args:
        url: of the server.
        stream: what they work on.
        folder: for their evidence.
        lease: seconds.
        grace: seconds they wait for handlers at SIGTERM.
        max_crashes: as the `Claimer`'s.
        interval: as the `Claimer`'s.
        concurrency: as the `Queue`'s.
        program: the module of this folder that a worker runs.
        extra: more arguments for it.
    """

    def __init__(
        self,
        url: str,
        stream: str,
        folder: Path,
        *,
        lease: float = 1.0,
        grace: float = 10.0,
        max_crashes: int = 5,
        interval: float = 0.1,
        concurrency: int = 4,
        program: str = "worker",
        extra: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        settings = (
            *(url, stream, folder, lease, grace),
            *(max_crashes, interval, concurrency),
        )
        self._command = [
            *(sys.executable, "-W", "error", "-m", f"tests.system.chaos.{program}"),
            *map(str, settings),
            *extra,
        ]
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Do nothing: no worker runs yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill and reap every worker."""
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def hire(self) -> subprocess.Popen[bytes]:
        """Start a worker and return it once it is ready."""
        worker = self.call()
        wait_until_blocking(lambda: self.ready(worker))
        return worker

    def call(self) -> subprocess.Popen[bytes]:
        """Start a worker and return at once."""
        worker = subprocess.Popen(self._command, cwd=_ROOT)
        self.workers.append(worker)
        return worker

    def ready(self, worker: subprocess.Popen[bytes]) -> bool:
        """Whether it minds signals and reads, or is about to."""
        return (self._folder / f"ready-{worker.pid}").exists()

    def notes(self, what: str | None = None) -> list[Note]:
        """All evidence, or that of one kind."""
        evidence = self._folder / "evidence"
        lines = evidence.read_text().splitlines() if evidence.exists() else []
        return [note for note in parse_notes(lines) if what in (None, note.what)]

    def let(self, worker: subprocess.Popen[bytes]) -> None:
        """Let the jobs of a worker that wait go on."""
        (self._folder / f"go-{worker.pid}").touch()

    def settled(self, event: str) -> list[str]:
        """The ids of the jobs of which flowd said this, in order."""
        said = [note.words for note in self.notes("said")]
        return [job_id for what, job_id, *_ in said if what == event]


def pause(worker: subprocess.Popen[bytes]) -> None:
    """Freeze a worker."""
    os.kill(worker.pid, signal.SIGSTOP)


def resume(worker: subprocess.Popen[bytes]) -> None:
    """Let a frozen worker go on."""
    os.kill(worker.pid, signal.SIGCONT)
