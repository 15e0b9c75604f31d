"""The README is true."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.readme import quickstart


@pytest.fixture
def newcomer(tmp_path: Path) -> quickstart.Folder:
    return quickstart.Folder(tmp_path, Path(sys.executable).parent)


def test_the_quick_start_works_word_for_word(newcomer: quickstart.Folder) -> None:
    """Every file and command of the quick start works in an empty folder."""
    quickstart.quick_start(newcomer)


def test_the_class_in_the_readme_is_what_is_generated(
    newcomer: quickstart.Folder,
) -> None:
    """The schema with a mapper gives the class that the README shows."""
    quickstart.mapper(newcomer)
