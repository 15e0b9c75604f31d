"""Sessions that end with their test, also when it fails: a later one would share what is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flowd.broker.session import Session
from flowd.broker.url import Address

__all__ = ["session_to"]


@asynccontextmanager
async def session_to(address: Address) -> AsyncGenerator[Session]:
    """The session of the running loop; for a connection alone there is `connected`."""
    session = Session.acquire(address)
    try:
        yield session
    finally:
        await session.release()
