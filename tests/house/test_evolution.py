"""The page on changing a schema says what `flowd-gen diff` knows."""

from __future__ import annotations

import re

from flowd_codegen.diagnostics.rules import LEVELS, RECIPES, Rule
from tests.house.sources import ROOT

PAGE = (ROOT / "docs/evolution.md").read_text("utf-8")


def test_every_rule_has_its_row() -> None:
    """The table holds each rule with what it means and what to do, word for word."""
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `[A-Z_]+` ", line)]
    assert rows == [
        f"| `{rule}` | {row.change} | {row.messages} | {row.workers} | {row.fix} |"
        for rule, row in RECIPES.items()
    ]
    assert [*RECIPES] == [*Rule]


def test_every_level_is_on_the_page() -> None:
    """The table of levels holds those that `--level` takes, in that order."""
    assert re.findall(r"^\| `([a-z]+)` ", PAGE, re.MULTILINE) == [*LEVELS]
