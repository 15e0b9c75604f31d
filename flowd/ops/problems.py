"""What is wrong with a queue, the worst first, from what is known of it anyway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from flowd.model.text import count_of
from flowd.ops.consumers import ConsumerView
from flowd.ops.delays import Delays
from flowd.ops.finding import Finding, worst_first

__all__ = ["find_problems"]

_LONG: Final = 60.0
_OVERDUE: Final = 30.0


def find_problems(
    *,
    waiting: int,
    oldest: float | None,
    next_due: float | None,
    dead: int,
    delays: Delays,
    consumers: Sequence[ConsumerView] | None,
) -> tuple[Finding, ...]:
    """What is wrong with a queue that holds this; arguments as of `QueueView`."""
    found = [
        *_without_workers(waiting, next_due, consumers or ()),
        *_of_workers(consumers or ()),
        *_of_jobs(oldest, next_due, delays, consumers or ()),
    ]
    if dead:
        found.append(Finding("note", "queue", count_of(dead, "dead letter")))
    return tuple(worst_first(found))


def _without_workers(
    waiting: int, next_due: float | None, consumers: Sequence[ConsumerView]
) -> Iterator[Finding]:
    if any(each.state not in ("dead", "stuck") for each in consumers):
        return
    if waiting:
        yield Finding("wrong", "queue", "no worker reads what waits")
    elif next_due is not None and next_due < -_OVERDUE:
        yield Finding("wrong", "queue", "no worker promotes delayed jobs")


def _of_workers(consumers: Sequence[ConsumerView]) -> Iterator[Finding]:
    dead = [each for each in consumers if each.state == "dead"]
    stuck = sum(each.owned for each in consumers if each.state == "stuck")
    if held := sum(each.owned for each in dead):
        jobs = count_of(held, "job")
        yield Finding("warn", "queue", f"{jobs} of dead workers, to be taken over")
    elif said := [each for each in dead if each.slots is not None]:
        count = count_of(len(said), "worker")
        yield Finding("warn", "queue", f"{count} died, or cannot reach Redis")
    if stuck:
        yield Finding(
            "warn", "queue", f"{count_of(stuck, 'handler')} did not end when cancelled"
        )


def _of_jobs(
    oldest: float | None,
    next_due: float | None,
    delays: Delays,
    consumers: Sequence[ConsumerView],
) -> Iterator[Finding]:
    live = [each for each in consumers if each.state not in ("dead", "stuck")]
    if live and next_due is not None and next_due < -_OVERDUE:
        yield Finding("wrong", "queue", "delayed jobs are overdue")
    if live and oldest is not None and oldest > _LONG:
        busy = all(each.free == 0 for each in live)
        why = ", and every slot is in use" if busy else ""
        yield Finding("warn", "queue", f"jobs wait for longer than a minute{why}")
    if delays.newer_version:
        jobs = count_of(delays.newer_version, "job")
        waits = "waits" if delays.newer_version == 1 else "wait"
        yield Finding("warn", "queue", f"{jobs} {waits} for workers with newer classes")
