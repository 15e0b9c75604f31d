"""The file of migrations: written once, the user's since, and looked into."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from flowd_codegen.cli import run

_OUT: Final = Path("jobs")
_FILE: Final = _OUT / "crawl_migrations.py"
_SCHEMA: Final = """\
[job.Crawl]
version = 2

[job.Crawl.fields]
urls = "list[str]"

[job.Crawl.v1.fields]
url = "str"
"""
_WRITTEN: Final = '''\
"""Mine."""

from __future__ import annotations

from .crawl import CrawlV1, CrawlV2


def crawl_v1_to_v2(old: CrawlV1) -> CrawlV2:
    """One address became many."""
    return CrawlV2(urls=[old.url])
'''
_THIRD: Final = (
    _SCHEMA.replace("version = 2", "version = 3")
    + '\n[job.Crawl.v2.fields]\nn = "u8"\n'
)


@pytest.fixture(autouse=True)
def _schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs next to a schema of two versions."""
    monkeypatch.chdir(tmp_path)
    Path("schemas").mkdir()
    _declare(_SCHEMA)


def _declare(schema: str) -> None:
    Path("schemas/crawl.toml").write_text(schema)


def _generate(*options: str) -> int:
    return run(["schemas", "-o", "jobs", *options])


def _write(text: str) -> None:
    """Write the migrations, and generate the rest."""
    _OUT.mkdir(exist_ok=True)
    _FILE.write_text(text)
    assert _generate() == 0


def test_the_file_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    """It has typed stubs; what the user makes of it is never written again."""
    assert _generate("--check") == 1
    assert "missing: jobs/crawl_migrations.py\n" in capsys.readouterr().out
    assert not _OUT.exists()
    assert _generate() == 0
    assert "wrote jobs/crawl_migrations.py\n" in capsys.readouterr().out
    assert "def crawl_v1_to_v2(old: CrawlV1) -> CrawlV2:\n" in _FILE.read_text()
    _FILE.write_text(_WRITTEN)
    assert _generate() == 0
    assert _generate("--check") == 0
    assert capsys.readouterr().out == "jobs is up to date\n"
    assert _FILE.read_text() == _WRITTEN


def test_the_file_is_never_removed(capsys: pytest.CaptureFixture[str]) -> None:
    """When the older versions are gone, it is the user's to remove."""
    _write(_WRITTEN)
    _declare('[job.Crawl]\nversion = 2\noldest = 2\nfields.urls = "list[str]"\n')
    capsys.readouterr()
    assert _generate() == 0
    assert "crawl_migrations" not in capsys.readouterr().out
    assert _FILE.read_text() == _WRITTEN
    assert "crawl_migrations" not in Path("jobs/crawl.py").read_text()


@pytest.mark.parametrize(
    "body",
    [
        'raise NotImplementedError("later")',
        '"""Doc."""\n    raise NotImplementedError',
        "raise NotImplementedError\n    return CrawlV2(urls=[old.url])",
        "...",
        "pass",
        'print(old)\n    raise NotImplementedError("later")',
        "def inner() -> int:\n        return 1\n    raise NotImplementedError",
        "return None",
        "return ...",
        "return NotImplemented",
        "if old.url:\n        return None\n    return None if old.url else None",
    ],
)
def test_a_check_refuses_a_stub(body: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Generating warns of a migration that can give no job; `--check` exits 1."""
    head, _, _ = _WRITTEN.partition("def crawl")
    text = f"{head}def crawl_v1_to_v2(old: CrawlV1) -> CrawlV2:\n    {body}\n"
    _write(text)
    assert "is not written yet" in capsys.readouterr().err
    assert _generate("--check") == 1
    assert "is not written yet" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["None", "lambda old: None", "..."])
def test_name_without_a_function_is_a_stub(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An assignment that can give no job is reported as a stub is."""
    head, _, _ = _WRITTEN.partition("def crawl")
    _write(f"{head}crawl_v1_to_v2 = {value}\n")
    assert "is not written yet" in capsys.readouterr().err
    assert _generate("--check") == 1


def test_asynchronous_migration_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """It would give a coroutine for each job; the advice is to remove `async`."""
    head, _, _ = _WRITTEN.partition("def crawl")
    body = "def crawl_v1_to_v2(old: CrawlV1) -> CrawlV2:\n    return CrawlV2(urls=[])\n"
    path = Path("jobs/crawl_migrations.py")
    _write(f"{head}{body}")
    path.write_text(f"{head}async {body}")
    assert _generate() == 2
    said = capsys.readouterr().err
    assert "is asynchronous, and a migration is a plain function" in said
    assert "^ remove `async`" in said


def test_a_migration_that_returns_is_no_stub() -> None:
    """It may raise NotImplementedError for some jobs, and give others."""
    body = (
        "    if old.url:\n        return CrawlV2(urls=[old.url])\n"
        "    raise NotImplementedError\n"
    )
    head, _, _ = _WRITTEN.partition("def crawl")
    _write(f"{head}def crawl_v1_to_v2(old: CrawlV1) -> CrawlV2:\n{body}")
    assert _generate("--check") == 0


def test_a_stub_is_warned_of_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """An unfinished migration is reported when generating, and by the error of a job."""
    assert _generate() == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        "jobs/crawl_migrations.py:12:1: warning[W104]:"
        " `crawl_v1_to_v2` is not written yet"
    )
    program = "from jobs.crawl import Crawl; Crawl.from_fields({b'url': b'u'})"
    assert (
        _python(program)
        .splitlines()[-1]
        .endswith(
            "Crawl: version 1 cannot become 2: NotImplementedError: write crawl_v1_to_v2 in"
            " crawl_migrations.py"
        )
    )


def test_a_missing_function_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with the place of its version, and with the stub to paste."""
    _write(_WRITTEN)
    before = Path("jobs/crawl.py").read_text()
    _declare(_THIRD)
    capsys.readouterr()
    assert _generate() == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "schemas/crawl.toml:10:12: error[E418]: jobs/crawl_migrations.py has no function"
        " `crawl_v2_to_v3`\n"
    )
    assert "= import CrawlV2 and CrawlV3 from .crawl there, and paste:\n" in said
    assert Path("jobs/crawl.py").read_text() == before
    assert _generate("--check") == 1
    assert "crawl_v2_to_v3" in capsys.readouterr().err

    _, _, stub = said.partition("paste:\n\n")
    text = _WRITTEN.replace("CrawlV2\n\n", "CrawlV2, CrawlV3\n\n", 1)
    _write(f"{text}\n\n{stub}".replace("CrawlV2(urls=[old.url])", "CrawlV2(n=1)"))
    assert _python("import jobs.crawl") == ""


def test_a_migration_of_no_version_is_a_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its class is gone, so importing it would fail; the fault is where it stands."""
    _declare(_THIRD)
    _write(
        _WRITTEN
        + "\n\ndef crawl_v2_to_v3(old: CrawlV2) -> object:\n    return [old, 1][0]\n"
    )
    lines = _THIRD.replace("version = 3", "version = 3\noldest = 2")
    _declare(lines.replace('[job.Crawl.v1.fields]\nurl = "str"\n', ""))
    capsys.readouterr()
    assert _generate() == 2
    headline, _, line, carets, *_ = capsys.readouterr().err.splitlines()
    assert headline == (
        "jobs/crawl_migrations.py:8:1: error[E418]: `crawl_v1_to_v2` migrates a version"
        " that the schema does not have"
    )
    assert line == "8 | def crawl_v1_to_v2(old: CrawlV1) -> CrawlV2:"
    assert carets.endswith("^ rename or remove it, and the import of that class")


def test_other_faults_are_reported_together(capsys: pytest.CaptureFixture[str]) -> None:
    """A schema with versions may have any other fault: a record that holds itself."""
    _declare(f'{_SCHEMA}\n[record.Loop]\nfields.again = "Loop"\n')
    assert _generate() == 2
    assert "error[E207]: circular" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "def crawl_v1_to_v2(old: object) -> object:\n    raise SystemExit(old)\n",
        "from elsewhere import crawl_v1_to_v2\n",
        "from elsewhere import step as crawl_v1_to_v2\n",
        "crawl_v1_to_v2 = print\n",
        "crawl_v1_to_v2: object = print\n",
    ],
)
def test_a_function_may_be_bound_in_any_way(text: str) -> None:
    """The file is read as text: what it imports or does is not looked at."""
    _write(f"raise SystemExit('imported')\n{text}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("async def crawl_v1_to_v2(old): ...\n", "`crawl_v1_to_v2` is asynchronous"),
        ("if 1:\n    def crawl_v1_to_v2(old): ...\n", "has no function `crawl_v1_to"),
        (
            "def crawl_v1_to_v2(old:\n",
            "it is not Python: '(' was never closed, in line 1",
        ),
        ("\0", "it is not Python: "),
        (
            "# coding: latin-1\n# \xa4\nx =\n",
            "it is not Python: invalid syntax, in line 3",
        ),
    ],
)
def test_invalid_migration_is_a_fault(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A migration is a function of the module, and the file is Python."""
    _OUT.mkdir()
    _FILE.write_text(text)
    assert _generate() == 2
    assert said in capsys.readouterr().err
    assert not Path("jobs/crawl.py").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Where the file would be written there may be no link to another place."""
    _OUT.mkdir()
    _FILE.symlink_to(tmp_path / "elsewhere.py")
    assert _generate() == 2
    assert not (tmp_path / "elsewhere.py").exists()


@pytest.mark.parametrize("first", ["jobs.crawl", "jobs.crawl_migrations"])
def test_the_modules_import_each_other(first: str) -> None:
    """Whichever is imported first, old entries are read."""
    _write(_WRITTEN)
    program = (
        f"import {first}, jobs.crawl;"
        "print(jobs.crawl.Crawl.from_fields({b'url': b'u'}))"
    )
    assert _python(program) == "Crawl(urls=['u'])\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("crawl_v1_to_v2", "crawl_v1_to_v3"),
        ("old: CrawlV1", "old: CrawlV2"),
        ("-> CrawlV2", "-> CrawlV1"),
    ],
    ids=["missing", "takes another", "gives another"],
)
def test_a_wrong_migration_is_a_type_error(old: str, new: str) -> None:
    """Both type checkers find it where the generated class calls it."""
    _write(_WRITTEN)
    assert _typed() == ([], [])
    _FILE.write_text(_WRITTEN.replace(old, new))
    mypy, pyright = _typed()
    assert any("crawl.py" in line for line in mypy), mypy
    assert any("crawl.py" in line for line in pyright), pyright


def _typed() -> tuple[list[str], list[str]]:
    """What mypy and pyright, both strict, say of the output."""
    mypy = _run("mypy", "--strict", "--config-file=", "--cache-dir=.mypy", "jobs")
    project = {
        "include": ["jobs"],
        "typeCheckingMode": "strict",
        "venvPath": str(Path(sys.prefix).parent),
        "venv": Path(sys.prefix).name,
    }
    Path("pyrightconfig.json").write_text(json.dumps(project))
    found = json.loads(_run("pyright", "--outputjson"))["generalDiagnostics"]
    return (
        [line for line in mypy.splitlines() if ": error:" in line],
        [f"{one['file']}: {one['message']}" for one in found],
    )


def _run(*module: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", *module], capture_output=True, text=True, check=False
    ).stdout


def _python(program: str) -> str:
    """What a program prints, errors among it."""
    return subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout
