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
from pathlib import Path
from typing import Final

README: Final = Path(__file__).parents[2] / "README.md"
GUIDE: Final = README.parent / "docs/guide.md"

_FILE: Final = re.compile(r"`([\w./]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
_COMMAND: Final = re.compile(r"```sh\n(.*?)```", re.DOTALL)
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

    def run_until(self, command: str, lines: int) -> list[str]:
        """Run a line until it has printed so many, then stop it with SIGTERM."""
        setting, *words = shlex.split(command)
        if "=" not in setting:
            words.insert(0, setting)
        process = subprocess.Popen(
            words if "=" not in setting else ["env", setting, *words],
            cwd=self.path,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        overdue = threading.Timer(_LIMIT, process.kill)
        overdue.start()
        try:
            printed = [process.stdout.readline() for _ in range(lines)]
            process.send_signal(signal.SIGTERM)
            printed += process.stdout.read().splitlines(keepends=True)
            code = process.wait()
        finally:
            overdue.cancel()
            process.stdout.close()
        assert code == 0, f"{command} ended with {code} after {len(printed)} lines"
        return printed


def quick_start(folder: Folder) -> None:
    """Follow "Quick start": declare, generate, run, serve, produce."""
    text = section("Quick start")
    folder.write(files(text))
    generate, app, worker = commands(text)
    folder.run(generate)
    printed = folder.run_until(app, 1001)
    assert printed[0] == "sending to a@b.c\n", printed[0]
    assert len(printed) == 1001, len(printed)
    assert folder.run("python produce.py").startswith("enqueued ")
    assert folder.run_until(worker, 1) == ["sending to a@b.c\n"]
    for command in commands(section("When things go wrong", GUIDE)):
        folder.run(command)


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
