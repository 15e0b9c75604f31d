"""Wait until a state is reached: the one way in which tests wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["RECOVERY", "wait_until", "wait_until_blocking"]

RECOVERY = 10.0
"""Seconds that a recovery may take before a test fails: five times the goal."""

_PAUSE = 0.005


async def wait_until(holds: Callable[[], object], within: float = RECOVERY) -> None:
    """Return once `holds()` is true; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        await asyncio.sleep(_PAUSE)


def wait_until_blocking(
    holds: Callable[[], object], within: float = 2 * RECOVERY
) -> None:
    """As `wait_until`, without an event loop: for threads and other processes."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(_PAUSE)
