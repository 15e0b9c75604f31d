"""One queue with what is to be said of it, also if it cannot be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowd.errors import AccessDenied, WrongKeyType
from flowd.ops.finding import Finding, worst_first
from flowd.ops.nowhere import find_nowhere, judge_nowhere
from flowd.ops.overview import QueueView, view_of
from flowd.ops.snapshot import Snapshot

__all__ = ["Judged", "judge_queue"]


class Judged(NamedTuple):
    """A queue as it was found."""

    view: QueueView | None
    """None if it cannot be looked at; then a finding says why."""

    findings: Sequence[Finding]
    """Without the name of the queue, the worst first; empty if all is well."""


async def judge_queue(snapshot: Snapshot, *, lease: float, runs: int) -> Judged:
    """Look at one queue; arguments as `flowd.ops.overview.overview`.

    Raises:
        ServerError: as `Connection.call`.
    """
    try:
        view = await view_of(snapshot, lease=lease, runs=runs)
    except AccessDenied as error:
        advice = "grant what docs/security.md lists for an admin"
        text = f"cannot be seen: {error}"
        return Judged(None, [Finding("note", "queue", text, advice)])
    except WrongKeyType:
        advice = "see what it is, and rename it: flowd needs the name"
        return Judged(
            None,
            [
                Finding(
                    "wrong", "queue", f"its key {key} holds what is not flowd's", advice
                )
                for key in await snapshot.queries.foreign_keys()
            ],
        )
    found = [*view.problems, *view.notes, *await _held_by_none(snapshot, view)]
    return Judged(view, worst_first(found))


async def _held_by_none(snapshot: Snapshot, view: QueueView) -> Sequence[Finding]:
    """What is held at the gate by jobs that no longer exist: more is asked for it."""
    if (await snapshot.sizes()).served_by:
        return ()
    try:
        nowhere = await find_nowhere(snapshot.queries, view.parked)
    except AccessDenied as error:
        advice = "grant what docs/security.md lists for a queue with policies"
        text = f"what is held at its gate cannot be seen: {error}"
        return [Finding("note", "queue", text, advice)]
    return judge_nowhere(nowhere, alive=bool(view.live))
