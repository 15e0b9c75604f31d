"""Two workers at one gate: whatever order things happen in, limits and keys hold.

As in `test_interleavings`, every step is taken on a copy of the queue.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

import pytest

from flowd.broker.connection import Connection
from flowd.broker.url import Address
from tests.system.delivery_model.explore import explore
from tests.system.delivery_model.gate_walk import SLOT, GateState, GateStep, GateWalk
from tests.system.delivery_model.two_workers import ENDS

STEPS: Final = 5
STATES: Final = 1_000

# What happens without a script of the gate.
_UNSEEN: Final = ("crash", "expire", "due")


@pytest.mark.limit(120)
async def test_every_order_at_the_gate_ends_well(redis_url: str, stream: str) -> None:
    """No key is beyond its limit or alive twice, no job is lost, and nothing is left."""
    connection = Connection(Address.of(redis_url))
    walk = GateWalk(connection, stream)
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

    assert len({*chain.from_iterable(follows.values())}) > STATES


async def _try(walk: GateWalk, before: GateState, step: GateStep) -> GateState:
    """Take a step and judge what came of it."""
    after, answer = await walk.take(before, step)
    _check_places(after)
    _check_what_is_held(after)
    slots, most = after.snapshot.slots, after.most
    if len(slots) > len(before.snapshot.slots):
        assert len(slots) <= most, f"beyond the limit after {after.way}"
    if step.verb not in _UNSEEN and len(slots) < most:
        assert not after.snapshot.parked, f"nothing keeps a job back after {after.way}"
    if step.verb in ENDS:
        belief = before.beliefs[step.worker][step.belief]
        if before.owns(step.worker, belief):
            assert answer != 0, f"its owner cannot settle after {after.way}"
        else:
            assert answer == 0, f"another worker can settle after {after.way}"
    for worker, beliefs in enumerate(after.beliefs):
        for each in beliefs:
            if each.fresh:
                ours = after.owns(worker, each)
                assert ours, f"a lease is taken before its end after {after.way}"
    return after


def _check_places(state: GateState) -> None:
    """Each job is in one place, and no url is alive twice."""
    real, queue = state.snapshot, state.snapshot.queue
    alive = [*queue.entries.values(), *queue.delayed.values(), *real.parked.values()]
    jobs = [fields["n"] for fields in (*alive, *queue.dead.values())]
    assert len(jobs) == len({*jobs}), f"a job is in two places after {state.way}"
    assert len(jobs) + state.done == state.accepted, f"a job is lost after {state.way}"
    assert queue.bodies == len(queue.delayed) + len(real.parked), state.way
    assert queue.held.keys() <= queue.entries.keys(), state.way
    urls = [fields["url"] for fields in alive]
    assert len(urls) == len({*urls}), f"two of a unique key after {state.way}"


def _check_what_is_held(state: GateState) -> None:
    """Slots are those of entries, and locks those of all that live; no lane is lost."""
    real, queue = state.snapshot, state.snapshot.queue
    assert real.slots == {(SLOT, each) for each in queue.entries}, state.way
    assert {each for each, _ in real.holds} == {*queue.entries}, state.way
    places = dict(queue.entries)
    places |= {f"@{job}": fields for job, fields in queue.delayed.items()}
    places |= {f"@{job}": fields for job, fields in real.parked.items()}
    held = {f"url={fields['url']}": each for each, fields in places.items()}
    assert {key: who for key, (who, _) in real.locks.items()} == held, state.way
    for lane in {*real.lane_of.values()}:
        assert lane in [*real.ready, *real.blocked], f"a lane is lost after {state.way}"


async def _can_be_finished(walk: GateWalk, state: GateState) -> None:
    jobs, keys = await walk.finish(state)
    assert jobs == (0, 0), f"no worker can finish all after {state.way}"
    assert keys == [], f"something is left after {state.way}"
