"""What must hold after every run, whatever happened in it.

Each function finds jobs that break its rule, and when. What a fault may take back, as
docs/durability.md says, is counted (`figures`) and is no broken promise: what a primary
answered and no replica had. A durable job is not of that kind, nor is a tick, which workers
repeat; and neither is anything outside the time of such a fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Final, NamedTuple

from tests.support.cluster import NODE_TIMEOUT
from tests.system.chaos.invariants import MARGIN
from tests.system.chaos.nodes.history import History, Said
from tests.system.chaos.nodes.queues import TICK, limit_of, role
from tests.system.chaos.overlaps import attempts, overlaps
from tests.system.chaos.plan import GRACE, LEASE
from tests.system.chaos.worker_pool import Note

__all__ = ["PROMISES", "Break"]

# As long as a node takes to be replaced, what is to be released has to wait.
_ENDING: Final = 4 * MARGIN

# A slot that was given before a failover is given again when the queue goes on.
_AWAY: Final = NODE_TIMEOUT + 3.0 + LEASE


class Break(NamedTuple):
    """What breaks a promise."""

    stream: str
    name: str
    since: float
    until: float
    """In which time a fault that takes back what was answered would be the reason."""

    excusable: bool = True


def no_durable_job_is_lost(h: History) -> Iterator[Break]:
    """A job whose copies were proved has run to its end, or is a dead letter."""
    ended = h.ended()
    for each in h.accepted:
        if each.how == "durable" and (each.stream, each.name) not in ended:
            yield Break(each.stream, each.name, each.tried, each.at, excusable=False)


def no_accepted_job_is_lost(h: History) -> Iterator[Break]:
    """Likewise a job that was accepted without a proof, by what was not taken back."""
    ended = h.ended()
    for each in h.accepted:
        if each.how == "durable" or each.id is None:
            continue
        if (each.stream, each.name) not in ended:
            yield Break(each.stream, each.name, each.tried, each.at)


def no_job_is_settled_twice(h: History) -> Iterator[Break]:
    """A job is done once or dead once, and retried once for each attempt."""
    endings: defaultdict[tuple[str, str, object], list[Said]] = defaultdict(list)
    for each in h.said:
        if each.event in ("done", "dead_letter"):
            endings[each.stream, each.id, "end"].append(each)
        elif each.event == "retry":
            endings[each.stream, each.id, each.attempt].append(each)
    for (stream, job_id, _), all_ in endings.items():
        if len(all_) > 1:
            name = h.names.get((stream, job_id), job_id)
            for before, after in pairwise(sorted(all_, key=lambda each: each.at)):
                # What came first must have been taken back, or what came then is gone.
                if not h.is_of_a_replaced_node(after, before.at):
                    yield Break(stream, name, before.at, before.at)


def what_is_enqueued_once_is_one_job(h: History) -> Iterator[Break]:
    """A job without a key has one id, and so has a keyed one that was not taken back."""
    ids: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for (stream, job_id), name in h.names.items():
        ids[stream, name].add(job_id)
    for each in h.accepted:
        found = set(ids[each.stream, each.name])
        if each.id:
            found.add(each.id)
        if len(found) > 1:
            excusable = each.how != "once"
            yield Break(each.stream, each.name, each.tried, each.at, excusable)


def no_innocent_job_is_dead(h: History) -> Iterator[Break]:
    """Only what its handler rejects is a dead letter, and it is one."""
    subjects = {(a.stream, a.name): a.subject for a in h.accepted}
    dead = {(each.stream, each.name): each for each in h.letters}
    for (stream, name), letter in dead.items():
        if letter.reason != "rejected" or subjects.get((stream, name), "bad") != "bad":
            yield Break(stream, name, 0.0, 0.0, excusable=False)
    ran = {(each.stream, each.name) for each in h.runs if each.what == "ran"}
    for place, subject in subjects.items():
        if subject == "bad" and place in ran:
            yield Break(*place, 0.0, 0.0, excusable=False)


def no_key_has_more_than_its_limit(h: History) -> Iterator[Break]:
    """Of a key of a queue with policies, no more jobs run at once than may."""
    for stream in sorted({each.stream for each in h.runs}):
        if not limit_of(stream):
            continue
        notes = [
            Note(
                *(each.pid, each.at, each.what),
                [each.key, each.name, str(each.attempt), str(each.deliveries)],
            )
            for each in h.runs
            if each.stream == stream
        ]
        for found in overlaps(attempts(notes, h.workers.died), limit_of(stream)):
            yield Break(stream, found.jobs[0], found.at - _AWAY, found.at)


def every_moment_of_a_schedule_has_its_job(h: History) -> Iterator[Break]:
    """Ticks pass over no moment: what a fault takes back of them is repeated.

    That none runs twice is for the settling.
    """
    moments: defaultdict[str, dict[float, str]] = defaultdict(dict)
    for each in h.runs:
        if role(each.stream) == "cron":
            _, _, moment = each.name.split(":", 2)
            at = datetime.fromisoformat(moment).timestamp()
            moments[each.stream][at] = each.name
    for stream, ran in moments.items():
        at = min(ran)
        while at < h.until:
            if at not in ran:
                name = f"the tick of {at:.0f}"
                yield Break(stream, name, at, at + TICK, excusable=False)
            at += TICK


def nothing_is_left(h: History) -> Iterator[Break]:
    """Streams, pending lists, delayed sets and gates are empty."""
    for what, number in h.left.items():
        if number:
            yield Break(what, f"{number} are left", 0.0, 0.0, excusable=False)


def workers_work_on_and_end_well(h: History) -> Iterator[Break]:
    """Each worker fills the slots of every queue, and SIGTERM ends it in time, with 0."""
    for each in h.workers.stuck:
        yield Break(each, "does not work on", 0.0, 0.0, excusable=False)
    for pid, code, seconds in h.workers.endings:
        if code or seconds > GRACE + _ENDING:
            how = f"ended with {code} after {seconds:.1f} s"
            yield Break(f"process {pid}", how, 0.0, 0.0, excusable=False)


def every_kind_of_queue_was_at_work(h: History) -> Iterator[Break]:
    """A run in which a queue did nothing shows nothing."""
    done = Counter(each.stream for each in h.said if each.event == "done")
    for stream in {each.stream for each in h.accepted}:
        if not done[stream]:
            yield Break(stream, "did nothing", 0.0, 0.0, excusable=False)


PROMISES: Final[tuple[Callable[[History], Iterator[Break]], ...]] = (
    no_durable_job_is_lost,
    no_accepted_job_is_lost,
    no_job_is_settled_twice,
    what_is_enqueued_once_is_one_job,
    no_innocent_job_is_dead,
    no_key_has_more_than_its_limit,
    every_moment_of_a_schedule_has_its_job,
    nothing_is_left,
    workers_work_on_and_end_well,
    every_kind_of_queue_was_at_work,
)
