"""The architecture page is true."""

from __future__ import annotations

import re
from pathlib import Path

from tests.house.sources import ROOT, RUNTIME, modules


def test_every_room_is_in_the_table() -> None:
    """The page lists the rooms and the modules of the runtime, and no other."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    listed = {Path(name).stem for row in rows for name in re.findall(r"`(.*?)`", row)}
    found = {
        path.stem
        for path in RUNTIME.iterdir()
        if (path.suffix == ".py" and not path.stem.startswith("__"))
        or (path / "__init__.py").exists()
    }
    assert listed == found


def test_every_path_on_the_pages_exists() -> None:
    """A folder or file that a document names is there."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text("utf-8")
        named = re.findall(
            r"`((?:tests|docs|flowd|codegen|schemas|benchmarks)/[\w./]*)`", text
        )
        # What a page shows the text of is the reader's own file.
        shown = re.findall(r"`([\w./]+)`[^\n`]*:\n\n```", text)
        linked = re.findall(r"\]\((?!http)([^)#]+)", text)
        for path in sorted({*named} - {*shown}):
            assert (ROOT / path).exists(), f"{page.name} names {path}"
        for path in linked:
            assert (page.parent / path).exists(), f"{page.name} links to {path}"


def test_log_module_owns_the_logger() -> None:
    """No module but `flowd/log.py` has a logger, except for the handler's own."""
    having = {
        str(path.relative_to(RUNTIME))
        for path in modules(RUNTIME)
        if "getLogger" in path.read_text("utf-8")
    }
    assert having == {"log.py", "model/context.py"}
