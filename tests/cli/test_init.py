"""`flowd-gen init`: what it writes works as it stands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowd_codegen.cli import run
from flowd_codegen.scaffold import NEXT, STARTER
from tests.support.program import Program

_FILES = {*STARTER, "schemas/flowd.schema.json"}


def _files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _python(folder: Path, *words: str) -> str:
    """Run this Python in the folder; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"FLOWD_URL": "embedded:data"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_files_work_as_they_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generate, test, run and enqueue, by the commands that it says, in their order."""
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    said = capsys.readouterr().out
    assert _files(tmp_path) == _FILES
    assert "pip install pytest" in said  # which flowd does not bring
    for file in _FILES:
        assert f"wrote {file}\n" in said
    words = [command.split() for command, _ in NEXT]
    assert [line.split("#")[0].split() for line in said.splitlines()[-5:]] == words
    generate, test, export, work, enqueue = words

    _python(tmp_path, "-m", "flowd_codegen", *generate[1:])
    assert "1 passed" in _python(tmp_path, *test[1:], "-p", "no:cacheprovider")
    name, _, url = export[1].partition("=")
    assert name == "FLOWD_URL"
    with Program(tmp_path, url).start(*work[1:]) as worker:
        worker.until("runs up to")
        job_id = _python(tmp_path, *enqueue[1:]).strip()
        line = worker.until(" done").split()
        assert line[-7:-3] == [job_id, "attempt", "1", "done"]
        worker.signal(signal.SIGTERM)
        assert worker.end() == 0


def test_the_first_schema_has_no_fault_in_an_editor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JSON Schema that its first line names is in the same folder, and current."""
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    first = Path("schemas/email.toml").read_text().splitlines()[0]
    named = Path("schemas", first.removeprefix("#:schema "))
    assert run(["json-schema", "-o", str(named), "--check"]) == 0


def test_no_file_is_written_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there, and be it a link to nowhere, is kept; the rest is written."""
    folder = tmp_path / "new shop"
    folder.mkdir()
    (folder / "handlers.py").write_text("mine")
    (folder / "workers.py").symlink_to(tmp_path / "elsewhere.py")
    assert run(["init", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"kept {folder}/handlers.py: it is there already\n" in said
    assert f"kept {folder}/workers.py: it is there already\n" in said
    assert f"    cd '{folder}'\n" in said
    assert (folder / "handlers.py").read_text() == "mine"
    assert not (tmp_path / "elsewhere.py").exists()
    assert (folder / "schemas/email.toml").exists()


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in the way of a folder ends with code 3 and one line."""
    (tmp_path / "schemas").write_text("")
    assert run(["init", str(tmp_path)]) == 3
    assert f"error: {tmp_path}/schemas" in capsys.readouterr().err
