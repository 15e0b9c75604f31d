"""Each folder of `cases/` goes through the real command, and gives what is in it.

A case has a schema and what it becomes: `expected/*.py`, or `error.txt` when it is
refused. `UPDATE_GOLDEN=1` writes either anew.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from flowd_codegen.cli import run
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.diagnostics.report import Code
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.python.layout import KEPT, format_with_black
from flowd_codegen.python.render import render
from tests.house.sources import ROOT

_CASES: Final = Path(__file__).parent / "cases"
_BROKEN: Final = sorted(path.parent for path in _CASES.glob("*/error.txt"))
_GOOD: Final = sorted(
    {case for case in _CASES.iterdir() if case.is_dir()}
    - {*_BROKEN}
    - {_CASES / "__pycache__"}
)
_MODULES: Final = [
    path for case in _GOOD for path in sorted((case / "expected").rglob("*.py"))
]
_ORDINARY: Final = [case for case in _GOOD if case.name != "wide"]
_UPDATE: Final = bool(os.environ.get("UPDATE_GOLDEN"))

_ELSEWHERE: Final = {
    Code.TOO_MANY_FIELDS,
    Code.LINK,
    Code.NOT_TEXT,
    Code.TOO_LARGE,
    Code.NOTHING_TO_READ,
    Code.LOCK,
    Code.REVISION,
    Code.MIGRATION,
    Code.RUST_KEY,
    Code.RUST_NAME,
    Code.RUST_TYPE,
}
"""Shown in tests of their own: git has no place for these, or they are of no schema."""


def _files(folder: Path) -> dict[str, str]:
    """Each Python file below a folder, with its text but for the name of the layouter."""
    return {
        path.relative_to(folder)
        .as_posix(): path.read_text("utf-8")
        .partition("# flowd-gen: ")[0]
        for path in sorted(folder.rglob("*.py"))
    }


@pytest.mark.parametrize("case", _GOOD, ids=lambda case: case.name)
def test_a_schema_becomes_what_is_expected(
    case: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command writes these modules, byte for byte but for the stamp, and `--check` finds no other."""
    monkeypatch.chdir(case)
    if _UPDATE:
        assert run([".", "-o", "expected"]) == 0
    out = tmp_path / "jobs"
    assert run([".", "-o", str(out)]) == 0
    assert _files(out) == _files(case / "expected")
    stubs = any("_migrations" in name for name in _files(out))
    capsys.readouterr()
    assert run([".", "-o", "expected", "--check"]) == int(stubs)
    printed = capsys.readouterr()
    assert "error" not in printed.err
    assert "out of date" not in printed.err


@pytest.mark.parametrize("case", _BROKEN, ids=lambda case: case.name)
def test_a_broken_schema_is_refused(
    case: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command says what is wrong and where, exits with 2, and writes nothing."""
    monkeypatch.chdir(case)
    out = tmp_path / "jobs"
    code = run([".", "-o", str(out)])
    printed = capsys.readouterr()
    golden = case / "error.txt"
    if _UPDATE:
        golden.write_text(printed.err, encoding="utf-8")
    assert printed.err == golden.read_text(encoding="utf-8")
    assert printed.out == ""
    assert code == 2
    assert not out.exists()


def test_every_error_code_has_a_case() -> None:
    """No code can be added without a schema that shows it."""
    texts = "".join((case / "error.txt").read_text("utf-8") for case in _BROKEN)
    shown = set(re.findall(r"error\[(\w+)\]", texts))
    errors = {code for code in Code if not code.startswith("W")}
    assert shown == errors - _ELSEWHERE


def test_each_case_shows_the_code_in_its_name() -> None:
    """A case named `e201_…` shows E201, so a code's example is easy to find."""
    for case in _BROKEN:
        code = re.match(r"e\d+", case.name)
        text = (case / "error.txt").read_text("utf-8")
        if code:
            assert f"error[{code[0].upper()}]" in text


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: path.parent.parent.name)
def test_black_has_nothing_to_do(path: Path) -> None:
    """A second time it changes nothing, with the line that says what the file is of."""
    text = path.read_text("utf-8")
    assert format_with_black(text) == text


def _ruff(folder: Path, *arguments: str | Path) -> str:
    """What it prints of its findings, run in a folder; empty where there is none."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


def test_ruff_has_nothing_to_say_of_a_generated_module(tmp_path: Path) -> None:
    """Not with every rule, and not with a layout of the project's own."""
    modules = [*_MODULES, *sorted((ROOT / "tests/support/jobs").glob("*.py"))]
    generated = [path for path in modules if "_migrations" not in path.name]
    settings = tmp_path / "ruff.toml"
    settings.write_text("line-length = 60\nformat.quote-style = 'single'\n")
    # PGH004 is against the comment itself.
    every = ("--select=ALL", "--ignore=PGH004")
    for strict in (["--isolated"], ["--config", settings]):
        assert not _ruff(tmp_path, "check", "--no-cache", *strict, *every, *generated)
        assert not _ruff(
            tmp_path, "format", "--no-cache", *strict, "--check", *generated
        )
    rules = "--select=E,F,I,UP,B"
    assert not _ruff(tmp_path, "check", "--no-cache", "--isolated", rules, *modules)
    assert not _ruff(
        tmp_path, "format", "--no-cache", "--isolated", "--check", *modules
    )


def test_ruff_agrees_with_what_it_is_kept_from(tmp_path: Path) -> None:
    """Only what no layout can shorten needs the comment."""
    odd: dict[str, set[str]] = {}
    for path in _MODULES:
        bare = tmp_path / path.relative_to(_CASES)
        bare.parent.mkdir(parents=True, exist_ok=True)
        bare.write_text(path.read_text("utf-8").replace(KEPT, "", 1), encoding="utf-8")
    found = _ruff(
        tmp_path,
        *("check", "--no-cache", "--isolated", "--select=E,F,I,UP,B"),
        *("--output-format=json", tmp_path),
    )
    for finding in json.loads(found):
        case = Path(finding["filename"]).relative_to(tmp_path).parts[0]
        odd.setdefault(case, set()).add(finding["code"])
    assert odd == {"wide": {"E501"}}
    shown = _ruff(tmp_path, "format", "--no-cache", "--isolated", "--check", tmp_path)
    assert {*re.findall(r"(\w+)/expected/", shown)} == {"wide"}


def test_a_generated_module_imports_only_what_it_needs() -> None:
    """The standard library, flowd, mappers and its siblings, each once; and `re`."""
    for path in _MODULES:
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        modules = [node for node in nodes if isinstance(node, ast.Import)]
        assert {name.name for node in modules for name in node.names} <= {"re"}
        absolute = [node.module or "" for node in imports if node.level == 0]
        names = [(node.module, alias.name) for node in imports for alias in node.names]
        assert len({*names}) == len(names)
        packages = {name.partition(".")[0] for name in absolute}
        assert packages - {"flowd", "cases"} <= sys.stdlib_module_names
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        aliases = [alias for node in imports for alias in node.names]
        aliases += [alias for node in modules for alias in node.names]
        given = {alias.asname or alias.name for alias in aliases}
        assert given - used <= {"annotations"}, path


def test_mypy_accepts_every_generated_module(tmp_path: Path) -> None:
    """All cases together, under `--strict` and no configuration."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull]
        + ["--explicit-package-bases", "--cache-dir", str(tmp_path)]
        + [str(path) for path in _MODULES],
        env=os.environ | {"MYPYPATH": str(_CASES.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"Success: no issues found in {len(_MODULES)} source files\n"


def test_pyright_accepts_every_generated_module(tmp_path: Path) -> None:
    """All cases together and one of many fields, in strict mode."""
    # Pyright looks only below the folder of its configuration.
    shutil.copytree(_CASES, tmp_path / "cases")
    fields = "".join(f'f{number} = "str?"\n' for number in range(150))
    text = f"[record.Part.fields]\n{fields}[job.Many.fields]\n{fields}"
    many, _ = render(parse(Sources((Source("many.toml", "", text),)))).values()
    (tmp_path / "many.py").write_text(many, encoding="utf-8")
    config = {
        "include": ["many.py", *(f"cases/{case.name}/expected" for case in _GOOD)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "venvPath": str(Path(sys.prefix).parent),
        "venv": Path(sys.prefix).name,
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--project", str(project)],
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(done.stdout)
    assert result["generalDiagnostics"] == []
    assert result["summary"]["filesAnalyzed"] == len(_MODULES) + 1
