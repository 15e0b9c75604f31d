"""Faults of nodes, one after the other, each healed before the next."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from flowd.embedded import Server

__all__ = ["UNPLANNED", "NodeFault", "NodeFaults", "Nodes", "Span", "freeze", "kill"]

Span: TypeAlias = tuple[float, float]
"""From when to when, in seconds since 1970."""

UNPLANNED: Final = "a failover that was not ordered"
"""The name of what a busy machine does: a node did not answer in time."""

_CALM: Final = (0.4, 1.2)
_REPLACED: Final = 1.0


class NodeFault(NamedTuple):
    """What was done to a node; moments are in seconds since 1970."""

    kind: str
    streams: frozenset[str]
    """The queues that were there."""

    began: float
    healed: float
    """When every node was there again, with all that it has to have."""

    undone: Sequence[Span]
    """When that was answered which the fault may have taken back."""


class Nodes(Protocol):
    """Nodes that can be hurt."""

    @property
    def kinds(self) -> Sequence[str]:
        """What can be done to them."""
        ...

    def streams_at_risk(self, kind: str, stream: str) -> Iterable[str]:
        """The queues that a fault of the node of a queue concerns."""
        ...

    def hurt(self, kind: str, stream: str, chance: random.Random) -> Sequence[Span]:
        """Do it to the node of a queue, and return when the queue has one again.

        Returns when nodes answered what is gone now, because no replica had it, as
        docs/scale.md says.
        """
        ...

    def unplanned(self, hit: Iterable[str] = ()) -> bool:
        """Whether there was a failover since the last look that no fault has brought about.

        Args:
            hit: the queues whose node a fault has hit since then.
        """
        ...

    def is_whole(self) -> bool:
        """Whether all nodes are there and have caught up."""
        ...

    def heal(self) -> None:
        """Return when they are; fails if that takes long."""
        ...


def kill(
    node: Server, wait: Callable[[], object], chance: random.Random
) -> Sequence[Span]:
    """Kill a primary, and start it again up to a second after it was replaced.

    Args:
        node: the primary.
        wait: returns when another node has taken its place.
        chance: of how long that is.
    """
    node.kill()
    at = time.time()
    # It must not start earlier: it is empty, and would be the primary of nothing.
    wait()
    time.sleep(chance.uniform(0.0, _REPLACED))
    node.start()
    return [(at, at)]


def freeze(
    node: Server, wait: Callable[[], object], chance: random.Random
) -> Sequence[Span]:
    """Stop a primary with SIGSTOP, as `kill`; it continues after it was replaced."""
    node.pause()
    at = time.time()
    try:
        wait()
        time.sleep(chance.uniform(0.0, _REPLACED))
    finally:
        node.resume()
    # It answers what waits in its sockets before it knows that it was replaced: clients
    # dropped their links, but for those that were frozen or busy at the same time.
    return [(at, at), (time.time(), time.time())]


class NodeFaults:
    """Causes faults of nodes, each kind in turn, in an order that the seed decides.

    Args:
        nodes: to hurt.
        streams: of all queues.
        seed: of the order and the victims.

    Attributes:
        done: what was done so far.
    """

    def __init__(self, nodes: Nodes, streams: Sequence[str], seed: int) -> None:
        self.done: list[NodeFault] = []
        self._nodes = nodes
        self._streams = streams
        self._chance = random.Random(seed)
        self._looked = time.time()

    def play(self, seconds: float) -> None:
        """Go on for so long, and at least until each kind was done once."""
        until = time.monotonic() + seconds
        kinds = self._kinds()
        while time.monotonic() < until or not self._done_all():
            time.sleep(self._chance.uniform(*_CALM))
            self._do(next(kinds))

    def counts(self) -> Counter[str]:
        """How often what was done."""
        return Counter(each.kind for each in self.done)

    def _done_all(self) -> bool:
        return {each.kind for each in self.done} >= set(self._nodes.kinds)

    def _kinds(self) -> Iterator[str]:
        while True:
            yield from self._chance.sample(self._nodes.kinds, len(self._nodes.kinds))

    def _do(self, kind: str) -> None:
        self._look()
        stream = self._chance.choice(self._streams)
        hit = frozenset(self._nodes.streams_at_risk(kind, stream))
        began = time.time()
        print(f"{time.strftime('%T')} {kind}, which concerns {', '.join(sorted(hit))}")
        undone = self._nodes.hurt(kind, stream, self._chance)
        self._nodes.heal()
        self.done.append(NodeFault(kind, hit, began, time.time(), undone))
        self._look(hit)

    def _look(self, hit: Iterable[str] = ()) -> None:
        """Take note of a failover that a busy machine has brought about."""
        since, self._looked = self._looked, time.time()
        if self._nodes.unplanned(hit):
            print(f"{time.strftime('%T')} {UNPLANNED}")
            now = time.time()
            everything = frozenset(self._streams)
            self.done.append(
                NodeFault(UNPLANNED, everything, since, now, [(since, now)])
            )
