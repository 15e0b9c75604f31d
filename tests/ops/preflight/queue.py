"""What the tests of `flowd preflight` share: classes to change, and a queue to read."""

from __future__ import annotations

import importlib
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from flowd import Producer
from flowd.cli import main
from flowd_codegen.cli import run
from tests.support.dead_letters import bury, raw_letters
from tests.support.email_job import email
from tests.support.leases import die_with
from tests.support.raw import Raw

__all__ = [
    "DEAD",
    "GROUP",
    "STREAM",
    "add",
    "fill",
    "forget",
    "line_of",
    "preflight",
    "table",
    "write",
]

STREAM, GROUP = "emails", "senders"
DEAD = "{emails}:senders:dlq"

EMAIL = """\
[job.Email]
[job.Email.fields]
to = "str"
subject = "str"
[job.Email.queue]
stream = "emails"
group = "senders"
"""


def write(*fields: str, text: str = EMAIL, folder: str = "shop") -> None:
    """Generate the package `shop`, with more fields; a name that is there is anew."""
    for field in fields:
        name, _, kind = field.partition(" = ")
        text = re.sub(rf"^{name} = .*\n", "", text, flags=re.MULTILINE)
        text = text.replace("fields]\n", f"fields]\n{name} = {kind}\n")
    Path("schemas/email.toml").write_text(text)
    with redirect_stdout(None), redirect_stderr(None):
        assert run(["schemas", "-o", folder]) == 0


def preflight(url: str, *options: str) -> int:
    """Run the command."""
    forget(Path.cwd())
    return main(["preflight", "shop", "--url", url, *options])


def forget(folder: Path) -> None:
    """Let modules of this folder be imported anew."""
    for name, module in [*sys.modules.items()]:
        file: object = getattr(module, "__file__", None)
        if isinstance(file, str) and Path(file).is_relative_to(folder):
            del sys.modules[name]
    importlib.invalidate_caches()


def line_of(text: str, file: str = "shop/email.py") -> int:
    """The first line of a generated file that begins with a text."""
    lines = Path(file).read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.strip().startswith(text))


def add(raw: Raw, *pairs: str | bytes | int, to: str = STREAM) -> str:
    """Add an entry; returns its id."""
    added = raw("XADD", to, "*", *pairs)
    assert isinstance(added, bytes)
    return added.decode()


async def fill(url: str, raw: Raw) -> None:
    """Jobs in all places: 2 wait, 1 runs, 2 are delayed, 1 died and 1 was no job."""
    add(raw, "sender", "x")
    await bury(url, STREAM, email("dead"))
    assert len(raw_letters(raw, STREAM)) == 2
    async with Producer(url) as producer:
        await producer.enqueue_bulk([email("one"), email("two"), email("three")])
        await producer.enqueue(email("later"), delay=3_600.0)
        await producer.enqueue(email("later"), delay=3_600.0)
    die_with(raw, STREAM, GROUP, jobs=1)


def table(text: str) -> dict[str, tuple[int, ...]]:
    """By place: seen, readable, newer, unreadable and undecodable before."""
    rows = (re.split(r"  +", line) for line in text.splitlines())
    return {
        row[1]: tuple(int(cell.replace(",", "")) for cell in row[2:])
        for row in rows
        if row[0] == "Email"
    }
