"""Do what the README says, in an empty folder, word for word.

Run as a program it takes the folder of the `python`, `flowd` and `flowd-gen` to use; so
the built wheel is tried with the standard library alone.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

README: Final = Path(__file__).parents[2] / "README.md"
GUIDE: Final = README.parent / "docs/guide.md"

_FILE: Final = re.compile(r"`([\w./]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
_COMMAND: Final = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_SHOWN: Final = re.compile(r"```(?:toml|python)\n(.*?)```", re.DOTALL)
_WRITTEN: Final = (".toml", ".py")
_LIMIT: Final = 60.0


def section(title: str, page: Path = README) -> str:
    """The text of one section."""
    text = page.read_text("utf-8")
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def files(text: str) -> dict[str, str]:
    """The files that a section asks the reader to write."""
    return dict(_FILE.findall(text))


def commands(text: str) -> list[str]:
    """The shell lines of a section, in order."""
    return [line for block in _COMMAND.findall(text) for line in block.splitlines()]


class Folder:
    """An empty folder, and the environment of a user who installed flowd."""

    def __init__(self, path: Path, programs: Path, url: str = "embedded:data") -> None:
        self.path = path
        self.url = url
        self._environment = {
            "PATH": f"{programs}{os.pathsep}/usr/bin:/bin",
            "HOME": str(path),
            "FLOWD_URL": url,
            "PYTHONUNBUFFERED": "1",
        }

    def write(self, written: dict[str, str]) -> None:
        """Write files, and the folders they are in."""
        for name, text in written.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")

    def run(self, command: str) -> str:
        """Run a line to its end; returns what it printed."""
        done = self._done(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _done(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.path,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )

    def output_of(self, command: str) -> str:
        """Run a line; returns what a reader sees of it, without the log of workers.

        `flowd-gen diff` may say no, which is its answer.
        """
        done = self._done(command)
        no = command.startswith("flowd-gen diff") and done.returncode == 1
        assert done.returncode == 0 or no, f"{command}\n{done.stdout}{done.stderr}"
        logged = "" if command.startswith("flowd run") else done.stderr
        return logged + done.stdout

    def written(self) -> list[Path]:
        """The files that were written here, by a reader or a command."""
        return [each for each in self.path.rglob("*.*") if each.suffix in _WRITTEN]

    @contextmanager
    def running(self, command: str) -> Generator[IO[str]]:
        """Let a line run, which is then stopped with SIGTERM; yields what it prints."""
        process = subprocess.Popen(
            shlex.split(command),
            cwd=self.path,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        overdue = threading.Timer(_LIMIT, process.kill)
        overdue.start()
        try:
            yield process.stdout
            process.send_signal(signal.SIGTERM)
            rest, code = process.stdout.read(), process.wait()
        finally:
            overdue.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        assert (code, rest) == (0, ""), f"{command} ended with {code}: {rest}"


def quick_start(folder: Folder) -> None:
    """Follow "Quick start": start, generate, work, and enqueue from a second terminal."""
    text = section("Quick start")
    init, generate, server, work, same_server, enqueue, stats = commands(text)
    assert server == same_server == f"export FLOWD_URL={folder.url}"
    folder.run(init)
    folder.run(generate)
    for shown in _SHOWN.findall(text):
        assert any(shown in each.read_text("utf-8") for each in folder.written()), shown
    with folder.running(work) as worker:
        assert folder.run(enqueue)
        assert worker.readline() == "sending to a@b.c: hi\n"
        assert "emails" in folder.run(stats)
    in_one_process(folder)
    for command in commands(section("When things go wrong", GUIDE)):
        folder.run(command)


def in_one_process(folder: Folder) -> None:
    """Follow "A program of one process": it enqueues, and runs what it enqueued."""
    text = section("A program of one process", GUIDE)
    folder.write(files(text))
    (app,) = commands(text)
    with folder.running(app) as program:
        printed = [program.readline() for _ in range(1_001)]
    assert set(printed) == {"sending to a@b.c\n"}, set(printed)


def mapper(folder: Folder) -> None:
    """Follow "A field with a mapper": the class is the one that the guide shows."""
    text = section("A field with a mapper", GUIDE)
    folder.write(files(text))
    folder.run("flowd-gen schemas/ -o jobs/")
    (shown,) = re.findall(r"```python\n(@final\n.*?)```", text, re.DOTALL)
    assert shown in (folder.path / "jobs/crawl.py").read_text("utf-8")
    program = (
        "from jobs.crawl import Crawl;"
        "job = Crawl(url='u', priority=1, tags=['a', 'b']);"
        "print(job.to_fields()[b'tags'], Crawl.from_fields(job.to_fields()) == job)"
    )
    assert folder.run(f'python -c "{program}"') == "b'a,b' True\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        newcomer = Folder(Path(name), Path(sys.argv[1]).absolute())
        quick_start(newcomer)
        mapper(newcomer)
    print("the commands of README and guide work")
