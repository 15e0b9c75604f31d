"""Two workers and one job: whatever order things happen in, it is settled once.

Every step is taken on a copy of the queue. States that are equal are gone on
from once, so that all orders of so many steps are tried in seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from flowd.broker.connection import Connection
from flowd.broker.url import Address
from tests.system.delivery_model.explore import explore
from tests.system.delivery_model.two_workers import ENDS
from tests.system.delivery_model.walk import State, Step, Walk

STEPS: Final = 12
ORDERS: Final = 10_000


@pytest.mark.limit(120)
async def test_every_order_ends_well(redis_url: str, stream: str) -> None:
    """Never lost, never in two places, settled only by its owner, and once."""
    connection = Connection(Address.of(redis_url))
    walk = Walk(connection, stream)
    try:
        start = await walk.start()
        follows = await explore(
            start,
            STEPS,
            lambda state: (_try(walk, state, step) for step in state.steps()),
            lambda state: _can_be_finished(walk, state),
        )
    finally:
        await connection.aclose()

    assert _orders(start, follows) > ORDERS


async def _try(walk: Walk, before: State, step: Step) -> State:
    """Take a step and judge what came of it."""
    after, answer = await walk.take(before, step)
    snapshot = after.snapshot
    places = (
        len(snapshot.entries) + len(snapshot.delayed) + len(snapshot.dead) + after.done
    )
    assert places == 1, f"the job is in {places} places after {after.way}"
    assert snapshot.held.keys() <= snapshot.entries.keys(), after.way

    if step.verb in ENDS:
        belief = before.beliefs[step.worker][step.belief]
        if before.owns(step.worker, belief):
            assert answer != 0, f"its owner cannot settle after {after.way}"
        else:
            assert answer == 0, f"another worker can settle after {after.way}"
            forgotten = before._replace(beliefs=after.beliefs)
            assert after.key() == forgotten.key(), after.way

    for worker, beliefs in enumerate(after.beliefs):
        for belief in beliefs:
            if belief.fresh:
                ours = after.owns(worker, belief)
                assert ours, f"a lease is taken before its end after {after.way}"
    if step.verb == "claim":
        for belief in before.beliefs[step.worker]:
            if before.owns(step.worker, belief):
                ours = after.owns(step.worker, belief)
                assert ours, f"a worker takes its own job over after {after.way}"
    return after


async def _can_be_finished(walk: Walk, state: State) -> None:
    left = await walk.finish(state)
    assert left == (0, 0), f"no worker can finish the job after {state.way}"


def _orders(start: State, follows: Mapping[str, Sequence[str]]) -> int:
    """How many orders of steps were tried: they part and meet again."""
    ways = Counter([start.key()])
    for _ in range(STEPS):
        longer: Counter[str] = Counter()
        for key, number in ways.items():
            for after in follows.get(key, ()):
                longer[after] += number
        ways = longer
    return ways.total()
