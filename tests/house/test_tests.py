"""Tests are named for what they show, and stand in the room of what they test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.house.sources import GENERATOR, ROOT, RUNTIME, tree

TESTS: Final = ROOT / "tests"

# A name that begins so has no subject.
_SUBJECTLESS: Final = re.compile(
    r"test_(its?|th(at|is|ose|ese|ere|ey)|what(ever)?|who(ever|se)?|when|if|how|while"
    r"|with(out)?|after|before|as|at|by|from|in|of|on|under|nothing|where|whether)_"
)
_PRIVATE: Final = re.compile(
    r"_(told|whoever|(no|some|any)body|mend(ed|s)?|convict(s|ed)?|hands?_back)(_|$)"
)

# What is around the rooms, and the modules of the root together.
_OTHER: Final = {
    *("api", "codegen", "house", "mutants", "readme", "support", "system"),
    *("tutorial", "typing"),
}


def named() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every test of the suite, with where it is."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in tree(path).body:
            if isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef
            ) and node.name.startswith("test_"):
                yield f"{path.relative_to(ROOT)}::{node.name}", node


def test_names_have_a_subject() -> None:
    """A name begins with what is tested, and uses the words of the field."""
    poor = [
        where
        for where, test in named()
        if _SUBJECTLESS.match(test.name) or _PRIVATE.search(test.name)
    ]
    assert not poor


def test_tests_state_a_fact() -> None:
    """Every test has a docstring."""
    silent = [where for where, test in named() if not ast.get_docstring(test)]
    assert not silent


def test_folders_mirror_the_source() -> None:
    """A folder of tests is a room of the runtime or of the generator, or listed here."""
    for tests, source, others in (
        (TESTS, RUNTIME, _OTHER),
        (TESTS / "codegen", GENERATOR, {"cases"}),
    ):
        rooms = {path.parent.name for path in source.glob("*/__init__.py")}
        folders = {path.parent.name for path in tests.glob("*/__init__.py")}
        assert folders <= rooms | others, folders - rooms - others
