"""An empty folder to follow the pages in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.readme import quickstart


@pytest.fixture
def newcomer(tmp_path: Path) -> quickstart.Folder:
    return quickstart.Folder(tmp_path, Path(sys.executable).parent)
