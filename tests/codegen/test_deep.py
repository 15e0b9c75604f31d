"""Records in records: what holds the next one twice, and chains of any length."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowd_codegen.cli import run


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


def test_a_long_circle_is_told_in_a_few_words(
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
