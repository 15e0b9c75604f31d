"""`flowd stats` and `flowd consumers`: the jobs and the workers of every queue."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

from flowd.broker.connection import Connection
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli.cron import moment_of, state_of
from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_command, add_server, seconds
from flowd.cli.output import (
    Block,
    as_json,
    object_of,
    print_blocks,
    print_error,
    print_json,
    screen,
    span,
)
from flowd.cli.table import Table
from flowd.cli.tables import by_severity, queue_table, running_table, worker_table
from flowd.errors import NotReady, OutcomeUnknown, ServerError, Unreachable
from flowd.model.text import count_of, printable
from flowd.ops.overview import QueueView, overview

__all__ = ["add"]

Seen: TypeAlias = Sequence[QueueView | ServerError]

_NONE: Final = "no queue was set up on this server yet"
_NONE_THERE: Final = (
    "no queue on stream {} was set up on this server; without --stream all are shown"
)
_GLANCE: Final = 10
_MANY: Final = 20
_SOONEST: Final = 0.1

_STATS: Final = """\
The jobs and workers of every queue that was set up on this server.

- waiting: not delivered yet; oldest: how long the oldest of them has waited
- running: delivered and not settled, of so many slots of workers that live
- parked: at the gate of a queue with policies (flowd limit); shown if there are any
- retrying: failed, and will be tried again; scheduled: enqueued or released for later;
  newer: no worker can read its version. ~ is estimated, of more than 500 delayed jobs
- next due: the time until the first of these is due, or since it was (-)
- dead: dead-lettered, see `flowd dlq`

Below are the queues that are paused, the schedules and when they tick next, and the workers.
Queues with a problem come first. On a narrow terminal columns are left out."""

_CONSUMERS: Final = """\
The workers of every queue, and the jobs that they run.

- working: holds jobs; idle: holds none
- stopping: is being shut down
- dead: gave no sign of life for a lease: it was killed, or is frozen or cut off; another
  worker claims its jobs
- stuck: a name under which handlers are left that did not end; their jobs are claimed

`slots` is how many jobs it runs at once. A worker gives a sign of life every two seconds; of
one that gives none, as one without flowd's rights, Redis's own is shown, and no slots."""


def add(commands: Commands) -> None:
    """Add the commands to the command line."""
    stats = add_command(
        commands,
        "stats",
        "count the jobs of every queue: waiting, running, delayed, dead",
        _stats,
        description=_STATS,
        examples="  flowd stats\n  flowd stats --watch\n  flowd stats --problems\n"
        "  flowd stats --json | jq '.[] | select(.oldest > 60)'",
    )
    stats.add_argument(
        "--watch",
        metavar="SECONDS",
        type=seconds,
        nargs="?",
        const=2.0,
        help="refresh every 2 seconds, or at the given interval",
    )
    stats.add_argument(
        "--problems",
        action="store_true",
        help="only queues that have a problem; exit with 1 if one has",
    )
    consumers = add_command(
        commands,
        "consumers",
        "list workers, and the jobs that they run",
        _consumers,
        description=_CONSUMERS,
        examples="  flowd consumers\n"
        "  flowd consumers --json | jq '.[] | select(.state == \"dead\")'",
    )
    for parser in (stats, consumers):
        parser.add_argument("--stream", help="only the queues on this stream")
        add_server(parser)


def _stats(options: argparse.Namespace) -> int:
    if options.watch is not None:
        return asyncio.run(_watch(options))
    seen = asyncio.run(_read_queues(options, _GLANCE))
    if options.json:
        print_json(_stats_as_json(seen, options), indent=True)
    else:
        print_blocks(_stats_blocks(seen, only_problems=options.problems))
    found = options.problems and any(each.problems for each in _queues(seen))
    return _print_faults(seen) or int(found)


def _consumers(options: argparse.Namespace) -> int:
    seen = asyncio.run(_read_queues(options, _MANY))
    if options.json:
        print_json(_consumers_as_json(seen), indent=True)
    else:
        print_blocks(_consumers_blocks(seen))
    return _print_faults(seen)


async def _read_queues(options: argparse.Namespace, runs: int) -> Seen:
    async with connected(Address.of(options.url)) as connection:
        return await _overview(connection, options, runs)


async def _overview(
    connection: Connection, options: argparse.Namespace, runs: int
) -> Seen:
    """The queues that the options choose.

    Raises:
        UsageError: there is none on the stream that they name.
        ServerError: as `overview`.
    """
    stream: str | None = options.stream
    seen = await overview(connection, runs=runs, stream=stream)
    if stream is not None and not seen:
        raise UsageError(_NONE_THERE.format(printable(stream)))
    return seen


async def _watch(options: argparse.Namespace) -> int:
    """Refresh until Ctrl-C; an unreachable server is retried."""
    async with connected(Address.of(options.url)) as connection:
        with screen() as show:
            while True:
                try:
                    seen = await _overview(connection, options, _GLANCE)
                except (Unreachable, OutcomeUnknown, NotReady) as error:
                    if options.json:
                        raise
                    show([f"{error}; trying again"])
                else:
                    if options.json:
                        print_json(_stats_as_json(seen, options))
                        _print_faults(seen)
                    else:
                        only_problems: bool = options.problems
                        blocks = _stats_blocks(seen, only_problems=only_problems)
                        show([*blocks, *map(str, _faults(seen))])
                await asyncio.sleep(max(options.watch, _SOONEST))


def _queues(seen: Seen) -> list[QueueView]:
    return [each for each in seen if isinstance(each, QueueView)]


def _faults(seen: Seen) -> list[ServerError]:
    return [each for each in seen if isinstance(each, ServerError)]


def _print_faults(seen: Seen) -> int:
    for fault in _faults(seen):
        print_error(fault)
    return 3 if _faults(seen) else 0


def _stats_as_json(seen: Seen, options: argparse.Namespace) -> object:
    queues = [each for each in _queues(seen) if each.problems or not options.problems]
    # Of a finding, only its level and text are promised here.
    return as_json(queues, without=("fields", "check", "advice"))


def _consumers_as_json(seen: Seen) -> list[dict[str, object]]:
    return [
        {
            "stream": queue.stream,
            "group": queue.group,
            **object_of(consumer, without=("fields",)),
        }
        for queue in _queues(seen)
        for consumer in queue.consumers or ()
    ]


def _stats_blocks(seen: Seen, *, only_problems: bool) -> list[Block]:
    queues = by_severity(_queues(seen))
    if not queues:
        return [] if seen else [_NONE]
    if only_problems:
        count = len(queues)
        queues = [each for each in queues if each.problems]
        if not queues:
            return [f"no problem in {count_of(count, 'queue')}"]
    return [
        queue_table(queues),
        *_pauses(queues),
        *_schedule_table(queues),
        *worker_table(queues, place=False),
        *running_table(queues, _GLANCE),
    ]


def _pauses(queues: Sequence[QueueView]) -> list[Block]:
    return [
        f"{queue.stream} ({queue.group}) has been paused for {span(queue.paused)}:"
        f" flowd resume {queue.stream}"
        for queue in queues
        if queue.paused is not None
    ]


def _schedule_table(queues: Sequence[QueueView]) -> list[Block]:
    """When schedules tick, where there are some."""
    rows = [
        [
            *(queue.stream, each.name, each.when, each.tz, state_of(each)),
            *(moment_of(each.last_run_at), each.outcome or "-"),
            moment_of(each.next_tick),
        ]
        for queue in queues
        for each in queue.schedules
    ]
    head = (
        "stream",
        "schedule",
        "when",
        "zone",
        "state",
        "last run",
        "outcome",
        "next",
    )
    return [Table(head, rows)] if rows else []


def _consumers_blocks(seen: Seen) -> list[Block]:
    queues = by_severity(_queues(seen))
    if not queues:
        return [] if seen else [_NONE]
    workers = worker_table(queues, place=True)
    if not workers:
        return [] if _faults(seen) else ["no worker reads any queue"]
    return [*workers, *running_table(queues, _MANY)]
