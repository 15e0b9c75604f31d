"""A folder for schemas, and a queue that holds something in every place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.preflight.queue import fill, forget
from tests.support.raw import Raw


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test runs in a folder of its own for schemas, and leaves no module behind."""
    (tmp_path / "schemas").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield
    forget(tmp_path)


@pytest.fixture
def filled(redis_url: str, raw: Raw) -> str:
    """Where a server is with a queue that holds something in every place."""
    asyncio.run(fill(redis_url, raw))
    return redis_url
