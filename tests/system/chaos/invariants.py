"""What must hold after every run, whatever happened in it.

Each function returns the ids, or the words, that break its rule; nothing when it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Final

from tests.system.chaos.history import History, Run
from tests.system.chaos.plan import CONCURRENCY, GRACE, LEASE

__all__ = ["INVARIANTS", "MARGIN"]

MARGIN: Final = 5.0
"""Seconds that a worker may take to end, beyond its grace: five times the goal."""

_SETTLING: Final = ("done", "retry", "dead_letter", "release")
_LATE: Final = LEASE / 3


def i1_nothing_is_lost(h: History) -> list[str]:
    """A job that was accepted, or seen at all, has run to its end or is dead."""
    lost: list[str] = []
    for each in h.accepted:
        ids = {each.id} if each.id else h.ids(each.wish)
        lost += [i for i in sorted(ids) if i not in h.left.dead and not _ran(h, i)]
    return lost


def i2_no_job_is_done_and_dead(h: History) -> list[str]:
    """What was acknowledged is not among the dead letters."""
    return [
        job_id
        for job_id in h.left.dead
        if any(each.event == "done" for each in h.said.get(job_id, ()))
    ]


def i3_no_job_is_settled_twice(h: History) -> list[str]:
    """A job is done once, dead once, and retried once for each attempt."""
    twice: list[str] = []
    for job_id, said in h.said.items():
        ends = [each for each in said if each.event in ("done", "dead_letter")]
        retries = Counter(each.attempt for each in said if each.event == "retry")
        if len(ends) > 1 or any(number > 1 for number in retries.values()):
            twice.append(job_id)
    return twice + [i for i, letters in h.left.dead.items() if len(letters) > 1]


def i4_no_stale_delivery_settles(h: History) -> list[str]:
    """Who settles a delivery is the last to whom that attempt was delivered."""
    stale: list[str] = []
    for job_id, said in h.said.items():
        for each in said:
            if each.event not in _SETTLING:
                continue
            # What was released may be delivered again; the others are over.
            until = each.at if each.event == "release" else float("inf")
            later = [
                run
                for run in h.runs.get(job_id, ())
                if run.attempt == each.attempt
                and run.deliveries > each.deliveries
                and run.start < until
            ]
            if later:
                stale.append(job_id)
    return stale


def i5_nothing_is_left(h: History) -> list[str]:
    """Stream, pending list, delayed set and its bodies are empty; no stranger reads."""
    left = h.left
    counts = {
        "entries in the stream": left.entries,
        "pending entries": left.pending,
        "delayed jobs": left.delayed,
        "bodies of delayed jobs": left.bodies,
        f"dead consumers ({', '.join(left.strangers)})": len(left.strangers),
    }
    return [f"{number} {what}" for what, number in counts.items() if number]


def i6_letters_hold_the_original(h: History) -> list[str]:
    """A dead letter has the job's own fields, byte for byte."""
    wishes = {each.wish.name: each.wish for each in h.accepted}
    wrong: list[str] = []
    for job_id, letters in h.left.dead.items():
        for _, fields in letters:
            wish = wishes.get(fields.get(b"to", b"?").decode())
            own = {k: v for k, v in fields.items() if not k.startswith(b"_")}
            if wish is None or own != wish.fields:
                wrong.append(job_id)
    return wrong


def i7_what_is_enqueued_is_one_job(h: History) -> list[str]:
    """However often it was tried, whatever answer the producer got, there is one id."""
    several: list[str] = []
    for each in h.accepted:
        ids = h.ids(each.wish)
        if each.id:
            ids.add(each.id)
        if len(ids) > 1:
            several += sorted(ids)
    return several


def i8_no_job_starts_early(h: History) -> list[str]:
    """A delayed job starts when its delay is over, and not before.

    The delay is counted from before the first try; the server and the workers are on
    one machine and have one clock.
    """
    early: list[str] = []
    for each in h.accepted:
        runs = [run for i in h.ids(each.wish) for run in h.runs.get(i, ())]
        # Redis counts in whole milliseconds.
        due = each.at + each.wish.delay - 0.002
        early += [run.id for run in runs if run.start < due]
    return early


def i9_runs_overlap_only_after_a_lost_lease(h: History) -> list[str]:
    """No worker takes over what runs, before it was held for a lease."""
    early: list[str] = []
    for job_id, runs in h.runs.items():
        for first, second in combinations(sorted(runs, key=lambda r: r.deliveries), 2):
            if not first.start < second.start < first.end:
                continue
            # A start is noted a moment after the lease began; after longer than that if
            # the process was frozen in between.
            thawed = h.fates.thawed.get(first.pid, ())
            late = any(first.start - LEASE < at < first.start + _LATE for at in thawed)
            if second.start < first.start + LEASE - _LATE and not late:
                early.append(job_id)
    return early


def i10_no_worker_runs_too_many(h: History) -> list[str]:
    """A process runs no more handlers at once than its concurrency."""
    changes: dict[int, list[tuple[float, int]]] = {}
    for run in _all(h.runs.values()):
        moments = changes.setdefault(run.pid, [])
        moments += [(run.start, 1), (run.end, -1)]
    crowded: list[str] = []
    for pid, moments in changes.items():
        running = 0
        for _, change in sorted(moments):
            running += change
            if running > CONCURRENCY:
                crowded.append(f"process {pid}")
                break
    return crowded


def i11_workers_work_on_and_end_well(h: History) -> list[str]:
    """Who is alive fills all its slots; who gets SIGTERM ends in time, with 0."""
    wrong = [f"process {pid} does not work on" for pid in h.fates.stuck]
    for pid, code, seconds in h.fates.endings:
        if code or seconds > GRACE + MARGIN:
            wrong.append(f"process {pid} ended with {code} after {seconds:.1f} s")
    return wrong


INVARIANTS: Final[tuple[Callable[[History], list[str]], ...]] = (
    i1_nothing_is_lost,
    i2_no_job_is_done_and_dead,
    i3_no_job_is_settled_twice,
    i4_no_stale_delivery_settles,
    i5_nothing_is_left,
    i6_letters_hold_the_original,
    i7_what_is_enqueued_is_one_job,
    i8_no_job_starts_early,
    i9_runs_overlap_only_after_a_lost_lease,
    i10_no_worker_runs_too_many,
    i11_workers_work_on_and_end_well,
)
"""I12 (nothing grows) is for the soak."""


def _ran(h: History, job_id: str) -> bool:
    return any(run.how == "ran" for run in h.runs.get(job_id, ()))


def _all(groups: Iterable[Iterable[Run]]) -> list[Run]:
    return [run for runs in groups for run in runs]
