"""The command `flowd-gen live SRC --url URL`: may I ship this?"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from flowd.errors import OptionError, ServerError
from flowd_codegen.cli.command import (
    Options,
    command_parser,
    ended,
    path,
    read_contract,
    told,
)
from flowd_codegen.cli.counter import counter
from flowd_codegen.diagnostics.report import visible
from flowd_codegen.live import Row, findings, jobs, rows, try_all
from flowd_codegen.python.importing import NotImportable, imported

__all__ = ["run"]

_DESCRIPTION: Final = """\
Read everything that is in the queues of these schemas now, waiting, running, delayed and
dead, with the classes that they would become, and say what a worker with these classes
could not read. Nothing is run and nothing is changed.

Jobs move meanwhile: what is done by then is not looked at, and what comes later neither.
Jobs of a newer version, and dead letters that were undecodable before, are told and do
not count."""

_EXIT_CODES: Final = """\
exit codes: 0 yes, ship it; 1 no, jobs cannot be read; 2 invalid schemas or usage, or
mappers that cannot be imported; 3 the server cannot be asked, or a bug"""

_SAMPLES: Final = 5
_NUMBERS: Final = ("seen", "readable", "newer", "unreadable", "undecodable_before")


class _Options(Options):
    """What argparse fills in."""

    url: str | None
    app_dir: Path
    out: Path | None
    limit: int
    ids: int


def run(arguments: Sequence[str]) -> int:
    """Try the classes of schemas on what is queued; returns the exit code."""
    options = _parser().parse_args(arguments, _Options())

    def work() -> int:
        try:
            return _live(options)
        except (NotImportable, OptionError) as error:
            return _say(error, 2)
        except ServerError as error:
            return _say(error, 3)

    try:
        return ended(work, options.format)
    except KeyboardInterrupt:
        return 130


def _live(options: _Options) -> int:
    contract = read_contract(options)
    with imported(contract.schema, options.app_dir, options.out) as classes:
        started = time.perf_counter()
        asked = try_all(
            [*classes.values()],
            options.url,
            limit=options.limit,
            samples=options.ids,
            counter=counter,
        )
        server, trials = asyncio.run(asked)
        seconds = time.perf_counter() - started
    for trial in trials:
        for finding in findings(trial, contract):
            print(told(finding.fault, options.format, **finding.more))
    table = [row for trial in trials for row in rows(trial)]
    if options.format == "json":
        for row in table:
            print(json.dumps(dataclasses.asdict(row)))
    # A program that reads the findings has no use for people's text among them.
    out = sys.stdout if options.format == "text" else sys.stderr
    for line in (*_drawn(table), _answer(table, server, options.limit, seconds)):
        print(line, file=out)
    return int(any(row.unreadable for row in table))


def _drawn(table: Sequence[Row]) -> Iterator[str]:
    """The numbers as a table; nothing where there are none."""
    cells = [
        ("job", "place", *(name.replace("_", " ") for name in _NUMBERS)),
        *(
            (row.job, row.place, *(f"{getattr(row, name):,}" for name in _NUMBERS))
            for row in table
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells[: len(cells) if table else 0]:
        texts, numbers = line[:2], line[2:]
        yield "  ".join(
            (
                *map(str.ljust, texts, widths[:2]),
                *map(str.rjust, numbers, widths[2:]),
            )
        )


def _answer(table: Sequence[Row], server: str, limit: int, seconds: float) -> str:
    """The one line that everybody reads."""
    seen = sum(row.seen for row in table)
    if not seen:
        return f"yes, but nothing is there: is {server} the right server and database?"
    which = f"of the first {limit:,} of each place" if limit else "that are there now"
    speed = f"({seen:,} looked at, {seen / seconds:,.0f} messages/s)"
    if unreadable := sum(row.unreadable for row in table):
        return (
            f"no: {jobs(unreadable)} {which} cannot be read {speed}; `flowd-gen diff`"
            " says how to make the change safe"
        )
    newer = sum(row.newer for row in table)
    rest = f"; {jobs(newer)} will wait for newer workers" if newer else ""
    return f"yes: all jobs {which} can be read{rest} {speed}"


def _say(error: Exception, code: int) -> int:
    for line in str(error).splitlines():
        print(f"error: {visible(line)}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "live SRC [--url URL] [-o OUT] [--app-dir DIR] [--limit N] [--ids N]"
        " [--format FORMAT]",
        _DESCRIPTION,
    )
    parser.epilog = _EXIT_CODES
    parser.add_argument("--url", help="as redis://localhost:6379 (default: $FLOWD_URL)")
    parser.add_argument(
        *("-o", "--out"),
        metavar="OUT",
        type=path,
        help="package folder that has the migrations, where jobs have older versions",
    )
    parser.add_argument(
        "--app-dir",
        metavar="DIR",
        type=path,
        default=Path(),
        help="folder that mappers are imported from (default: the current one)",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_count,
        default=0,
        help="look only at the first N of each place of a queue (default: all)",
    )
    parser.add_argument(
        "--ids",
        metavar="N",
        type=_count,
        default=_SAMPLES,
        help=f"name so many jobs for each reason (default: {_SAMPLES})",
    )
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, 0 or more")
    return int(text)
