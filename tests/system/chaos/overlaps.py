"""Which jobs of a key ran at once, from what workers wrote down."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.system.chaos.worker_pool import Note

__all__ = ["Attempt", "Overlap", "attempts", "overlaps"]


@dataclass
class Attempt:
    """One run of a job, while its lease was valid as far as can be seen."""

    key: str
    job: str
    start: float
    end: float
    ran: bool = False


class Overlap(NamedTuple):
    """More jobs of a key at once than may be."""

    key: str
    jobs: Sequence[str]
    at: float


def attempts(notes: Sequence[Note], died: Mapping[int, float]) -> list[Attempt]:
    """Every run; one that never ended ends with its process, or where the next begins.

    A job that is started elsewhere was taken over, so the lease was lost by then. A worker
    that was frozen behind its read may start a delivery that a later one has replaced.

    Args:
        notes: with the words key, job, attempt and deliveries.
        died: when each process that is gone was seen to have ended.
    """
    found: list[Attempt] = []
    open_runs: dict[tuple[int, str], Attempt] = {}
    last: dict[str, Attempt] = {}
    latest: dict[str, tuple[int, int]] = {}
    for note in notes:
        key, job, attempt, deliveries = note.words
        if note.what == "start":
            count = (int(attempt), int(deliveries))
            if count < latest.get(job, count):
                continue
            latest[job] = count
            if job in last:
                last[job].end = min(last[job].end, note.at)
            end = died.get(note.pid, time.time())
            run = Attempt(key, job, note.at, end)
            open_runs[note.pid, job] = last[job] = run
            found.append(run)
        elif (run_of := open_runs.pop((note.pid, job), None)) is not None:
            run_of.end = min(run_of.end, note.at)
            run_of.ran = note.what == "ran"
    return found


def overlaps(runs: Sequence[Attempt], limit: int) -> list[Overlap]:
    """Moments at which more jobs of a key ran than may."""
    events: defaultdict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for run in runs:
        events[run.key] += [(run.start, 1, run.job), (run.end, 0, run.job)]
    found: list[Overlap] = []
    for key, moments in events.items():
        running: dict[str, int] = defaultdict(int)
        for at, begins, job in sorted(moments):
            running[job] += 1 if begins else -1
            at_once = [each for each, count in running.items() if count > 0]
            if len(at_once) > limit:
                found.append(Overlap(key, at_once, at))
    return found
