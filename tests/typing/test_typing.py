"""Type checkers accept what the documentation shows, and refuse what cannot be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.house.sources import ROOT

HERE: Final = Path(__file__).parent
FILES: Final = sorted(
    str(path.relative_to(ROOT))
    for folder in ("accepted", "rejected")
    for path in (HERE / folder).glob("[a-z]*.py")
)


def expected() -> dict[str, str]:
    """By `path:line`, the code of mypy that the comment there names."""
    return {
        f"{file}:{number}": found[1]
        for file in FILES
        for number, line in enumerate((ROOT / file).read_text().splitlines(), 1)
        if (found := re.search(r"# error: \[([\w-]+)\]$", line))
    }


def checked(*command: str) -> str:
    """What a type checker prints; it has something to say."""
    words = [sys.executable, "-m", *command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_mypy_refuses_the_marked_lines_and_no_other() -> None:
    """In strict mode, each with the code that its comment names."""
    printed = checked("mypy", "--strict", "--no-error-summary", *FILES)
    found = re.findall(r"^(\S+:\d+): error: .*\[([\w-]+)\]$", printed, re.MULTILINE)
    assert sorted(found) == sorted(expected().items())
    assert len(found) > 30


def test_pyright_refuses_the_marked_lines_and_no_other() -> None:
    """In strict mode; its codes are others."""
    project = ("-p", str(HERE / "pyrightconfig.json"))
    printed = checked(
        *("pyright", *project, "--pythonpath", sys.executable, "--outputjson")
    )
    found = {
        f"{Path(each['file']).relative_to(ROOT)}:{each['range']['start']['line'] + 1}"
        for each in json.loads(printed)["generalDiagnostics"]
        if each["severity"] == "error"
    }
    assert found == {*expected()}
