"""`[tool.flowd-gen]` in pyproject.toml, and the hooks that rely on it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from flowd_codegen.cli import run
from flowd_codegen.extra import REQUIREMENTS
from tests.house.sources import ROOT


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test stands in a project with one schema."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/email.toml").write_text('[job.Email.fields]\nto = "str"\n')
    monkeypatch.chdir(tmp_path)


def _configure(settings: str = 'src = "schemas"\nout = "app/jobs"') -> None:
    Path("pyproject.toml").write_text(f"[tool.flowd-gen]\n{settings}\n")


def test_flowd_gen_generates_without_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`flowd-gen` writes, and `flowd-gen --check` compares."""
    _configure()
    assert run(["--check"]) == 1
    assert "run flowd-gen schemas -o app/jobs\n" in capsys.readouterr().err
    assert run([]) == 0
    assert Path("app/jobs/email.py").exists()
    assert run(["--check"]) == 0
    assert run(["validate"]) == 0
    assert run(["catalogue"]) == 0
    assert "## Email" in capsys.readouterr().out


def test_settings_are_found_from_a_subfolder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths belong to the file's folder; one that says nothing of flowd-gen is passed."""
    _configure()
    below = Path("app/deep")
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text("[tool.black]\n")
    monkeypatch.chdir(below)
    assert run([]) == 0
    assert Path("../jobs/email.py").exists()


def test_the_lock_is_next_to_the_file_that_names_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its default belongs to the same folder as every path of the settings."""
    _configure()
    assert run(["lock"]) == 0
    assert Path("flowd.lock").exists()
    Path("app").mkdir()
    monkeypatch.chdir("app")
    assert run(["lock", "--check"]) == 0


def test_arguments_win() -> None:
    """Arguments replace the settings of the file, one by one."""
    _configure()
    Path("schemas").rename("other")
    assert run(["other"]) == 0
    assert Path("app/jobs/email.py").exists()
    assert run(["other", "-o", "mine"]) == 0
    assert Path("mine/email.py").exists()


def test_every_setting_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """The lock's place, the format of faults, and whether stale files stay."""
    _configure(
        'src = "schemas"\nout = "jobs"\nlock = "wire.lock"\nformat = "json"\nprune = false'
    )
    assert run(["lock"]) == 0
    assert Path("wire.lock").exists()
    Path("schemas/fax.toml").write_text("[job.Fax]\n")
    assert run([]) == 0
    Path("schemas/fax.toml").unlink()
    assert run([]) == 0
    assert Path("jobs/fax.py").exists()
    assert run(["--prune"]) == 0
    assert not Path("jobs/fax.py").exists()
    Path("schemas/email.toml").write_text('[job.Email.fields]\nto = "string"\n')
    capsys.readouterr()
    assert run([]) == 2
    assert capsys.readouterr().err.startswith('{"path": "schemas/email.toml"')


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            'source = "schemas"',
            "pyproject.toml:2:1: error[E102]: unknown setting `source`",
        ),
        ('source = "schemas"', "did you mean `src`?"),
        ("src = 1", "`src` must be a string, not an integer"),
        ('out = ""', "`out` is empty"),
        ('format = "jsn"', "did you mean `json`?"),
        ('prune = "no"', "`prune` must be a boolean, not a string"),
        ("src = ", "error[E101]: not TOML"),
    ],
)
def test_a_wrong_setting_is_a_fault(
    settings: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown in its place, whatever the command; exit 2, and nothing is written."""
    _configure(settings)
    for command in (["schemas", "-o", "jobs"], ["validate", "schemas"]):
        assert run(command) == 2
        assert said in capsys.readouterr().err
    assert not Path("jobs").exists()


@pytest.mark.parametrize("text", [b"[tool.black\n", "[tool]\n".encode("utf-16")])
def test_broken_foreign_file_is_a_warning(
    text: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that does not name flowd-gen stops no run, and it is not passed over."""
    Path("pyproject.toml").write_bytes(text)
    assert run(["schemas", "-o", "jobs"]) == 0
    assert capsys.readouterr().err.startswith("pyproject.toml:1:1")


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("tool.flowd_gen", "1:7"),
        ("tool.flowdgen", "1:7"),
        ("flowd-gen", "1:2"),
        ('tool."Flowd Gen"', "1:7"),
    ],
)
def test_misspelt_table_is_a_fault(
    header: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its settings would be passed over; with the advice followed they are read."""
    settings = 'src = "schemas"\nout = "jobs"\n'
    Path("pyproject.toml").write_text(f"[{header}]\n{settings}")
    assert run([]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"pyproject.toml:{place}: error[E102]")
    assert "the settings are in `[tool.flowd-gen]`" in said
    Path("pyproject.toml").write_text(f"[tool.flowd-gen]\n{settings}")
    assert run([]) == 0


def test_line_ends_of_windows_are_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An excerpt ends where its line does."""
    Path("pyproject.toml").write_bytes(b"[tool.flowd-gen]\r\nout = 5\r\n")
    assert run(["validate", "schemas"]) == 2
    said = capsys.readouterr().err
    assert "2 | out = 5\n" in said


def test_both_paths_are_required_without_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of them alone does not generate."""
    _configure('src = "schemas"')
    with pytest.raises(SystemExit) as caught:
        run(["--check"])
    assert caught.value.code == 2
    assert "-o/--out" in capsys.readouterr().err


def test_the_hooks_run_and_say_no(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of `.pre-commit-hooks.yaml` fails until the project is current."""
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")
    entries = re.findall(r"entry: flowd-gen (.+)", hooks)
    assert len(entries) == 2
    _configure()
    for entry in entries:
        words = shlex.split(entry)
        assert run(words) == 1
        assert "out of date" in (said := capsys.readouterr().err) or "missing" in said
        assert run([word for word in words if word != "--check"]) == 0
        assert run(words) == 0


def test_the_hooks_install_what_the_command_needs() -> None:
    """pre-commit installs no extras, so they are named."""
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")
    named = re.findall(r"additional_dependencies: \[(.+)\]", hooks)
    assert [re.findall(r'"(.+?)"', one) for one in named] == [
        [*REQUIREMENTS.values()]
    ] * 2
