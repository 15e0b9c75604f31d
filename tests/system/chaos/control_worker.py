"""A worker process of a queue with schedules, which writes down what it does.

Usage: as `worker`

A job's `to` is its name, and its `subject` says what becomes of it, as for `worker`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from tests.support.scheduled import every, scheduled
from tests.system.chaos.worker import noted_worker, serve

__all__ = ["JOB", "STEPS"]

STEPS: Final = {"one": 1, "two": 2}
"""Seconds from tick to tick, by the names of the schedules."""

JOB: Final = scheduled(
    *(every(seconds, name, missed="all") for name, seconds in STEPS.items())
)

if __name__ == "__main__":
    asyncio.run(serve(noted_worker, JOB, sys.argv[1:]))
