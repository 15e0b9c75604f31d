"""What catches every error says why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.house.sources import GENERATOR, ROOT, RUNTIME, modules, tree

_BROAD: Final = ("Exception", "BaseException")


def _unexplained(path: Path) -> Iterator[int]:
    """The lines of broad handlers that neither raise nor have a comment as they begin."""
    lines = path.read_text("utf-8").splitlines()
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        broad = isinstance(node.type, ast.Name) and node.type.id in _BROAD
        if (broad or node.type is None) and not any(
            isinstance(each, ast.Raise) for each in ast.walk(node)
        ):
            begins = lines[node.lineno - 1 : node.body[0].lineno]
            if not any("# " in line for line in begins):
                yield node.lineno


def test_a_broad_except_says_why() -> None:
    """It catches what a bug raises as well, so a comment says what is expected there."""
    assert not [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules(RUNTIME) + modules(GENERATOR)
        for line in _unexplained(path)
    ]
