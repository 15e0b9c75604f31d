"""A run of each kind of fault on a cluster or behind sentinels; every job accounted for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from tests.support.servers import chosen
from tests.system.chaos.nodes.play import PLACES, play
from tests.system.chaos.nodes.verdict import judge

SEED: Final = int(os.environ.get("FLOWD_CHAOS_SEED", "7"))
SECONDS: Final = float(os.environ.get("FLOWD_NODE_CHAOS_SECONDS", "10"))


@pytest.mark.skipif(chosen().name not in PLACES, reason="it is for make test-nodes")
def test_every_job_is_accounted_for(tmp_path: Path) -> None:
    """No durable job is lost, none is settled twice, and no queue stands still for good."""
    program = chosen().find()
    if program is None:
        pytest.skip(chosen().missing)
    print(f"FLOWD_CHAOS_SEED={SEED}")
    with PLACES[chosen().name](program, 0) as place:
        h = play(place, tmp_path, SEED, SECONDS)
        assert {each.kind for each in h.faults} == set(place.faults.kinds)
    assert not (broken := judge(h)), "\n".join(broken)
