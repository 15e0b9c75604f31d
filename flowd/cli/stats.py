"""`flowd stats` and `flowd consumers`: the jobs and the workers of every queue."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

from flowd.broker.connection import Connection
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli.jobs import progress_of
from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_command, add_server, seconds
from flowd.cli.output import (
    Block,
    Table,
    as_json,
    object_of,
    print_blocks,
    print_error,
    print_json,
    screen,
    span,
)
from flowd.errors import NotReady, OutcomeUnknown, ServerError, Unreachable
from flowd.model.text import printable
from flowd.ops.consumers import ConsumerView
from flowd.ops.jobs import JobView
from flowd.ops.overview import QueueView, overview

__all__ = ["add"]

Seen: TypeAlias = Sequence[QueueView | ServerError]

_NONE: Final = "no queue was set up on this server yet"
_NONE_THERE: Final = (
    "no queue on stream {} was set up on this server; without --stream all are shown"
)
_GLANCE: Final = 3
_MANY: Final = 20
_SOONEST: Final = 0.1

_STATS: Final = """\
The jobs and workers of every queue that was set up on this server.

- waiting: not delivered yet; oldest: how long the oldest of them has waited
- running: delivered, and not settled
- parked: at the gate of a queue with policies (flowd limit); shown if there are any
- delayed: not due yet; next due: the time until the first is due, or since it was (-)
- dead: dead-lettered, see `flowd dlq`"""

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
        examples="  flowd stats\n  flowd stats --watch\n  flowd stats --stream emails\n"
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
        print_json(_stats_as_json(seen), indent=True)
    else:
        print_blocks(_stats_blocks(seen))
    return _print_faults(seen)


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
                        print_json(_stats_as_json(seen))
                        _print_faults(seen)
                    else:
                        show([*_stats_blocks(seen), *map(str, _faults(seen))])
                await asyncio.sleep(max(options.watch, _SOONEST))


def _queues(seen: Seen) -> list[QueueView]:
    return [each for each in seen if isinstance(each, QueueView)]


def _faults(seen: Seen) -> list[ServerError]:
    return [each for each in seen if isinstance(each, ServerError)]


def _print_faults(seen: Seen) -> int:
    for fault in _faults(seen):
        print_error(fault)
    return 3 if _faults(seen) else 0


def _stats_as_json(seen: Seen) -> object:
    return as_json(_queues(seen), without=("fields",))


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


def _stats_blocks(seen: Seen) -> list[Block]:
    queues = _queues(seen)
    if not queues:
        return [] if seen else [_NONE]
    parked = any(queue.parked for queue in queues)
    numbers = ("waiting", "running", "delayed", "parked", "dead", "consumers")
    rows = [
        [
            *(queue.stream, queue.group, f"{queue.waiting:,}", span(queue.oldest)),
            *(f"{queue.running:,}", f"{queue.delayed:,}", span(queue.next_due)),
            *([f"{queue.parked:,}"] if parked else ()),
            f"{queue.dead:,}",
            "-" if queue.consumers is None else f"{len(queue.consumers):,}",
        ]
        for queue in queues
    ]
    head = [
        *("stream", "group", "waiting", "oldest", "running", "delayed", "next due"),
        *(("parked",) if parked else ()),
        *("dead", "consumers"),
    ]
    blocks: list[Block] = [Table(head, rows, {*numbers, "oldest", "next due"})]
    return [*blocks, *_consumer_table(queues, place=False)]


def _consumers_blocks(seen: Seen) -> list[Block]:
    queues = _queues(seen)
    if not queues:
        return [] if seen else [_NONE]
    blocks = _consumer_table(queues, place=True)
    if not blocks:
        return [] if _faults(seen) else ["no worker reads any queue"]
    rows = [
        [
            *(job.id, job.entry_id or "", f"{job.attempt}", span(job.age)),
            *(span(job.silent), progress_of(job), consumer.name),
        ]
        for queue in queues
        for consumer in queue.consumers or ()
        for job in consumer.runs
    ]
    head = ("job", "entry", "attempt", "runs for", "silent", "progress", "consumer")
    if rows:
        blocks.append(Table(head, rows, {"attempt", "runs for", "silent"}))
    return blocks


def _consumer_table(queues: Sequence[QueueView], *, place: bool) -> list[Block]:
    """Who reads the queues; with `place`, where they run in columns of its own.

    Groups have a column if a stream has several.
    """
    streams = [queue.stream for queue in queues]
    grouped = len({*streams}) < len(streams)
    rows = [
        [
            queue.stream,
            *([queue.group] if grouped else []),
            each.name,
            *((each.host or "-", f"{each.pid or '-'}") if place else ()),
            *(
                each.state,
                span(each.silent),
                f"{each.owned:,}",
                f"{each.slots or '-'}",
                _runs(each),
            ),
        ]
        for queue in queues
        for each in queue.consumers or ()
    ]
    where = ("host", "pid") if place else ()
    group = ("group",) if grouped else ()
    head = [
        "stream",
        *group,
        "consumer",
        *where,
        "state",
        "silent",
        "holds",
        "slots",
        "runs",
    ]
    return [Table(head, rows, {"pid", "silent", "holds", "slots"})] if rows else []


def _state(job: JobView) -> str:
    said = progress_of(job)
    return f"{span(job.age)}" + (f", {said}" if said else "")


def _runs(consumer: ConsumerView) -> str:
    shown = [f"{job.id} ({_state(job)})" for job in consumer.runs[:_GLANCE]]
    more = consumer.owned - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
