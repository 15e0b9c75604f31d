"""`flowd stats`: what every queue holds."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Final

from flowd.address import Address
from flowd.cli.options import Commands, add_server
from flowd.display import printable
from flowd.session import Session
from flowd.steps import Sizes
from flowd.stream import Stream, registered

__all__ = ["add"]

_HEAD: Final = (
    *("stream", "group", "waiting", "running", "delayed", "dead", "consumers"),
)


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "stats",
        help="how many jobs wait, run and died",
        description="What every queue holds that was set up on this server.",
        formatter_class=argparse.HelpFormatter,
    )
    add_server(parser)
    parser.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> int:
    queues = asyncio.run(_ask(Address.of(options.url)))
    if options.json:
        print(json.dumps([_as_json(*queue) for queue in queues], indent=2))
    elif not queues:
        print("no queue was set up on this server yet")
    else:
        _print_table([_HEAD, *(_row(*queue) for queue in queues)])
    return 0


async def _ask(address: Address) -> Sequence[tuple[Stream, Sizes]]:
    session = Session.join(address)
    try:
        streams = await registered(session.link)
        sizes = await asyncio.gather(*(stream.sizes() for stream in streams))
    finally:
        await session.leave()
    return list(zip(streams, sizes, strict=True))


def _as_json(stream: Stream, sizes: Sizes) -> dict[str, str | int | None]:
    return {"stream": stream.keys.stream, "group": stream.group, **sizes._asdict()}


def _row(stream: Stream, sizes: Sizes) -> tuple[str, ...]:
    numbers = ("-" if number is None else f"{number:,}" for number in sizes)
    return printable(stream.keys.stream), printable(stream.group), *numbers


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        names = [
            text.ljust(width) for text, width in zip(row[:2], widths, strict=False)
        ]
        numbers = [
            text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)
        ]
        print("  ".join([*names, *numbers]))
