"""`flowd doctor`: check a server and its queues."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from typing import Final

from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli.options import Commands, add_command, add_server
from flowd.model.text import printable
from flowd.ops import Finding, examine

__all__ = ["add"]

_MAX: Final = 1_000

_DESCRIPTION: Final = """\
Check a server and its queues; nothing is changed. Each line has a result and what to do
about it:

- ok: no problem
- note: information
- warn: may lose or delay jobs
- wrong: loses or delays jobs now

The exit code is 1 if a line is `wrong`, else 0."""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "doctor",
        "check the server and its queues, and say what to do",
        _command,
        description=_DESCRIPTION,
        examples="  flowd doctor\n  flowd doctor --json",
    )
    add_server(parser)


def _command(options: argparse.Namespace) -> int:
    findings = asyncio.run(_ask(options.url))
    if options.json:
        print(json.dumps([dataclasses.asdict(each) for each in findings], indent=2))
    else:
        for each in findings:
            print(_line(each))
    return int(any(each.level == "wrong" for each in findings))


async def _ask(url: str | None) -> list[Finding]:
    async with connected(Address.of(url)) as connection:
        return await examine(connection)


def _line(finding: Finding) -> str:
    said = finding.text
    if advice := finding.advice:
        said += f". {advice[0].upper()}{advice[1:]}."
    return f"{finding.level:<5}  {finding.check:<11}  {printable(said, _MAX)}"
