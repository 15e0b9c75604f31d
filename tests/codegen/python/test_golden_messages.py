"""Messages of every version are read by the newest class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from flowd import Job
from flowd.testing import from_text
from flowd_codegen.cli import run
from tests.house.sources import ROOT
from tests.support.jobs.report import Note, Report

_FOLDER: Final = Path(__file__).parent / "golden_messages"
_CLASSES: Final[dict[str, type[Job]]] = {"note": Note, "report": Report}


@pytest.mark.parametrize("file", sorted(path.name for path in _FOLDER.glob("*.jsonl")))
def test_an_entry_reads_as_the_newest_version(file: str) -> None:
    """Each line is an entry, and what the job that it is becomes on the wire today."""
    job_class = _CLASSES[file.partition(".")[0]]
    for line in (_FOLDER / file).read_text("utf-8").splitlines():
        golden = json.loads(line)
        written = from_text(job_class, golden["entry"]).to_fields()
        assert {k.decode(): v.decode() for k, v in written.items()} == golden["reads"]


def test_every_version_has_messages() -> None:
    """A version cannot be added without an entry of it."""
    for name, job_class in _CLASSES.items():
        for version in range(1, job_class.SPEC.version + 1):
            assert (_FOLDER / f"{name}.v{version}.jsonl").exists()


def test_the_classes_are_those_of_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested is what flowd-gen writes today."""
    monkeypatch.chdir(ROOT)
    assert run(["tests/support/schemas", "-o", "tests/support/jobs", "--check"]) == 0
