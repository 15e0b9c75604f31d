"""The dead letters that a verb of `flowd dlq` means, and how one is shown."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from flowd.cli.options import count, pair, seconds
from flowd.cli.show import fields_as_json, object_of
from flowd.cli.target import Target, opened
from flowd.deadletter import DeadLetters
from flowd.display import printable
from flowd.job import Job
from flowd.letter import Letter
from flowd.ops.letters import Pick, pick
from flowd.ops.look import server_time

__all__ = ["Request", "add_pick", "letter_as_json", "letter_line", "requested"]

_SHORT: Final = 120


@dataclass(frozen=True, slots=True)
class Request:
    """The letters of a queue, and which of them are meant."""

    target: Target
    letters: DeadLetters[Job]
    wish: Pick
    last: str
    """The newest letter that may be meant: what dies later, nobody has asked about."""

    options: argparse.Namespace

    @property
    def is_filtered(self) -> bool:
        """Whether not all letters of the queue are meant."""
        return self.wish != Pick()

    async def total(self) -> int:
        """How many letters the queue has."""
        return (await self.target.look.sizes()).dead

    def picked(
        self, told: Callable[[], object], *, scan: int = 0, limit: int = 0
    ) -> AsyncIterator[Letter[Job]]:
        """The letters that are meant, as `flowd.ops.letters.pick`."""
        return pick(
            self.target.look.stream,
            self.target.job_class,
            self.wish,
            last=self.last,
            scan=scan,
            limit=limit,
            told=told,
        )


def add_pick(parser: argparse.ArgumentParser, limit: int) -> None:
    """Add the options that choose among the letters of a queue."""
    chosen = parser.add_argument_group("which letters")
    chosen.add_argument(
        "--error", metavar="TEXT", default="", help="TEXT is in the error or the reason"
    )
    for name, than in (("--older", "longer"), ("--newer", "less long")):
        chosen.add_argument(
            name,
            metavar="AGE",
            type=seconds,
            help=f"the job died {than} ago than AGE, as 90s, 10m, 12h or 30d",
        )
    chosen.add_argument(
        "--field",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="the field has this text; may be given again",
    )
    chosen.add_argument(
        *("-n", "--limit"),
        metavar="N",
        type=count,
        default=limit,
        help=f"so many at most (default: {limit or 'all'})",
    )


@asynccontextmanager
async def requested(options: argparse.Namespace) -> AsyncGenerator[Request]:
    """What the options ask for, over a connection that is closed at the end.

    Raises:
        UsageError: they name no queue.
        ServerError: the server cannot be asked.
    """
    async with opened(options) as target:
        look = target.look
        wish, last = Pick(), await look.stream.last_letter()
        if "error" in options:
            now = await server_time(look.link)
            wish = Pick(
                text=options.error,
                fields={name.encode(): value.encode() for name, value in options.field},
                since=_ago(now, options.newer),
                until=_ago(now, options.older),
            )
        async with DeadLetters(
            target.job_class, options.url, stream=look.keys.stream, group=look.group
        ) as letters:
            yield Request(target, letters, wish, last, options)


def letter_line(letter: Letter[Job]) -> str:
    """A letter on a line."""
    died = f"{letter.died_at:%Y-%m-%d %H:%M:%S}"
    error = printable(letter.error, _SHORT)
    return f"{letter.id:<18} {died} {printable(letter.reason):<11} {error}"


def letter_as_json(letter: Letter[Job], target: Target) -> dict[str, object]:
    """A letter as a JSON object, its fields as the entry has them."""
    shown = object_of(letter, without=("job", "fields"))
    return {**shown, **fields_as_json(letter.fields, target.hidden(letter.fields))}


def _ago(now: float, age: float | None) -> datetime | None:
    """The moment that was so many seconds ago; long ago is as good as for ever."""
    if age is None:
        return None
    return datetime.fromtimestamp(max(0.0, now - age), UTC)
