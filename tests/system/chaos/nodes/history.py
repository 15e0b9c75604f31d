"""What happened to every job of every queue, from evidence outside of Redis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tests.system.chaos.history import Ending
from tests.system.chaos.nodes.feeder import Accepted
from tests.system.chaos.nodes.node_faults import NodeFault
from tests.system.chaos.worker_pool import Note

__all__ = ["History", "Letter", "Run", "Said", "Workers", "history"]

_BEFORE, _AFTER = 0.5, 0.5


class Run(NamedTuple):
    """What a handler wrote down of one delivery, when it began or ended."""

    pid: int
    at: float
    what: str
    """start, ran, raised or cancelled."""

    stream: str
    name: str
    id: str
    attempt: int
    deliveries: int
    key: str


class Said(NamedTuple):
    """What flowd said of a delivery, once Redis had answered."""

    pid: int
    at: float
    event: str
    stream: str
    id: str
    attempt: int
    deliveries: int


class Letter(NamedTuple):
    """A dead letter."""

    stream: str
    name: str
    id: str
    reason: str


class Workers(NamedTuple):
    """What became of the workers."""

    died: Mapping[int, float]
    endings: Sequence[Ending]
    stuck: Sequence[str]
    """Those that did not fill the slots of a queue, long after the last fault."""


@dataclass(frozen=True, slots=True)
class History:
    """All of it."""

    accepted: Sequence[Accepted]
    runs: Sequence[Run]
    said: Sequence[Said]
    letters: Sequence[Letter]
    workers: Workers
    faults: Sequence[NodeFault]
    left: Mapping[str, int]
    """What Redis holds when nothing is left to do, and how much of it."""

    until: float
    """When the last fault was healed, in seconds since 1970."""

    names: Mapping[tuple[str, str], str]
    """Of the jobs by stream and id."""

    def taken_back(self, stream: str, since: float, until: float) -> NodeFault | None:
        """The fault that may have undone what a node answered in this time."""
        for each in self.faults:
            if stream in each.streams and any(
                since < last + _AFTER and until > first - _BEFORE
                for first, last in each.undone
            ):
                return each
        return None

    def is_of_a_replaced_node(self, said: Said, since: float) -> bool:
        """Whether a node may have said it that was replaced before this moment.

        A node that thaws carries out what waits in its sockets, and a busy worker reads its
        answer seconds later. So what counts is that the delivery had begun before.
        """
        delivery = (said.pid, said.stream, said.id, said.attempt, said.deliveries)
        starts = (
            run.at
            for run in self.runs
            if run.what == "start"
            and (run.pid, run.stream, run.id, run.attempt, run.deliveries) == delivery
        )
        began = min(starts, default=math.inf)
        return any(
            said.stream in each.streams and began - _AFTER < first < since
            for each in self.faults
            for (first, _), _ in pairwise(each.undone)
        )

    def ended(self) -> set[tuple[str, str]]:
        """Stream and name of the jobs that ran to their end, or are dead letters."""
        ran = {(each.stream, each.name) for each in self.runs if each.what == "ran"}
        return ran | {(each.stream, each.name) for each in self.letters}

    def story(self, stream: str, name: str) -> str:
        """Everything about one job, in order, for a person to read."""
        lines: list[tuple[float, str]] = []
        mine: set[str] = set()
        for each in self.accepted:
            if (each.stream, each.name) == (stream, name):
                lines.append((each.tried, f"is tried: {each.how}, {each.subject}"))
                lines.append((each.at, f"is accepted as {each.id}"))
        for run in self.runs:
            if (run.stream, run.name) == (stream, name):
                which = f"attempt {run.attempt} of delivery {run.deliveries}"
                lines.append((run.at, f"{run.pid} {run.what}: {run.id} {which}"))
                mine.add(run.id)
        for letter in self.letters:
            if (letter.stream, letter.name) == (stream, name):
                lines.append((self.until, f"is a dead letter: {letter.reason}"))
                mine.add(letter.id)
        for said in self.said:
            if said.stream == stream and said.id in mine:
                which = f"attempt {said.attempt} of delivery {said.deliveries}"
                lines.append(
                    (said.at, f"{said.pid} says {said.event}: {said.id} {which}")
                )
        if lines:
            first, last = min(lines)[0], max(lines)[0]
            for fault in self.faults:
                if fault.began < last + 2 and fault.healed > first - 2:
                    where = ", ".join(sorted(fault.streams))
                    lines.append((fault.began, f"-- {fault.kind} of {where}"))
                    lines.append((fault.healed, f"-- {fault.kind} is healed"))
        ordered = [f"  {at:.3f} {what}" for at, what in sorted(lines)]
        return "\n".join([f"{stream} {name}:", *ordered])


def history(
    accepted: Sequence[Accepted],
    notes: Iterable[Note],
    letters: Sequence[Letter],
    workers: Workers,
    faults: Sequence[NodeFault],
    left: Mapping[str, int],
    until: float,
) -> History:
    """Put the evidence together."""
    runs: list[Run] = []
    said: list[Said] = []
    names: dict[tuple[str, str], str] = {}
    for note in notes:
        if note.what == "said":
            event, stream, job_id, attempt, deliveries = note.words
            said.append(
                Said(
                    *(note.pid, note.at, event, stream, job_id),
                    *(int(attempt), int(deliveries)),
                )
            )
        elif note.what != "signal":
            stream, name, job_id, attempt, deliveries, key = note.words
            names[stream, job_id] = name
            runs.append(
                Run(
                    *(note.pid, note.at, note.what, stream, name, job_id),
                    *(int(attempt), int(deliveries), key),
                )
            )
    for letter in letters:
        names[letter.stream, letter.id] = letter.name
    return History(
        *(accepted, runs, said, letters, workers, faults, left, until, names)
    )
