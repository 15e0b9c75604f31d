"""Policies and operators' orders, in whatever order: each job is where it may be.

Environment:
    FLOWD_MODEL_EXAMPLES: how many histories are tried of each set of policies, others each
        time; without it 20, always the same ones.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Final

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from flowd.broker.connection import Connection
from flowd.broker.url import Address
from tests.system.delivery_model.gate_machine import GateMachine
from tests.system.delivery_model.policies import GATES

EXAMPLES: Final = os.environ.get("FLOWD_MODEL_EXAMPLES", "")
SETTINGS: Final = settings(
    max_examples=int(EXAMPLES or 20),
    stateful_step_count=40,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    # A history is tried in shorter ones only where there is time for it.
    phases=(Phase.generate, *([Phase.shrink] if EXAMPLES else [])),
)


@pytest.mark.limit(120)
@pytest.mark.parametrize("name", GATES)
def test_the_gate_does_what_the_model_does(
    redis_url: str, stream: str, name: str
) -> None:
    """No key is beyond its limit, who may go goes, and every job ends in one place."""
    numbers = itertools.count()
    with asyncio.Runner() as runner:
        connection = Connection(Address.of(redis_url))

        class Machine(GateMachine):
            def __init__(self) -> None:
                name_of = f"{stream}-{next(numbers)}"
                super().__init__(runner, connection, name_of, GATES[name])

        try:
            run_state_machine_as_test(Machine, settings=SETTINGS)
        finally:
            runner.run(connection.aclose())
