"""Whatever is asked in whatever order, the scripts answer as a model of a queue does.

Environment:
    FLOWD_MODEL_EXAMPLES: how many histories are tried, others each time; without it 200,
        always the same ones.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Final

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from flowd.broker.connection import Connection
from flowd.broker.url import Address
from tests.system.delivery_model.machine import QueueMachine

EXAMPLES: Final = os.environ.get("FLOWD_MODEL_EXAMPLES", "")
SETTINGS: Final = settings(
    max_examples=int(EXAMPLES or 200),
    stateful_step_count=30,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    print_blob=True,
)


def test_the_scripts_do_what_the_model_does(redis_url: str, stream: str) -> None:
    """Every answer, and every place of every job after it, is as the model has it."""
    numbers = itertools.count()
    with asyncio.Runner() as runner:
        connection = Connection(Address.of(redis_url))

        class Machine(QueueMachine):
            def __init__(self) -> None:
                super().__init__(runner, connection, f"{stream}-{next(numbers)}")

        try:
            run_state_machine_as_test(Machine, settings=SETTINGS)
        finally:
            runner.run(connection.aclose())
