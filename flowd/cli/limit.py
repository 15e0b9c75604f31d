"""`flowd limit`: the keys of a queue that are at their limit, and limits of their own."""

from __future__ import annotations

import argparse
import asyncio
from typing import Final

from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_command
from flowd.cli.output import as_json, print_blocks, print_json, span
from flowd.cli.table import Table
from flowd.cli.target import add_target, open_target
from flowd.model.text import printable
from flowd.ops.limits import KeyLimit, key_limits, reset_limit, set_limit

__all__ = ["add"]

_ABOUT: Final = """\
Without KEY: the keys that are at or near their limit, who has the slots, and how many jobs
wait. With KEY and N: give that key a limit of its own, for all workers at once and until
--reset; 0 pauses it: what runs ends, and nothing of the key starts."""

_SHOWN: Final = 3


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "limit",
        "show keys at their limit, change or pause one",
        _limit,
        description=_ABOUT,
        examples="  flowd limit crawls\n  flowd limit crawls customer=7 0\n"
        "  flowd limit crawls customer=7 --reset",
    )
    parser.add_argument("queue", metavar="STREAM", help="of the queue")
    parser.add_argument(
        "words",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="the fields that make up a key, or * for the whole queue; then its limit",
    )
    parser.add_argument(
        "--reset",
        action="store_true",
        help="let the key go by the schema again; without KEY: all keys",
    )
    add_target(parser, fields=False)


def _limit(options: argparse.Namespace) -> int:
    options.stream = options.queue
    words: list[str] = options.words
    if not options.reset and words:
        if len(words) < 2 or not words[-1].isdecimal():
            raise UsageError("give a key and its limit, as: customer=7 5")
        return asyncio.run(_set(options, _fields(words[:-1]), int(words[-1])))
    if options.reset:
        return asyncio.run(_reset(options, _fields(words) if words else None))
    return asyncio.run(_list(options))


def _fields(words: list[str]) -> dict[str, str]:
    if words == ["*"]:
        return {}
    if not all("=" in word for word in words):
        raise UsageError("a key is made of FIELD=VALUE, or is * for the whole queue")
    return dict(word.split("=", 1) for word in words)


async def _set(options: argparse.Namespace, fields: dict[str, str], limit: int) -> int:
    async with open_target(options) as target:
        name = await set_limit(target.queries, fields, limit)
        if options.json:
            print_json({"key": name[2:], "limit": limit})
        else:
            what = "is paused" if limit == 0 else f"has the limit {limit} now"
            print(f"{printable(name[2:])} of {printable(target.name)} {what}")
    return 0


async def _reset(options: argparse.Namespace, fields: dict[str, str] | None) -> int:
    async with open_target(options) as target:
        name = await reset_limit(target.queries, fields)
        if options.json:
            print_json({"key": name[2:] or None, "limit": None})
        else:
            what = "all keys" if fields is None else "the key"
            print(f"{what} of {printable(target.name)}: the limit of the schema holds")
    return 0


async def _list(options: argparse.Namespace) -> int:
    async with open_target(options) as target:
        found = await key_limits(target.queries)
    if options.json:
        print_json(as_json(found))
    elif not found:
        print("no key is near its limit")
    else:
        head = ("key", "policy", "limit", "taken", "parked", "next start", "held by")
        print_blocks([Table(head, [_row(each) for each in found])])
    return 0


def _row(each: KeyLimit) -> list[str]:
    limit = "?" if each.limit is None else f"{each.limit}"
    held = [printable(holder) for holder in each.holders[:_SHOWN]]
    if len(each.holders) > _SHOWN:
        held.append("…")
    return [
        *(printable(each.key), each.kind, f"{limit} (set)" if each.own else limit),
        *(str(each.taken), str(each.parked)),
        "-" if each.opens is None else f"in {span(each.opens)}",
        " ".join(held) or "-",
    ]
