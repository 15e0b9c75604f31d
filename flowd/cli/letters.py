"""The dead letters that a command of `flowd dlq` selects, and how one is shown."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowd.broker.dead_letters import newest_letter
from flowd.broker.server_time import server_time
from flowd.cli.options import add_ages, add_fields, ago, count, id_advice
from flowd.cli.output import (
    field_texts,
    fields_as_json,
    object_of,
    print_details,
    print_json,
)
from flowd.cli.table import Table
from flowd.cli.target import Target, open_target
from flowd.deadletter import DeadLetters
from flowd.errors import LetterNotFound
from flowd.model.job import Job
from flowd.model.letter import Letter
from flowd.model.text import printable
from flowd.ops.letters import LetterFilter, by_job_id, pick

__all__ = [
    "LETTERS",
    "Selection",
    "add_pick",
    "letter_as_json",
    "letter_row",
    "print_letter",
    "selection",
]

_SHORT: Final = 120
_LONG: Final = 10_000
LETTERS: Final = Table(("letter", "died", "reason", "error"), (), cut={"error"})
"""The columns of a list of letters."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The letters of a queue, and which of them are selected."""

    target: Target
    letters: DeadLetters[Job]
    filter: LetterFilter
    last: str
    """The newest letter when the command began; later ones are not selected."""

    options: argparse.Namespace

    @property
    def is_filtered(self) -> bool:
        """Whether the options exclude some letters of the queue."""
        return self.filter != LetterFilter()

    async def total(self) -> int:
        """How many letters the queue has."""
        return (await self.target.queries.sizes()).dead

    async def find(self, name: str) -> Letter[Job]:
        """The letter with this id, or that of the job with this id.

        Of those that died since the job was enqueued, `--scan` are searched.

        Raises:
            LetterNotFound: there is neither.
            ServerError: the server cannot be asked.
        """
        try:
            return await self.letters.get(name)
        except LetterNotFound as error:
            if not name:  # so is the job of a letter that flowd did not write
                raise
            searched, scan = itertools.count(), self.options.scan
            letter_filter = by_job_id(name)
            async for letter in self.picked(
                lambda: next(searched), letter_filter=letter_filter, scan=scan, limit=1
            ):
                return letter
            text = f"{error}, and none whose job it is"
            if advice := id_advice(name):
                text += advice
            elif scan and next(searched) == scan:
                text += f" among {scan:,} (flowd dlq show ID --scan 0 looks at all)"
            else:
                text += ": it was redriven or purged, or never was here"
            raise LetterNotFound(text) from None

    def picked(
        self,
        on_progress: Callable[[], object],
        *,
        letter_filter: LetterFilter | None = None,
        scan: int = 0,
        limit: int = 0,
    ) -> AsyncIterator[Letter[Job]]:
        """The selected letters, as `flowd.ops.letters.pick`."""
        return pick(
            self.target.queries.stream,
            self.target.job_class,
            self.filter if letter_filter is None else letter_filter,
            last=self.last,
            scan=scan,
            limit=limit,
            on_progress=on_progress,
        )


def add_pick(parser: argparse.ArgumentParser, limit: int | None) -> None:
    """Add the options that choose among the letters of a queue.

    Args:
        parser: of the command.
        limit: how many it takes, 0: all; None: there is no such option.
    """
    chosen = parser.add_argument_group("which letters")
    chosen.add_argument(
        "--error", metavar="TEXT", default="", help="TEXT is in the error or the reason"
    )
    chosen.add_argument(
        "--like",
        metavar="TEXT",
        default="",
        help="the error is TEXT in `flowd dlq summary`",
    )
    add_ages(chosen, "the job died {} ago than AGE, as 90s, 10m, 12h or 30d")
    chosen.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        type=_ids_in,
        help="it is in FILE, which `flowd dlq export` wrote",
    )
    add_fields(chosen)
    if limit is not None:
        chosen.add_argument(
            *("-n", "--limit"),
            metavar="N",
            type=count,
            default=limit,
            help=f"so many at most (default: {limit or 'all'})",
        )


@asynccontextmanager
async def selection(options: argparse.Namespace) -> AsyncGenerator[Selection]:
    """What the options ask for, over a connection that is closed at the end.

    Raises:
        UsageError: they name no queue.
        ServerError: the server cannot be asked.
    """
    async with open_target(options) as target:
        queries = target.queries
        letter_filter, last = LetterFilter(), await newest_letter(queries.stream)
        if "error" in options:
            now = await server_time(queries.connection)
            letter_filter = LetterFilter(
                text=options.error,
                like=options.like,
                fields={name.encode(): value.encode() for name, value in options.field},
                since=ago(now, options.newer),
                until=ago(now, options.older),
                ids=options.source,
            )
        async with DeadLetters(
            target.job_class,
            options.url,
            stream=queries.keys.stream,
            group=queries.group,
        ) as letters:
            yield Selection(target, letters, letter_filter, last, options)


def letter_row(letter: Letter[Job]) -> list[str]:
    """A letter as a row of `LETTERS`."""
    died = f"{letter.died_at:%Y-%m-%d %H:%M:%S}"
    return [letter.id, died, letter.reason, printable(letter.error, _SHORT)]


def print_letter(letter: Letter[Job], request: Selection) -> None:
    """Print all details of a letter, or with `--json` one object."""
    target = request.target
    if request.options.json:
        print_json(letter_as_json(letter, target), indent=True)
        return
    rows = {
        "letter": letter.id,
        "job": letter.job_id,
        "state": "dead",
        "reason": letter.reason,
        "attempts": f"{letter.attempts}",
        "deliveries": f"{letter.deliveries}",
        "enqueued": f"{letter.enqueued_at:%Y-%m-%d %H:%M:%S} UTC",
        "died": f"{letter.died_at:%Y-%m-%d %H:%M:%S} UTC",
        "consumer": letter.consumer,
        "error": letter.error,
    }
    if target.job_class is not None:
        rows["decodes"] = target.decodes(letter.fields)
    print_details(rows, field_texts(letter.fields, target.hidden(letter.fields)))
    if letter.traceback:
        print("traceback")
        for line in letter.traceback.splitlines():
            print(f"  {printable(line, _LONG)}")


def letter_as_json(letter: Letter[Job], target: Target) -> dict[str, object]:
    """A letter as a JSON object, its fields as the entry has them."""
    shown = object_of(letter, without=("job", "fields"))
    return {**shown, **fields_as_json(letter.fields, target.hidden(letter.fields))}


def _ids_in(name: str) -> frozenset[str]:
    """The ids of the letters in a file."""
    try:
        with Path(name).open(encoding="utf-8") as lines:
            return frozenset(map(_id_in, lines))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {name}: {error}") from None


def _id_in(line: str) -> str:
    match json.loads(line):
        case {"id": str(letter_id), "job_id": str()}:
            return letter_id
        case _:
            raise ValueError(f"this line is no letter: {printable(line, _SHORT)}")
