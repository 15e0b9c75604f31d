"""`flowd pause` and `flowd resume`: whether workers take the jobs of a queue."""

from __future__ import annotations

import argparse
import asyncio

from flowd.broker.control import pause, resume
from flowd.cli.options import Commands, add_command, add_server
from flowd.cli.output import print_json
from flowd.cli.target import open_target
from flowd.errors import GroupMissing
from flowd.model.text import printable

__all__ = ["add"]

_PAUSE = """\
Let no worker take a job of a queue, until `flowd resume`.

It holds at once for all workers, also of older versions and in other languages, and outlives
restarts of workers and of Redis. Jobs that run end, and are settled; those that fail wait.
Delayed jobs and ticks of schedules become due and wait. Producers enqueue as before. Workers
stay ready; `flowd stats` and `flowd doctor` show the pause."""


def add(commands: Commands) -> None:
    """Add the commands to the command line."""
    for verb, text, about, command in (
        ("pause", "let no worker take the jobs of a queue", _PAUSE, _pause),
        ("resume", "let workers take the jobs of a queue again", "", _resume),
    ):
        parser = add_command(
            commands,
            verb,
            text,
            command,
            description=about,
            examples=f"  flowd {verb} emails",
        )
        parser.add_argument("stream", metavar="STREAM", help="of the queue")
        parser.add_argument(
            "--group", help="the stream's group (default: the one it has)"
        )
        parser.set_defaults(job=None, raw=False)
        add_server(parser)


def _pause(options: argparse.Namespace) -> int:
    return asyncio.run(_set(options, paused=True))


def _resume(options: argparse.Namespace) -> int:
    return asyncio.run(_set(options, paused=False))


async def _set(options: argparse.Namespace, *, paused: bool) -> int:
    async with open_target(options) as target:
        stream = target.queries.stream
        try:
            changed = await (pause(stream) if paused else resume(stream))
        except GroupMissing:
            text = f"{target.name} has no group: start a worker, which sets it up"
            raise GroupMissing(text) from None
        word = "paused" if paused else "active"
        if options.json:
            print_json(
                {
                    "stream": target.queries.keys.stream,
                    "state": word,
                    "changed": changed,
                }
            )
        else:
            print(f"{printable(target.name)} {'is' if changed else 'was'} {word}")
    return 0
