"""The README, the guide and the tutorial of `docs/` are true."""

from __future__ import annotations

import os
import re

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


def test_a_program_runs_as_a_script_only() -> None:
    """`flowd run` imports the module, which must not run the program then."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = {each.name: each.read_text("utf-8") for each in pages}
    found = [name for name, text in texts.items() if "asyncio.run(main())" in text]
    assert found
    for name, text in texts.items():
        assert not re.search(r"^asyncio\.run\(", text, re.MULTILINE), name
