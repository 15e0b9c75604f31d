"""The README is true."""

from __future__ import annotations

from tests.readme import quickstart


def test_the_quick_start_works_word_for_word(newcomer: quickstart.Folder) -> None:
    """Every file and command of the quick start works in an empty folder."""
    quickstart.quick_start(newcomer)


def test_the_class_in_the_readme_is_what_is_generated(
    newcomer: quickstart.Folder,
) -> None:
    """The schema with a mapper gives the class that the README shows."""
    quickstart.mapper(newcomer)
