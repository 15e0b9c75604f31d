"""`flowd dlq`: list, count, show, export, redrive and purge dead letters."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Final, TypeAlias

from flowd.cli.letters import (
    LETTERS,
    Selection,
    add_pick,
    letter_as_json,
    letter_row,
    print_letter,
    selection,
)
from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_command, count, pair, rate
from flowd.cli.output import (
    Listing,
    object_of,
    print_blocks,
    print_json,
)
from flowd.cli.progress import progress
from flowd.cli.redrive import purge, redrive
from flowd.cli.table import Table
from flowd.cli.target import add_target
from flowd.model.text import count_of, printable
from flowd.ops.newest import summarize

__all__ = ["add"]

_LIMIT: Final = 50
_SCAN: Final = 20_000

_DESCRIPTION: Final = """\
Dead letters: jobs that will not run again by themselves, with their fields and the reason.

The queue is named by --job, the generated class, or by --stream. Fields that the class
marks as secret are hidden. For fields that no class names only the size is shown, unless
you give --raw."""

_EXAMPLES: Final = """\
  flowd dlq list --newer 1h
  flowd dlq list --stream emails --error TimeoutError
  flowd dlq summary --newer 1d
  flowd dlq show 1795535506792-0
  flowd dlq redrive --all --error TimeoutError --dry-run
  flowd dlq redrive --all --error TimeoutError --rate 50/s
  flowd dlq redrive --all --job jobs.email:Email --field to=x --set to=a@b.c
  flowd dlq export --older 30d --raw > letters.jsonl
  flowd dlq purge --all --from letters.jsonl"""

Action: TypeAlias = Callable[[Selection], Awaitable[int]]


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "dlq",
        "list, count, show, export, redrive and purge dead letters",
        None,
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = _verb(verbs, "list", "one line for each letter, oldest first", _list)
    add_pick(listing, _LIMIT)
    listing.add_argument(
        "--scan",
        metavar="N",
        type=count,
        default=_SCAN,
        help=f"read at most so many letters (default: {_SCAN:,}; 0: all)",
    )
    summing = _verb(
        verbs,
        "summary",
        "count the letters by error, the most frequent first",
        _summary,
    )
    add_pick(summing, None)
    summing.add_argument(
        "--scan",
        metavar="N",
        type=count,
        default=_SCAN,
        help=f"look at the newest N letters (default: {_SCAN:,}; 0: all)",
    )
    showing = _verb(verbs, "show", "all details of one letter", _show)
    showing.add_argument("id", metavar="ID", help="of the letter or of its job")
    showing.add_argument(
        "--scan",
        metavar="N",
        type=count,
        default=_SCAN,
        help=f"search so many letters for a job at most (default: {_SCAN:,}; 0: all)",
    )
    exporting = _verb(verbs, "export", "letters as lines of JSON, nothing cut", _export)
    add_pick(exporting, 0)
    redriving = _verb(verbs, "redrive", "put jobs back into their stream", redrive)
    redriving.add_argument(
        "--set",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="first give a field another value; needs --job, whose class checks it",
    )
    redriving.add_argument(
        "--when-free",
        action="store_true",
        help="a job whose `unique` key is taken runs when that is free",
    )
    purging = _verb(verbs, "purge", "delete letters permanently", purge)
    purging.add_argument("--yes", action="store_true", help="do not ask")
    for each in (redriving, purging):
        each.set_defaults(scan=_SCAN)
        each.add_argument(
            "ids", metavar="ID", nargs="*", help="of letters or of their jobs"
        )
        each.add_argument(
            "--all", action="store_true", help="all letters, or those that match"
        )
        each.add_argument(
            "--dry-run",
            action="store_true",
            help="list the letters, and change nothing",
        )
        each.add_argument(
            "--rate", metavar="N/s", type=rate, help="at most N letters per second"
        )
        add_pick(each, 0)


def _verb(
    verbs: Commands, name: str, text: str, action: Action
) -> argparse.ArgumentParser:
    def command(options: argparse.Namespace) -> int:
        return asyncio.run(_carry_out(options, action))

    own = [line for line in _EXAMPLES.splitlines() if f" dlq {name} " in line]
    parser = add_command(verbs, name, text, command, examples="\n".join(own))
    add_target(parser)
    return parser


async def _carry_out(options: argparse.Namespace, action: Action) -> int:
    async with selection(options) as request:
        return await action(request)


async def _list(request: Selection) -> int:
    options, shown, listing = request.options, 0, Listing(LETTERS)
    looked = itertools.count()
    total = await request.total()
    more = options.limit and options.limit + 1  # one more shows that there are others
    bar = progress("looking", total) if request.is_filtered else nullcontext(int)
    with bar as advance:

        def on_progress() -> None:
            next(looked)
            advance()

        async for letter in request.picked(on_progress, scan=options.scan, limit=more):
            if options.limit and shown == options.limit:
                listing.close()
                text = f"… and more: --limit 0 shows all ({shown} shown)"
                print(text, file=sys.stderr)
                break
            if options.json:
                print_json(letter_as_json(letter, request.target))
            else:
                listing.add(letter_row(letter))
            shown += 1
    listing.close()
    if options.scan and next(looked) == options.scan < total:
        text = f"looked at {options.scan:,} of {total:,} letters: --scan 0 looks at all"
        print(text, file=sys.stderr)
    elif not shown:
        which = " that match" if request.is_filtered else ""
        print(
            f"no dead letters{which} in {printable(request.target.name)}",
            file=sys.stderr,
        )
    return 0


async def _summary(request: Selection) -> int:
    total = await request.total()
    with progress("looking", total) as advance:
        found = await summarize(
            request.target.queries,
            request.filter,
            scan=request.options.scan,
            on_progress=advance,
        )
    if request.options.json:
        for group in found.groups:
            print_json(object_of(group))
    elif found.groups:
        rows = [
            [
                *(f"{each.count:,}", f"{each.first:%Y-%m-%d %H:%M:%S}"),
                *(f"{each.last:%Y-%m-%d %H:%M:%S}", each.newest, each.like),
            ]
            for each in found.groups
        ]
        head = ("count", "first", "last", "newest", "error")
        print_blocks([Table(head, rows, {"count"})])
    else:
        which = " that match" if request.is_filtered else ""
        name = printable(request.target.name)
        print(f"no dead letters{which} in {name}", file=sys.stderr)
    if found.others:
        text = f"… and {count_of(found.others, 'letter')} with other errors"
        print(text, file=sys.stderr)
    if not found.complete and found.looked < total:
        text = (
            f"looked at the newest {found.looked:,} of {total:,} letters:"
            " --scan 0 looks at all"
        )
        print(text, file=sys.stderr)
    return 0


async def _export(request: Selection) -> int:
    if request.target.job_class is None and not request.target.raw:
        # A purge of exported letters must not lose values that were hidden.
        raise UsageError(
            "an export without a class would hide every value: name it with --job"
            " MODULE:CLASS, which hides secret fields only, or hide nothing with --raw"
        )
    with progress("exporting", await request.total()) as on_progress:
        async for letter in request.picked(on_progress, limit=request.options.limit):
            print_json(letter_as_json(letter, request.target))
    return 0


async def _show(request: Selection) -> int:
    print_letter(await request.find(request.options.id), request)
    return 0
