"""The page of states names what there is."""

from __future__ import annotations

import re

from tests.house.sources import ROOT, RUNTIME

PAGE = (ROOT / "docs/deliveries.md").read_text("utf-8")

# They are part of other scripts.
PRELUDES = {
    *(
        "by_name.lua",
        "fence.lua",
        "gate.lua",
        "gate_admission.lua",
        "gate_entry.lua",
        "gate_holds.lua",
        "gate_lanes.lua",
        "gate_needs.lua",
        "key_of.lua",
        "later.lua",
        "marks.lua",
        "now.lua",
        "only_group.lua",
        "packed.lua",
        "paused.lua",
    ),
    "removed.lua",
    "replica.lua",
    "untaken.lua",
}


def test_every_proof_exists() -> None:
    """A test that the page names is in the file that it names."""
    proofs = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(proofs) > 20
    for path, test in proofs:
        assert f"def {test}(" in (ROOT / path).read_text("utf-8"), f"{path}::{test}"


def test_every_script_is_an_arrow() -> None:
    """The page names the scripts that there are, and no other."""
    scripts = {path.name for path in (RUNTIME / "broker/lua").glob("*.lua")}
    assert set(re.findall(r"`(\w+\.lua)`", PAGE)) == scripts - PRELUDES


def test_every_arrow_is_drawn() -> None:
    """The numbers of the drawing are those of the table."""
    drawing = PAGE.split("```")[1]
    rows = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert rows == [str(number) for number in range(1, len(rows) + 1)]
    assert set(re.findall(r"\d+", drawing)) == set(rows)
