"""What `flowd stats`, `consumers` and `top` show: queues, workers and running jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flowd.cli.output import span
from flowd.cli.table import Cell, Table
from flowd.ops.consumers import ConsumerState, ConsumerView
from flowd.ops.finding import Level, severity
from flowd.ops.jobs import JobView
from flowd.ops.overview import QueueView

__all__ = ["by_severity", "progress_of", "queue_table", "running_table", "worker_table"]

_STYLES: Final[dict[Level, str]] = {"wrong": "red", "warn": "yellow", "note": ""}
_STATES: Final[dict[ConsumerState, str]] = {
    "dead": "red",
    "stuck": "red",
    "stopping": "yellow",
    "working": "green",
}
_FIRST: Final[tuple[ConsumerState, ...]] = (
    "dead",
    "stuck",
    "stopping",
    "working",
    "idle",
)
_LONG: Final = 60.0


def by_severity(queues: Sequence[QueueView]) -> list[QueueView]:
    """Queues with a problem first, the worst of them at the top."""
    return sorted(
        queues,
        key=lambda each: (
            severity(each.level),
            -(each.oldest or 0.0),
            each.stream,
            each.group,
        ),
    )


def queue_table(queues: Sequence[QueueView]) -> Table:
    """A line for each queue."""
    newer = any(each.delays.newer_version for each in queues)
    parked = any(each.parked for each in queues)
    head = [
        *("stream", "group", "waiting", "oldest", "running", "retrying", "scheduled"),
        *(("newer",) if newer else ()),
        *(("parked",) if parked else ()),
        *("next due", "dead", "workers", "problem"),
    ]
    rows = [
        [
            *(queue.stream, queue.group, f"{queue.waiting:,}", _oldest(queue)),
            *(_running(queue), *_delayed(queue, newer=newer)),
            *([f"{queue.parked:,}"] if parked else ()),
            _next_due(queue),
            Cell(f"{queue.dead:,}", "yellow" if queue.dead else ""),
            *(_workers(queue), _problem(queue)),
        ]
        for queue in queues
    ]
    right = {*head} - {"stream", "group", "problem"}
    several = len({each.stream for each in queues}) < len(queues)
    drop = [
        *(() if several else ("group",)),
        *("next due", "scheduled", "workers", "retrying"),
    ]
    return Table(head, rows, right, drop=drop, cut={"problem"})


def worker_table(queues: Sequence[QueueView], *, place: bool) -> list[Table]:
    """A line for each worker, dead ones first; with `place`, where and what it is.

    Groups have a column if a stream has several.
    """
    streams = [queue.stream for queue in queues]
    grouped = len({*streams}) < len(streams)
    workers = [
        (_FIRST.index(each.state), queue, each)
        for queue in queues
        for each in queue.consumers or ()
    ]
    workers.sort(key=lambda each: each[0])
    rows = [
        [
            *(queue.stream, *([queue.group] if grouped else []), each.name),
            Cell(each.state, _STATES.get(each.state, "")),
            *(_slots(each), span(each.silent)),
            *(_place(each) if place else ()),
        ]
        for _, queue, each in workers
    ]
    where = ("lease", "host", "pid", "job", "flowd") if place else ()
    group = ("group",) if grouped else ()
    head = ["stream", *group, "consumer", "state", "slots", "silent", *where]
    right = {"pid", "silent", "slots", "lease"}
    drop = ("flowd", "host", "pid", "lease", "job", "silent")
    return [Table(head, rows, right, drop=drop)] if rows else []


def running_table(queues: Sequence[QueueView], most: int) -> list[Table | str]:
    """A line for each running job, the longest first."""
    running = [
        (job, queue, consumer)
        for queue in queues
        for consumer in queue.consumers or ()
        for job in consumer.runs
    ]
    running.sort(key=lambda each: -(each[0].age or 0.0))
    rows = [
        [
            *(job.id, queue.stream, span(job.age), f"{job.attempt}"),
            *(_silent(job, consumer), progress_of(job), consumer.name),
        ]
        for job, queue, consumer in running[:most]
    ]
    if not rows:
        return []
    head = ("job", "stream", "runs for", "attempt", "silent", "progress", "consumer")
    right = {"runs for", "attempt", "silent"}
    drop = ("consumer", "silent", "attempt", "stream")
    more = sum(each.running for each in queues) - len(rows)
    shown: list[Table | str] = [Table(head, rows, right, drop=drop, cut={"progress"})]
    if more > 0:
        shown.append(f"… and {more:,} more run: flowd jobs list --state running")
    return shown


def progress_of(job: JobView) -> str:
    """How far a job is, as `40% parsing`; empty if it did not say."""
    return "" if job.progress is None else f"{job.progress:.0%} {job.doing}".rstrip()


def _oldest(queue: QueueView) -> str:
    late = queue.oldest is not None and queue.oldest > _LONG
    return Cell(span(queue.oldest), "yellow" if late else "")


def _running(queue: QueueView) -> str:
    return f"{queue.running:,}/{queue.slots:,}" if queue.slots else f"{queue.running:,}"


def _delayed(queue: QueueView, *, newer: bool) -> list[str]:
    why, about = queue.delays, "~" if queue.delays.estimated else ""
    scheduled = why.scheduled + why.released
    cells = [
        Cell(f"{about}{why.retrying:,}", "yellow" if why.retrying else ""),
        f"{about}{scheduled:,}",
    ]
    if newer:
        style = "yellow" if why.newer_version else ""
        cells.append(Cell(f"{about}{why.newer_version:,}", style))
    return cells


def _next_due(queue: QueueView) -> str:
    overdue = queue.next_due is not None and queue.next_due < -1.0
    return Cell(span(queue.next_due), "red" if overdue else "")


def _workers(queue: QueueView) -> str:
    if queue.consumers is None:
        return "-"
    dead = sum(each.state in ("dead", "stuck") for each in queue.consumers)
    live = f"{len(queue.consumers) - dead:,}"
    return Cell(f"{live}+{dead:,} dead", "red") if dead else live


def _problem(queue: QueueView) -> str:
    if not queue.problems:
        return ""
    text = "; ".join(each.text for each in queue.problems)
    return Cell(text, _STYLES.get(queue.level, ""))


def _slots(consumer: ConsumerView) -> str:
    if consumer.slots is None:
        return f"{consumer.owned:,}"
    return f"{consumer.owned:,}/{consumer.slots:,}"


def _place(consumer: ConsumerView) -> list[str]:
    job = consumer.job
    if job and consumer.version is not None and consumer.version > 1:
        job += f" v{consumer.version}"
    return [
        *(span(consumer.lease), consumer.host or "-", f"{consumer.pid or '-'}"),
        *(job or "-", consumer.flowd or "-"),
    ]


def _silent(job: JobView, consumer: ConsumerView) -> str:
    late = consumer.lease is not None and (job.silent or 0.0) > consumer.lease
    return Cell(span(job.silent), "red" if late else "")
