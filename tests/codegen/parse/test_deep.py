"""Records in records: what holds the next one twice, and chains of any length."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from flowd.errors import DecodeError, EncodeError
from flowd_codegen.cli import run
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.python.render import render


def _write(folder: Path, count: int, *fields: str) -> None:
    """Records R0 to R{count}, each with these fields of the next one, and a job of R0."""
    tables = [
        f"[record.R{number}.fields]\n"
        + "".join(
            f'{name} = "{kind}"\n'.replace("NEXT", f"R{number + 1}")
            for name, kind in zip("abc", fields, strict=False)
        )
        for number in range(count)
    ]
    last = f'[record.R{count}.fields]\nx = {{ type = "str", secret = true }}\n'
    job = '[job.J.fields]\nr = { type = "R0" }\n'
    folder.mkdir()
    (folder / "deep.toml").write_text("".join([job, *tables, last]))


@pytest.mark.parametrize(
    ("count", "fields"),
    [
        (2_000, ("NEXT",)),
        (200, ("NEXT", "NEXT")),
        (200, ("NEXT?", "list[NEXT]", "dict[str, NEXT]")),
    ],
    ids=["chain", "twice", "inside"],
)
def test_records_in_records_take_linear_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    count: int,
    fields: tuple[str, ...],
) -> None:
    """No command counts the ways to a record, or goes down them by calling itself."""
    monkeypatch.chdir(tmp_path)
    _write(Path("deep"), count, *fields)
    _write(Path("shorter"), count - 1, *fields)
    for words in (
        "validate deep",
        "lock deep",
        "diff deep --against flowd.lock",
        "diff deep --against deep",
        "catalogue deep",
        "rust deep",
    ):
        assert run(words.split()) == 0, capsys.readouterr().err
    assert run(["diff", "shorter", "--against", "deep"]) in (0, 1)
    assert "bug" not in capsys.readouterr().err


def test_records_in_records_are_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there are; the classes can be imported."""
    monkeypatch.chdir(tmp_path)
    _write(Path("deep"), 300, "NEXT")
    assert run(["deep", "-o", "jobs"]) == 0
    compile(Path("jobs/deep.py").read_text(), "deep.py", "exec")


def test_long_cycle_is_summarised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names where it begins and ends."""
    tables = [
        f'[record.R{number}.fields]\na = "R{(number + 1) % 1500}"\n'
        for number in range(1500)
    ]
    (tmp_path / "circle.toml").write_text("".join(tables))
    assert run(["validate", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "circular" in said
    assert len(said.splitlines()[0]) < 400


def test_records_deeper_than_python_goes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DecodeError and an EncodeError, whichever part of Python gives up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    _write(Path("deep"), 600, "NEXT")
    schema = parse(
        Sources((Source("deep.toml", "deep.toml", Path("deep/deep.toml").read_text()),))
    )
    text, _ = render(schema).values()
    Path("bottomless.py").write_text(text)
    module = importlib.import_module("bottomless")
    for depth in (900, 1_500, 100_000):
        raw = '{"a":' * depth + "{}" + "}" * depth
        with pytest.raises(DecodeError, match=r"J\.r"):
            module.J.from_fields({b"r": raw.encode()})
    record = module.R600(x="")
    for number in reversed(range(600)):
        record = getattr(module, f"R{number}")(a=record)
    with pytest.raises(EncodeError, match="nested too deeply"):
        module.J(r=record).to_fields()
