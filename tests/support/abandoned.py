"""Close what a test leaves open on purpose, before a test that comes later has to answer for it."""

from __future__ import annotations

import asyncio
import gc

from flowd.broker.session import connected
from flowd.broker.url import Address

__all__ = ["collect_abandoned"]


def collect_abandoned(url: str) -> None:
    """Collect the connections of event loops that ended without `aclose`.

    Args:
        url: of the server that they lead to.
    """
    asyncio.run(_join(url))
    gc.collect()
    gc.collect()  # of what coroutines held that the first one took down


async def _join(url: str) -> None:
    """To join a session forgets those of closed loops, which hold these loops."""
    async with connected(Address.of(url)):
        pass
