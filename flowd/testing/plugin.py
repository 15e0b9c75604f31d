"""Fixtures for pytest.

To have them, name this module in the top `conftest.py` of your tests:

    pytest_plugins = ["flowd.testing.plugin"]

It is no entry point, so that tests without it do not load flowd.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowd.embedded import Server
from flowd.testing.clock import FakeClock
from flowd.testing.memory import Memory
from flowd.testing.producer import RecordingProducer, RecordingSyncProducer

__all__ = [
    "flowd_clock",
    "flowd_memory",
    "flowd_producer",
    "flowd_server",
    "flowd_sync_producer",
    "flowd_url",
]


@pytest.fixture
def flowd_clock() -> FakeClock:
    """The clock of `flowd_memory`."""
    return FakeClock()


@pytest.fixture
def flowd_memory(flowd_clock: FakeClock) -> Memory:
    """What the fixtures below share, and a `MemoryQueue` that is given it."""
    return Memory(flowd_clock)


@pytest.fixture
def flowd_producer(flowd_memory: Memory) -> RecordingProducer:
    """Stands where a `Producer` is expected, and sends nothing."""
    return RecordingProducer(flowd_memory)


@pytest.fixture
def flowd_sync_producer(flowd_memory: Memory) -> RecordingSyncProducer:
    """Stands where a `SyncProducer` is expected, and sends nothing."""
    return RecordingSyncProducer(flowd_memory)


@pytest.fixture(scope="session")
def flowd_server() -> Iterator[Server]:
    """A real server for the session, one in each process of pytest-xdist.

    It takes the extra `server`, or a `redis-server` on the PATH.
    """
    with Server("--appendonly", "no") as server:
        yield server


@pytest.fixture
def flowd_url(flowd_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a real, empty server, which is `FLOWD_URL` as well."""
    monkeypatch.setenv("FLOWD_URL", flowd_server.url)
    yield flowd_server.url
    flowd_server.flush()
