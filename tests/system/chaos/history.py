"""What happened to every job, from evidence that was kept outside Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.system.chaos.plan import Wish
from tests.system.chaos.worker_pool import Note

__all__ = ["Accepted", "Ending", "Fates", "History", "Left", "Run", "Said", "history"]

_NONE: frozenset[str] = frozenset()


class Accepted(NamedTuple):
    """What the producer knows of a wish."""

    wish: Wish
    id: str | None
    """None when the outcome is unknown."""

    at: float
    """When it was first tried, in seconds since 1970."""


class Run(NamedTuple):
    """One run of a handler."""

    pid: int
    name: str
    id: str
    attempt: int
    deliveries: int
    start: float
    end: float
    """When it ended, or its process did; infinite if neither was seen."""

    how: str
    """ran, raised or cancelled; empty if its process ended first."""


class Said(NamedTuple):
    """What flowd said of a delivery, once Redis had answered."""

    pid: int
    event: str
    id: str
    attempt: int
    deliveries: int
    at: float


class Ending(NamedTuple):
    """How a worker ended that got SIGTERM, or that no fault hit."""

    pid: int
    code: int
    seconds: float
    """From SIGTERM; 0 without one."""


class Fates(NamedTuple):
    """What became of the workers."""

    died: Mapping[int, float]
    """When each process that is gone was seen to have ended."""

    thawed: Mapping[int, Sequence[float]]
    """When each process that was frozen went on."""

    endings: Sequence[Ending]
    stuck: Sequence[int]
    """Those alive that did not fill their slots, long after the last fault."""


class Left(NamedTuple):
    """What is in Redis when nothing is left to do."""

    entries: int
    pending: int
    delayed: int
    bodies: int
    strangers: Sequence[str]
    """Consumers that no living worker is."""

    dead: Mapping[str, Sequence[tuple[str, dict[bytes, bytes]]]]
    """For each job id the reasons and the original fields of its dead letters."""


@dataclass(frozen=True, slots=True)
class History:
    """All of it; ids are jobs' ids."""

    accepted: Sequence[Accepted]
    runs: Mapping[str, Sequence[Run]]
    said: Mapping[str, Sequence[Said]]
    fates: Fates
    left: Left
    names: Mapping[str, set[str]]
    """The ids under which a name was seen, in a run or among the dead letters."""

    def ids(self, wish: Wish) -> set[str]:
        """The ids under which it was seen."""
        return set(self.names.get(wish.name, _NONE))

    def count(self, event: str) -> int:
        """How often flowd said this of any job."""
        return sum(each.event == event for said in self.said.values() for each in said)

    def story(self, job_id: str) -> str:
        """Everything about one job, in order, for a person to read."""
        lines = [
            *(
                (a.at, f"is enqueued: {a.wish}")
                for a in self.accepted
                if job_id in {a.id, *self.ids(a.wish)}
            ),
            *(
                (r.start, f"{r.pid} starts attempt {r.attempt} delivery {r.deliveries}")
                for r in self.runs.get(job_id, ())
            ),
            *(
                (r.end, f"{r.pid} {r.how or 'dies'} in delivery {r.deliveries}")
                for r in self.runs.get(job_id, ())
            ),
            *(
                (s.at, f"{s.pid} says {s.event}, attempt {s.attempt} of {s.deliveries}")
                for s in self.said.get(job_id, ())
            ),
            *(
                (float("inf"), f"is a dead letter: {reason}")
                for reason, _ in self.left.dead.get(job_id, ())
            ),
        ]
        return "\n".join(
            [f"{job_id}:", *(f"  {at:.3f} {what}" for at, what in sorted(lines))]
        )


def history(
    accepted: Sequence[Accepted], notes: Iterable[Note], fates: Fates, left: Left
) -> History:
    """Put the evidence together."""
    ends: dict[tuple[int, str, str], Note] = {}
    starts: list[Note] = []
    said: defaultdict[str, list[Said]] = defaultdict(list)
    for note in notes:
        match note.what:
            case "start":
                starts.append(note)
            case "said":
                event, job_id, attempt, deliveries = note.words
                entry = Said(
                    note.pid, event, job_id, int(attempt), int(deliveries), note.at
                )
                said[job_id].append(entry)
            case "signal":
                pass
            case _:
                _, job_id, _, deliveries = note.words
                ends[note.pid, job_id, deliveries] = note
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    names: defaultdict[str, set[str]] = defaultdict(set)
    for note in starts:
        name, job_id, attempt, deliveries = note.words
        end = ends.get((note.pid, job_id, deliveries))
        over = end.at if end else fates.died.get(note.pid, float("inf"))
        how = end.what if end else ""
        run = Run(
            *(note.pid, name, job_id, int(attempt), int(deliveries)),
            *(note.at, over, how),
        )
        runs[job_id].append(run)
        names[name].add(job_id)
    for job_id, letters in left.dead.items():
        for _, fields in letters:
            names[fields.get(b"to", b"?").decode()].add(job_id)
    return History(accepted, runs, said, fates, left, names)
