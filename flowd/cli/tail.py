"""`flowd tail`: follow the events of a queue."""

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
The events of a queue from now on, one on each line: jobs that are done, fail, are released
or dead-lettered, and the other events that workers log. Times are UTC.

Workers publish events only while `flowd tail` runs; they begin within about 2 seconds.
Events during a lost connection are not shown, and a worker that is killed publishes none.
Fields of jobs are never published. Ctrl-C ends it."""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    tail = add_command(
        commands,
        "tail",
        "follow the jobs that end",
        _tail,
        description=_TAIL,
        examples="  flowd tail\n  flowd tail --stream emails\n"
        "  flowd tail --json | jq 'select(.event == \"dead_letter\")'",
    )
    add_target(tail, fields=False)


def _tail(options: argparse.Namespace) -> int:
    return asyncio.run(_follow(options))


async def _follow(options: argparse.Namespace) -> int:
    """Print events until Ctrl-C."""
    async with open_target(options) as target:
        name, channel = target.name, target.queries.keys.tail
    print_note(f"following {name}; workers start to publish events within about 2 s")
    async with aclosing(follow(Address.of(options.url), channel, print_note)) as events:
        async for event in events:
            if options.json:
                print_json(as_json(event))
            else:
                print(_line(event), flush=True)
    return 0


def _line(event: TailEvent) -> str:
    """The event as the worker's log shows it."""
    attempt = f"attempt {event.attempt} " if event.attempt else ""
    job = f"{printable(event.job)} {attempt}" if event.job else ""
    return f"{event.at:%Y-%m-%d %H:%M:%S} {job}{printable(event.text)}"
