"""`flowd cron`: the schedules of queues."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from flowd.broker.registry import listed_queues
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_command, add_server
from flowd.cli.output import as_json, print_blocks, print_json, print_note, span
from flowd.cli.table import Table
from flowd.cli.target import Target, add_target, open_target
from flowd.errors import ServerError
from flowd.model.text import printable
from flowd.ops.cron import (
    CronView,
    QueueSchedules,
    all_schedules,
    pause_schedule,
    run_schedule,
    schedule_names,
)
from flowd.ops.queries import Queries

__all__ = ["add", "moment_of", "state_of"]

_LIST: Final = """\
The schedules that are registered, with the last run and the next tick, in the zone of the
schedule and in UTC. A schedule is registered when a worker is set up, and the last one
counts."""

_PAUSE: Final = """\
Skip the ticks of a schedule, for all workers at once. Skipped ticks are not run later. The pause outlives restarts and new releases."""

_RUN: Final = """\
Enqueue the job of a schedule now, with its arguments. Its ticks are not changed; with
`overlap = "skip"` the next one is skipped if this run has not ended."""


def add(commands: Commands) -> None:
    """Add the commands to the command line."""
    cron = add_command(commands, "cron", "list, pause and run schedules", None)
    verbs = cron.add_subparsers(metavar="VERB", required=True)
    listed = add_command(
        verbs,
        "list",
        "list schedules, with the last run and the next tick",
        _list,
        description=_LIST,
        examples="  flowd cron list\n  flowd cron list --json | jq '.[] | select(.late > 0)'",
    )
    add_server(listed)
    for verb, text, about, command in (
        ("pause", "skip the ticks of a schedule", _PAUSE, _pause),
        ("resume", "run the ticks of a schedule again", "", _resume),
        ("run", "enqueue the job of a schedule now", _RUN, _run),
    ):
        parser = add_command(
            verbs,
            verb,
            text,
            command,
            description=about,
            examples=f"  flowd cron {verb} nightly\n"
            f"  flowd cron {verb} nightly --stream reports",
        )
        parser.add_argument("schedule", metavar="NAME", help="of the schedule")
        add_target(parser, fields=False)


def _list(options: argparse.Namespace) -> int:
    views, unseen = asyncio.run(_all_schedules(options))
    for each in unseen:
        print_note(f"not seen: {each}")
    code = 3 if unseen else 0
    if options.json:
        print_json(as_json(views))
        return code
    if not views:
        if not unseen:
            print("no schedule is registered on this server")
        return code
    head = (
        *("stream", "schedule", "when", "zone", "state", "last run", "outcome"),
        *("next", "next in UTC"),
    )
    rows = [
        [
            *(each.stream, each.name, each.when, each.tz, state_of(each)),
            *(moment_of(each.last_run_at), each.outcome or "-"),
            *(moment_of(each.next_tick), moment_of(each.next_tick, utc=True)),
        ]
        for each in views
    ]
    print_blocks([Table(head, rows)])
    return code


def state_of(view: CronView) -> str:
    """Whether a schedule ticks, as a word."""
    if view.paused:
        return "paused"
    return f"late by {span(view.late)}" if view.late else "active"


def moment_of(at: datetime | None, *, utc: bool = False) -> str:
    """A time in its zone, or in UTC; `-` for none."""
    if at is None:
        return "-"
    return (at.astimezone(UTC) if utc else at).isoformat(" ", "seconds")


async def _all_schedules(
    options: argparse.Namespace,
) -> tuple[list[CronView], list[ServerError]]:
    """All that can be seen, and why others cannot."""
    async with connected(Address.of(options.url)) as connection:
        found = await all_schedules(connection, await listed_queues(connection))
    seen = [each for each in found if isinstance(each, QueueSchedules)]
    return (
        [each for queue in seen for each in queue.schedules],
        [each for each in found if isinstance(each, ServerError)],
    )


@asynccontextmanager
async def _queue(options: argparse.Namespace) -> AsyncGenerator[Target]:
    """The queue that the options name, or the one that has the schedule.

    Raises:
        UsageError: no queue has a schedule of this name, or several have.
    """
    if options.stream is None and options.job is None:
        options.stream, options.group = await _place(options)
    async with open_target(options) as target:
        yield target


async def _place(options: argparse.Namespace) -> tuple[str | None, str | None]:
    """Stream and group of the queue whose schedule it is; as given if one queue is there."""
    group: str | None = options.group
    async with connected(Address.of(options.url)) as connection:
        queues = [
            Queries(connection, each.keys.stream, each.group)
            for each in await listed_queues(connection)
            if group in (None, each.group)
        ]
        names = await asyncio.gather(*map(schedule_names, queues))
    if len(queues) <= 1:
        return None, group
    fitting = [
        each
        for each, there in zip(queues, names, strict=True)
        if options.schedule in there
    ]
    if len(fitting) == 1:
        return fitting[0].keys.stream, fitting[0].group
    shown = printable(options.schedule)
    if fitting:
        places = ", ".join(f"{each.keys.stream} ({each.group})" for each in fitting)
        raise UsageError(
            f"{len(fitting)} queues have a schedule {shown}: name one of them with"
            f" --stream, and --group if need be: {printable(places)}"
        )
    known = ", ".join(
        f"{name} of {each.keys.stream} ({each.group})"
        for each, there in zip(queues, names, strict=True)
        for name in there
    )
    raise UsageError(
        f"no queue on this server has a schedule {shown}; there:"
        f" {printable(known) or 'none'}"
    )


def _pause(options: argparse.Namespace) -> int:
    return asyncio.run(_set(options, paused=True))


def _resume(options: argparse.Namespace) -> int:
    return asyncio.run(_set(options, paused=False))


async def _set(options: argparse.Namespace, *, paused: bool) -> int:
    async with _queue(options) as target:
        changed = await pause_schedule(target.queries, options.schedule, paused=paused)
        word = "paused" if paused else "active"
        if options.json:
            said = {"schedule": options.schedule, "state": word, "changed": changed}
            print_json(said)
        else:
            was = "is" if changed else "was"
            name = printable(options.schedule)
            print(f"{name} of {printable(target.name)} {was} {word}")
    return 0


def _run(options: argparse.Namespace) -> int:
    return asyncio.run(_run_now(options))


async def _run_now(options: argparse.Namespace) -> int:
    async with _queue(options) as target:
        job_id = await run_schedule(target.queries, options.schedule)
        print_json({"id": job_id}) if options.json else print(job_id)
    return 0
