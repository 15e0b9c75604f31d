"""A small run of what `make chaos` does: all faults at once, every job accounted for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from flowd.embedded import Server
from tests.system.chaos.invariants import INVARIANTS
from tests.system.chaos.plan import plan, wishes
from tests.system.chaos.play import play

SEED: Final = int(os.environ.get("FLOWD_CHAOS_SEED", "7"))
SECONDS: Final = 5.0
JOBS: Final = 400
FAULTS: Final = {
    "kill": 4,
    "term": 2,
    "freeze": 1,
    "clients": 2,
    "server": 1,
    "pause": 1,
}


def test_every_job_is_accounted_for(own_server: Server, tmp_path: Path) -> None:
    """Every accepted job is done or a dead letter, once, and nothing is left behind."""
    print(f"FLOWD_CHAOS_SEED={SEED}")
    outcome = play(
        own_server,
        tmp_path,
        wishes(SEED, JOBS),
        plan(SEED, SECONDS, FAULTS),
        SECONDS,
        workers=3,
        patient=False,
    )
    h = outcome.history

    assert len(h.accepted) == JOBS
    assert outcome.faults == FAULTS
    for rule in INVARIANTS:
        assert not [h.story(each) for each in rule(h)], rule.__name__
    assert not outcome.innocent()


@pytest.mark.parametrize("number", [100, 1000, 4000])
def test_plan_is_determined_by_its_seed(number: int) -> None:
    """The same seed gives the same jobs and faults, in their exact numbers."""
    assert wishes(1, number) == wishes(1, number)
    assert wishes(1, number) != wishes(2, number)
    assert plan(1, 9.0, FAULTS) == plan(1, 9.0, FAULTS)
    assert plan(1, 9.0, FAULTS) != plan(2, 9.0, FAULTS)
    assert len(plan(1, 9.0, FAULTS)) == sum(FAULTS.values())
    assert sum(wish.subject == "slow" for wish in wishes(1, number)) == 0.03 * number
