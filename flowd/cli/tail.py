"""`flowd tail`: follow what finishes in a queue."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import aclosing
from typing import Final

from flowd.broker.url import Address
from flowd.cli.options import Commands, add_command
from flowd.cli.output import as_json, print_json, print_note
from flowd.cli.target import add_target, open_target
from flowd.model.text import printable
from flowd.ops.tail import TailEvent, follow

__all__ = ["add"]

_TAIL: Final = """\
What happens in a queue from now on, a line for each event: jobs that are done, fail, are
handed back or given up, and what else the workers log of the queue. Times are UTC.

The workers tell it themselves, and only while somebody follows: they begin within about
2 seconds. What happens while the connection is away is not shown, nor is what a worker
cannot tell, because it dies. Fields of jobs are never told. Ctrl-C ends it."""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    tail = add_command(
        commands,
        "tail",
        "follow what finishes",
        _tail,
        description=_TAIL,
        examples="  flowd tail\n  flowd tail --stream emails\n"
        "  flowd tail --json | jq 'select(.event == \"dead_letter\")'",
    )
    add_target(tail, fields=False)


def _tail(options: argparse.Namespace) -> int:
    return asyncio.run(_follow(options))


async def _follow(options: argparse.Namespace) -> int:
    """Print until somebody has seen enough."""
    async with open_target(options) as target:
        name, channel = target.name, target.look.keys.tail
    print_note(f"follows {name}; workers begin to tell within about 2 s")
    async with aclosing(follow(Address.of(options.url), channel, print_note)) as events:
        async for told in events:
            if options.json:
                print_json(as_json(told))
            else:
                print(_line(told), flush=True)
    return 0


def _line(told: TailEvent) -> str:
    """The event as the worker's log shows it."""
    job = f"{printable(told.job)} attempt {told.attempt} " if told.job else ""
    return f"{told.at:%Y-%m-%d %H:%M:%S} {job}{printable(told.text)}"
