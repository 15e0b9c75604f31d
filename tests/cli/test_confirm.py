"""`flowd dlq purge` asks first, and does no more than was answered to."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jobs.email import Email
from tests.support.dead_letters import bury
from tests.support.program import LIMIT, Program
from tests.support.raw import Raw

DEAD: Final = "{emails}:senders:dlq"
ASKED: Final = "for good? [y/N] "
CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"


class Terminal:
    """A command on a terminal, and what a person types there."""

    def __init__(self, screen: int, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._screen = screen

    def until(self, text: str) -> str:
        """What is on the screen once this is the end of it."""
        shown = ""
        while not shown.endswith(text) and (piece := self._read()):
            shown += piece
        assert shown.endswith(text), shown
        return shown

    def type(self, keys: str) -> None:
        """Press these keys, as CTRL_C."""
        os.write(self._screen, keys.encode())

    def end(self) -> tuple[int, str]:
        """The exit code, and what else is on the screen."""
        shown = ""
        while piece := self._read():
            shown += piece
        return self.process.wait(LIMIT), shown

    def _read(self) -> str:
        if not select.select([self._screen], [], [], LIMIT)[0]:
            return ""
        try:
            return os.read(self._screen, 65_536).decode()
        except OSError:  # how Linux reports that no writer is left
            return ""


@contextmanager
def terminal(
    program: Program, *words: str, out: int | None = None
) -> Generator[Terminal]:
    """Run the command on a terminal that is its own; `out` is its standard output."""
    here, there = pty.openpty()
    with subprocess.Popen(
        # A Ctrl-C is for those whom the terminal controls.
        ["setsid", "--ctty", "--wait", sys.executable, "-m", "flowd", *words],
        cwd=program.folder,
        env=os.environ | {"FLOWD_URL": program.url, "NO_COLOR": "1", "COLUMNS": "200"},
        stdin=there,
        stdout=there if out is None else out,
        stderr=there,
        text=True,
    ) as process:
        os.close(there)
        try:
            yield Terminal(here, process)
        finally:
            process.kill()
            os.close(here)


async def test_letters_after_the_question_are_kept(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """A letter that comes while the question waits was not in it, and stays."""
    await bury(redis_url, "emails", Email(to="anna", subject="hi"))
    with terminal(flowd, "dlq", "purge", "--all", "--error", "not wanted") as shown:
        assert "Delete 1 dead letter of emails (senders)" in shown.until(ASKED)
        await bury(redis_url, "emails", Email(to="bert", subject="hi"))
        shown.type("y\n")
        code, said = shown.end()
    assert (code, "1 job deleted" in said) == (0, True)
    ((_, fields),) = raw.entries(DEAD)
    assert fields[b"to"] == b"bert"


async def test_the_first_interrupt_ends_the_question(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """Ctrl-C is no answer, and nothing has to be typed behind it."""
    await bury(redis_url, "emails", Email(to="anna", subject="hi"))
    with terminal(flowd, "dlq", "purge", "--all") as shown:
        shown.until(ASKED)
        shown.type(CTRL_C)
        code, said = shown.end()
    assert (code, "Traceback" in said, raw("XLEN", DEAD)) == (130, False, 1)


async def test_an_end_of_input_is_a_no(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """Ctrl-D deletes nothing."""
    await bury(redis_url, "emails", Email(to="anna", subject="hi"))
    with terminal(flowd, "dlq", "purge", "--all") as shown:
        shown.until(ASKED)
        shown.type(CTRL_D)
        code, said = shown.end()
    assert (code, said.split()) == (
        2,
        ["flowd:", "error:", "nothing", "was", "deleted"],
    )
    assert raw("XLEN", DEAD) == 1


async def test_the_question_is_not_in_the_output(
    flowd: Program, redis_url: str, tmp_path: Path
) -> None:
    """What goes to a file is the document that was asked for."""
    await bury(redis_url, "emails", Email(to="anna", subject="hi"))
    with (
        (tmp_path / "out").open("w") as out,
        terminal(flowd, "dlq", "purge", "--all", "--json", out=out.fileno()) as shown,
    ):
        shown.until(ASKED)
        shown.type("y\n")
        assert shown.end()[0] == 0
    assert json.loads((tmp_path / "out").read_text()) == {"purged": 1}
