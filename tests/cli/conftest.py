"""The command, against the session's server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.program import Program


@pytest.fixture
def flowd(tmp_path: Path, redis_url: str) -> Program:
    return Program(tmp_path, redis_url)
