"""Every order of steps from one state: states that are equal are gone on from once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol, TypeVar

__all__ = ["Explored", "explore"]

_AT_ONCE: Final = 100


class Explored(Protocol):
    """A state that is never changed."""

    def key(self) -> str:
        """Equal for states that what may follow cannot distinguish."""
        ...


S = TypeVar("S", bound=Explored)


async def explore(
    start: S,
    depth: int,
    follow: Callable[[S], Iterable[Awaitable[S]]],
    finish: Callable[[S], Awaitable[None]],
) -> Mapping[str, Sequence[str]]:
    """Take every order of `depth` steps.

    Args:
        start: where all begin.
        depth: how many steps are taken one after the other.
        follow: takes each step that may come next, and judges it.
        finish: judges a new state by how it can end.

    Returns:
        By the key of a state: those of the states that follow, one for each step.
    """
    follows: defaultdict[str, list[str]] = defaultdict(list)
    known, edge = {start.key()}, [start]
    for _ in range(depth):
        steps = ((before, after) for before in edge for after in follow(before))
        reached: list[S] = []
        while some := list(islice(steps, _AT_ONCE)):
            states = await asyncio.gather(*(after for _, after in some))
            for (before, _), state in zip(some, states, strict=True):
                key = state.key()
                follows[before.key()].append(key)
                if key not in known:
                    known.add(key)
                    reached.append(state)
        await asyncio.gather(*(finish(state) for state in reached))
        edge = reached
    return follows
