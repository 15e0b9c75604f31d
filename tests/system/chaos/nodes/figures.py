"""What each kind of fault has cost, as a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from tests.support.cluster import NODE_TIMEOUT
from tests.support.sentinels import DOWN_AFTER
from tests.system.chaos.nodes.history import History
from tests.system.chaos.nodes.node_faults import UNPLANNED, NodeFault
from tests.system.chaos.nodes.promises import PROMISES
from tests.system.chaos.nodes.queues import role

__all__ = ["Cost", "costs", "table", "too_long"]

_ORDERED: Final = 0.5
_LOST: Final = max(NODE_TIMEOUT, DOWN_AFTER) + 3.0
_BOUND: Final = 5

# What is aimed at: the longest pause of a queue, in seconds; the bound is five times as wide.
_AIMS: Final = {
    "CLUSTER FAILOVER": _ORDERED,
    "CLUSTER FAILOVER TAKEOVER": _LOST,
    "SENTINEL FAILOVER": _LOST,
    "SENTINEL FAILOVER COORDINATED": _ORDERED,
    "kill -9 of a master": _LOST,
    "SIGSTOP of a master": _LOST,
    "a slot moved key by key": _ORDERED,
    "a slot moved at once": _ORDERED,
    "connections closed": _ORDERED,
    UNPLANNED: _LOST,
}


_HEAD: Final = (
    "| what happens | times | jobs | of these durable | lost | durable lost"
    " | settled twice | longest pause of a queue: median | most |"
)


class Cost(NamedTuple):
    """Of one fault."""

    kind: str
    jobs: int
    """How many were accepted while it lasted, by queues that it concerned."""

    durable: int
    """Of these, with a proof."""

    lost: int
    """Of those without a proof."""

    lost_durable: int
    twice: int
    """Jobs that were settled twice."""

    pause: float
    """Seconds; the longest time in which no job of a queue began."""

    where: str
    """Which queue that was, and from when to when."""


def costs(h: History) -> list[Cost]:
    """Of each fault, in order."""
    broken = {
        rule.__name__: [
            (each, h.taken_back(each.stream, each.since, each.until))
            for each in rule(h)
        ]
        for rule in PROMISES
    }

    def due_to(fault: NodeFault, rule: str) -> int:
        names = {(e.stream, e.name) for e, why in broken[rule] if why is fault}
        return len(names)

    starts = _starts(h)
    found: list[Cost] = []
    for fault in h.faults:
        accepted = [
            each
            for each in h.accepted
            if each.stream in fault.streams
            and each.at > fault.began
            and each.tried < fault.healed
        ]
        found.append(
            Cost(
                fault.kind,
                len(accepted),
                sum(each.how == "durable" for each in accepted),
                due_to(fault, "no_accepted_job_is_lost"),
                due_to(fault, "no_durable_job_is_lost"),
                due_to(fault, "no_job_is_settled_twice"),
                *max(
                    _pause(stream, all_, fault)
                    for stream, all_ in starts.items()
                    if role(stream) == "plain" or stream in fault.streams
                ),
            )
        )
    return found


def table(all_: Sequence[Cost]) -> str:
    """As Markdown, a line for each kind of fault."""
    lines = [_HEAD, "| --- |" + " --- |" * (_HEAD.count("|") - 2)]
    for kind in sorted({each.kind for each in all_}):
        mine = [each for each in all_ if each.kind == kind]
        pauses = [each.pause for each in mine]
        sums = [sum(each) for each in zip(*(e[1:6] for e in mine), strict=True)]
        cells = [kind, *(f"{number:,}" for number in (len(mine), *sums))]
        cells += [f"{statistics.median(pauses):.1f} s", f"{max(pauses):.1f} s"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def too_long(all_: Sequence[Cost]) -> list[str]:
    """The pauses that are longer than five times what is aimed at."""
    return [
        f"{each.kind}: {each.where}, {each.pause:.1f} s (goal {_AIMS[each.kind]:g} s)"
        for each in all_
        if each.pause > _BOUND * _AIMS[each.kind]
    ]


def _starts(h: History) -> dict[str, list[float]]:
    """When jobs began, of each queue; that of the schedule pauses between its ticks."""
    streams = {each.stream for each in h.runs if role(each.stream) != "cron"}
    return {
        stream: sorted(e.at for e in h.runs if e.stream == stream and e.what == "start")
        for stream in streams
    }


def _pause(stream: str, starts: Sequence[float], fault: NodeFault) -> tuple[float, str]:
    """The longest time between two starts, from the fault to its end, and when it was."""
    return max(
        (
            (after - before, f"{stream} from {before:.3f} to {after:.3f}")
            for before, after in pairwise(starts)
            if after > fault.began and before < fault.healed
        ),
        default=(float("inf"), stream),
    )
