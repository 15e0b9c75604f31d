"""`flowd preflight`: can workers with these classes read what is queued now?"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli.load import load_job_classes
from flowd.cli.options import Commands, add_app_dir, add_command, add_server, count
from flowd.cli.output import (
    Block,
    object_of,
    print_blocks,
    print_json,
)
from flowd.cli.progress import progress
from flowd.cli.table import Table
from flowd.model.job import Job
from flowd.model.text import count_of, printable
from flowd.ops.decode_check import DecodeCheck
from flowd.ops.preflight import (
    PreflightFinding,
    PreflightRow,
    check_classes,
    findings,
    rows,
)
from flowd.ops.unread import unread_queues

__all__ = ["add"]

_SAMPLES: Final = 5
_LONG: Final = 1_000
_LEVELS: Final = {"breaking": "error", "warning": "warning", "note": "notice"}

_DESCRIPTION: Final = """\
Decode all waiting, running, delayed, parked and dead jobs with the generated classes of a package
or module, and list the jobs that a worker with these classes cannot read. Run it before a
deploy, with the code to be deployed. No job is run and nothing is changed; mappers and
migrations are run.

Jobs that end or are enqueued while it runs are not checked. Jobs of a newer version, and
dead letters that were undecodable when they died, are listed and do not fail the check.
Nor do queues with jobs that no class here reads. A stream that another group reads does:
workers refuse it.

exit codes: 0 yes, deploy it; 1 no, jobs cannot be read or a stream is refused;
2 invalid usage, or code that cannot be imported; 3 Redis refused or cannot be reached, or a bug"""

_EXAMPLES: Final = """\
  flowd preflight jobs
  flowd preflight jobs --url redis://localhost:6379
  flowd preflight jobs.email --limit 1000 --json | jq 'select(.severity)'"""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "preflight",
        "list the queued jobs that the classes of a release cannot read",
        _command,
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "jobs", metavar="PACKAGE_OR_MODULE", help="what `flowd-gen -o` wrote"
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=count,
        default=0,
        help="check only the first N of each place of a queue (default: all)",
    )
    parser.add_argument(
        "--ids",
        metavar="N",
        type=count,
        default=_SAMPLES,
        help=f"name so many jobs for each reason (default: {_SAMPLES})",
    )
    parser.add_argument(
        "--github",
        action="store_true",
        help="print findings as annotations of GitHub Actions",
    )
    add_app_dir(parser)
    add_server(parser)


def _command(options: argparse.Namespace) -> int:
    classes = load_job_classes(options.jobs, options.app_dir)
    address = Address.of(options.url)
    started = time.perf_counter()
    checks, unread = asyncio.run(_check(classes, options))
    seconds = time.perf_counter() - started
    for finding in (*chain.from_iterable(map(findings, checks)), *unread):
        if options.json:
            print_json(object_of(finding))
        elif options.github:
            print(_github_line(finding))
        else:
            print("\n".join(_lines(finding)))
    table = [row for check in checks for row in rows(check)]
    answer = _answer(table, unread, f"{address}", options.limit, seconds)
    if options.json:
        for row in table:
            print_json(object_of(row))
    if options.json or options.github:
        # A program that reads the findings has no use for people's text among them.
        print(answer, file=sys.stderr)
    else:
        print_blocks([*_blocks(table), answer])
    refused = any(each.severity == "breaking" for each in unread)
    return int(refused or any(row.unreadable for row in table))


async def _check(
    classes: Sequence[type[Job]], options: argparse.Namespace
) -> tuple[list[DecodeCheck], list[PreflightFinding]]:
    async with connected(Address.of(options.url)) as connection:
        checks = await check_classes(
            connection,
            classes,
            limit=options.limit,
            samples=options.ids,
            progress=lambda total: progress("decoding", total, lines=True),
        )
        return checks, await unread_queues(connection, classes)


def _lines(finding: PreflightFinding) -> Iterator[str]:
    place = f"{finding.path}:{finding.line}: " if finding.path else ""
    head = f"{place}{finding.severity}[{finding.code}]"
    yield printable(f"{head}: {finding.message}", _LONG)
    for note in finding.notes:
        yield f"  = {printable(note, _LONG)}"


def _github_line(finding: PreflightFinding) -> str:
    """A workflow command that shows the finding at its line in a pull request."""
    level = _LEVELS[finding.severity]
    path = _escaped(finding.path).replace(":", "%3A").replace(",", "%2C")
    text = printable("; ".join((finding.message, *finding.notes)), _LONG)
    place = f"file={path},line={finding.line}," if path else ""
    return f"::{level} {place}title={finding.code}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _blocks(rows: Sequence[PreflightRow]) -> list[Block]:
    """The numbers as a table; nothing where there are none."""
    numbers = ("seen", "readable", "newer", "unreadable", "undecodable before")
    cells = [
        [
            *(row.job, row.place, f"{row.seen:,}", f"{row.readable:,}"),
            *(f"{row.newer:,}", f"{row.unreadable:,}", f"{row.undecodable_before:,}"),
        ]
        for row in rows
    ]
    return [Table(["job", "place", *numbers], cells, numbers)] if cells else []


def _answer(
    rows: Sequence[PreflightRow],
    unread: Sequence[PreflightFinding],
    server: str,
    limit: int,
    seconds: float,
) -> str:
    """The one line that all read."""
    seen = sum(row.seen for row in rows)
    others = sum(each.count for each in unread)
    missed = f"; {count_of(others, 'job')} in queues that no class here reads"
    refused = {each.stream for each in unread if each.severity == "breaking"}
    if refused and not any(row.unreadable for row in rows):
        names = printable(", ".join(sorted(refused)), _LONG)
        return f"no: workers of these classes will refuse what another group reads: {names}"
    if not seen and others:
        return f"yes, but nothing is in the streams of these classes{missed}"
    if not seen:
        return (
            "yes: no job is queued for these classes;"
            f" is {server} the right server and database?"
        )
    which = f"of the first {limit:,} of each place" if limit else "that are there now"
    speed = f"({seen:,} looked at, {seen / seconds:,.0f} messages/s)"
    if unreadable := sum(row.unreadable for row in rows):
        return (
            f"no: {unreadable:,} of the jobs {which} cannot be read {speed};"
            " `flowd-gen diff` says how to make the change safe"
        )
    newer = sum(row.newer for row in rows)
    rest = f"; {count_of(newer, 'job')} will wait for newer workers" if newer else ""
    whole = "all jobs in the streams of these classes"
    what = f"{whole}, {which}," if limit else whole
    return f"yes: {what} can be read{rest}{missed if others else ''} {speed}"
