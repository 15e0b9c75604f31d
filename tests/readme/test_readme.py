"""The README, the guide and the tutorial of `docs/` are true."""

from __future__ import annotations

import os

from tests.house.sources import ROOT
from tests.readme import quickstart
from tests.readme.page import follow


def test_the_quick_start_works_word_for_word(newcomer: quickstart.Folder) -> None:
    """Every file and command of the quick start works in an empty folder."""
    quickstart.quick_start(newcomer)


def test_the_class_in_the_guide_is_what_is_generated(
    newcomer: quickstart.Folder,
) -> None:
    """The schema with a mapper gives the class that the guide shows."""
    quickstart.mapper(newcomer)


def test_the_evolution_tutorial_works_word_for_word(
    newcomer: quickstart.Folder,
) -> None:
    """Every file and command of the page works, and prints what the page shows."""
    page = ROOT / "docs/evolution-tutorial.md"
    follow(page, newcomer, update=bool(os.environ.get("UPDATE_GOLDEN")))
