"""Whether a run has kept every promise, and what faults have taken back."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tests.system.chaos.nodes.history import History
from tests.system.chaos.nodes.node_faults import NodeFault
from tests.system.chaos.nodes.promises import PROMISES, Break

__all__ = ["broken_promises", "excuse", "judge"]

_STORIES: Final = 5


def excuse(h: History, each: Break) -> NodeFault | None:
    """The fault by which what is broken is no broken promise."""
    return h.taken_back(each.stream, each.since, each.until) if each.excusable else None


def broken_promises(h: History) -> dict[str, list[Break]]:
    """What no fault excuses, by the name of the rule."""
    return {
        rule.__name__: [
            each for each in dict.fromkeys(rule(h)) if excuse(h, each) is None
        ]
        for rule in PROMISES
    }


def judge(h: History, *, verbose: bool = False) -> list[str]:
    """Print how often each promise is broken; returns the stories.

    Args:
        h: of the run.
        verbose: print the stories of what was taken back as well.
    """
    print(
        f"jobs: {len(h.accepted)}, of unknown outcome"
        f" {sum(each.id is None for each in h.accepted)}; dead letters: {len(h.letters)};"
        f" {len(h.faults)} faults of nodes, {len(h.workers.died)} workers ended"
    )
    stories: list[str] = []
    for rule in PROMISES:
        found = list(dict.fromkeys(rule(h)))
        taken_back = Counter(
            why.kind for each in found if (why := excuse(h, each)) is not None
        )
        broken = [each for each in found if excuse(h, each) is None]
        said = ", ".join(f"{number} at {kind}" for kind, number in taken_back.items())
        print(
            f"  {rule.__name__.replace('_', ' '):42} {len(broken)} broken"
            + (f"; taken back: {said}" if said else "")
        )
        if verbose:
            for each in found:
                if each not in broken:
                    print(h.story(each.stream, each.name))
        law = (rule.__doc__ or "").partition("\n")[0]
        stories += [f"{rule.__name__}: {law}"] * bool(broken)
        stories += [h.story(each.stream, each.name) for each in broken[:_STORIES]]
    return stories
