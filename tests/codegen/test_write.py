"""What a run changes on disk: only what must change, and nothing that is not its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from flowd_codegen.cli import run
from flowd_codegen.extra import year_of
from flowd_codegen.python.layout import Formatter, format_with_black

_EMAIL = '[job.Email.fields]\nto = "str"\n'
_CRAWL = '[job.Crawl.fields]\nurl = "str"\n'


@pytest.fixture
def schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two schemas, one of them in a package; the test runs next to it."""
    folder = tmp_path / "schemas"
    (folder / "web").mkdir(parents=True)
    (folder / "email.toml").write_text(_EMAIL)
    (folder / "web/crawl.toml").write_text(_CRAWL)
    monkeypatch.chdir(tmp_path)
    return folder


def _generate(*options: str) -> int:
    return run(["schemas", "-o", "jobs", *options])


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_each_schema_becomes_a_module_in_a_package(
    schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders are packages, and every file that is written is named."""
    assert _generate() == 0
    assert sorted(_tree(Path("jobs"))) == [
        "__init__.py",
        "email.py",
        "web/__init__.py",
        "web/crawl.py",
    ]
    assert capsys.readouterr().out.splitlines() == [
        "wrote jobs/email.py",
        "wrote jobs/web/crawl.py",
        "wrote jobs/__init__.py",
        "wrote jobs/web/__init__.py",
    ]
    assert schemas.exists()


def test_a_file_that_would_stay_the_same_is_not_touched(
    schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run writes nothing; a third writes the one module that changed."""
    _generate()
    for path in Path("jobs").rglob("*.py"):
        os.utime(path, (0, 0))
    capsys.readouterr()
    assert _generate() == 0
    assert capsys.readouterr().out == "jobs is up to date\n"
    (schemas / "email.toml").write_text(f'{_EMAIL}subject = "str"\n')
    assert _generate() == 0
    assert capsys.readouterr().out == "wrote jobs/email.py\n"
    changed = [path.name for path in Path("jobs").rglob("*.py") if path.stat().st_mtime]
    assert changed == ["email.py"]


def test_a_fault_in_one_file_writes_nothing(schemas: Path) -> None:
    """Old modules stay as they are until every schema is right."""
    _generate()
    before = _tree(Path("jobs"))
    (schemas / "email.toml").write_text(f'{_EMAIL}subject = "str"\n')
    (schemas / "web/crawl.toml").write_text('[job.Crawl.fields]\nurl = "string"\n')
    assert _generate() == 2
    assert _tree(Path("jobs")) == before


def test_a_stale_module_is_removed_with_its_package(
    schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What no schema gives any more goes, and a folder that it leaves empty."""
    _generate()
    (schemas / "web/crawl.toml").unlink()
    capsys.readouterr()
    assert _generate() == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote jobs/__init__.py",
        "removed jobs/web/__init__.py",
        "removed jobs/web/crawl.py",
    ]
    assert not Path("jobs/web").exists()


def test_no_prune_keeps_stale_modules(schemas: Path) -> None:
    """Who wants to keep a module says so."""
    _generate()
    (schemas / "web/crawl.toml").unlink()
    assert _generate("--no-prune") == 0
    assert Path("jobs/web/crawl.py").exists()


@pytest.mark.parametrize("name", ["mail", "email"])
def test_modules_of_other_schemas_are_not_pruned(
    schemas: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folders of schemas cannot have one output without saying so."""
    _generate()
    before = _tree(Path("jobs"))
    other = schemas.with_name("other")
    other.mkdir()
    (other / f"{name}.toml").write_text("[job.Mail]\n")
    capsys.readouterr()
    for options in ((), ("--check",)):
        assert run(["other", "-o", "jobs", *options]) == 2
        said = capsys.readouterr().err
        assert "jobs/web/crawl.py was generated from other schemas" in said
        assert _tree(Path("jobs")) == before
    refused = 2 if name == "email" else 0
    assert run(["other", "-o", "jobs", "--no-prune"]) == refused
    assert Path("jobs/web/crawl.py").exists()
    assert run(["other", "-o", "jobs", "--prune"]) == 0
    assert not Path("jobs/web/crawl.py").exists()


@pytest.mark.parametrize("more", [(), ("--check",), ("--no-prune",)])
def test_module_of_another_schema_of_that_name_is_not_replaced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
) -> None:
    """Two folders with a `jobs.toml` each: the second run names both and what to do."""
    monkeypatch.chdir(tmp_path)
    _jobs_toml("shop", "[job.Order]\n[record.Line.fields]\nsku = 'str'\n")
    _jobs_toml("mail", "[job.Email]\n[record.To.fields]\nat = 'str'\n")
    assert run(["shop", "-o", "out"]) == 0
    before = _tree(Path("out"))
    capsys.readouterr()
    for source in ("mail", "mail/jobs.toml"):
        assert run([source, "-o", "out", *more]) == 2
        said = capsys.readouterr().err
        assert "out/jobs.py is of another jobs.toml" in said
        assert "(Line, Order)" in said
        assert "another -o" in said
        assert _tree(Path("out")) == before
    assert run(["mail", "-o", "out/mail"]) == 0
    Path("out/jobs.py").unlink()
    assert run(["mail", "-o", "out"]) == 0


def test_module_of_an_edited_schema_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may be moved, a job renamed on its stream, and classes come and go."""
    monkeypatch.chdir(tmp_path)
    _jobs_toml("shop", "[job.Order]\n[job.Order.queue]\nstream = 'orders'\n")
    assert run(["shop", "-o", "out"]) == 0
    Path("shop").rename("store")
    assert run(["store", "-o", "out", "--check"]) == 0
    for text in (
        "[job.Purchase]\n[job.Purchase.queue]\nstream = 'orders'\n",
        "[job.Purchase]\n[job.Refund]\n",
        "[job.Refund]\n",
    ):
        _jobs_toml("store", text)
        assert run(["store", "-o", "out"]) == 0, text


def _jobs_toml(folder: str, text: str) -> None:
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "jobs.toml").write_text(text)


def test_single_schema_prunes_nothing(schemas: Path) -> None:
    """A single file cannot know what the others of its folder give."""
    _generate()
    assert run([str(schemas / "email.toml"), "-o", "jobs"]) == 0
    assert Path("jobs/web/crawl.py").exists()


def test_pruning_takes_only_what_flowd_gen_wrote(schemas: Path, tmp_path: Path) -> None:
    """Files without our first line, links, and folders that are no packages are safe."""
    _generate()
    header = Path("jobs/email.py").read_text().splitlines()[0]
    elsewhere = tmp_path / "elsewhere.py"
    kept = {
        elsewhere: header,
        Path("jobs/mine.py"): "x = 1\n",
        Path("jobs/quoted.py"): f"# see\n{header}\n",
        Path("jobs/notes.txt"): header,
        Path("jobs/copy.py"): f"{header}\n",
        Path("jobs/.venv/email.py"): header,
        Path("jobs/site-packages/email.py"): header,
    }
    for path, text in kept.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    Path("jobs/link.py").symlink_to(elsewhere)
    (schemas / "web/crawl.toml").unlink()
    assert _generate() == 0
    assert all(path.read_text() == text for path, text in kept.items())
    assert Path("jobs/link.py").is_symlink()
    assert not Path("jobs/web").exists()


def test_an_output_below_another_is_not_pruned(schemas: Path) -> None:
    """Each output removes its own modules, whatever stands below it."""
    assert schemas.exists()
    Path("other").mkdir()
    Path("other/mail.toml").write_text("[job.Mail]\n")
    assert run(["other", "-o", "app/jobs/mail"]) == 0
    assert run(["schemas", "-o", "app/jobs"]) == 0
    assert run(["other", "-o", "app"]) == 0
    assert run(["other", "-o", "."]) == 0
    assert sorted(_tree(Path("app"))) == [
        "__init__.py",
        "jobs/__init__.py",
        "jobs/email.py",
        "jobs/mail/__init__.py",
        "jobs/mail/mail.py",
        "jobs/web/__init__.py",
        "jobs/web/crawl.py",
        "mail.py",
    ]


def test_foreign_file_is_never_overwritten(
    schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run says which file is in the way and writes none of the others."""
    assert schemas.exists()
    Path("jobs").mkdir()
    Path("jobs/email.py").write_text("# mine\n")
    assert _generate() == 2
    assert capsys.readouterr().err == (
        "flowd-gen: error: jobs/email.py was not written by flowd-gen\n"
        "move it away or give another -o; nothing was written\n"
    )
    assert _tree(Path("jobs")) == {"email.py": b"# mine\n"}


def test_foreign_package_keeps_its_init(schemas: Path) -> None:
    """`-o app/jobs`, or `-o app` itself, works inside a package that exists."""
    assert schemas.exists()
    Path("app").mkdir()
    Path("app/__init__.py").write_text("VERSION = 1\n")
    Path("app/main.py").write_text("from .email import Email\n")
    assert run(["schemas", "-o", "app"]) == 0
    assert run(["schemas", "-o", "app/jobs"]) == 0
    assert Path("app/__init__.py").read_text() == "VERSION = 1\n"
    program = "import app.main, app.jobs.web.crawl; app.jobs.web.crawl.Crawl(url='u')"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["email.py", "web"])
def test_a_link_in_the_output_is_not_followed(
    schemas: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a module nor a package is written through a link."""
    assert schemas.exists()
    Path("jobs").mkdir()
    target = tmp_path / "target"
    if name == "web":
        target.mkdir()
    else:
        target.write_text("# kept\n")
    Path("jobs", name).symlink_to(target)
    assert _generate() == 2
    said = capsys.readouterr().err
    assert f"jobs/{name} is a link, which flowd-gen does not follow" in said
    assert _tree(tmp_path / "jobs").keys() <= {"email.py"}


def test_the_output_folder_itself_may_be_a_link(schemas: Path, tmp_path: Path) -> None:
    """Who names a link means what it shows."""
    assert schemas.exists()
    (tmp_path / "real").mkdir()
    Path("jobs").symlink_to(tmp_path / "real")
    assert _generate() == 0
    assert (tmp_path / "real/web/crawl.py").exists()


def test_no_temporary_file_is_left(
    schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that the disk refuses leaves everything as it was, and exits with 3."""
    assert schemas.exists()
    Path("jobs").mkdir()
    Path("jobs/web").write_text("a file where a package has to be\n")
    before = _tree(Path("jobs"))
    assert _generate() == 3
    assert _tree(Path("jobs")) == before
    assert capsys.readouterr().err.startswith("flowd-gen: error: jobs/web")


def test_a_file_that_cannot_be_written_is_named(
    schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the file of the user, not the one that is written first."""
    name = "a" * 248  # only the temporary name is too long
    (schemas / "email.toml").rename(schemas / f"{name}.toml")
    assert _generate() == 3
    said = capsys.readouterr().err
    assert f"{name}.py: File name too long" in said
    assert f".{name}" not in said


def test_the_output_may_be_inside_the_schema_folder(schemas: Path) -> None:
    """A package next to its schemas is not read as one."""
    assert run(["schemas", "-o", "schemas/jobs"]) == 0
    assert run(["schemas", "-o", "schemas/jobs", "--check"]) == 0
    assert (schemas / "jobs/web/crawl.py").exists()


def test_two_runs_at_once_give_one_whole_output(schemas: Path) -> None:
    """Each file is replaced in one step, so the last of two runs wins."""
    for number in range(20):
        (schemas / f"more{number}.toml").write_text(f"[job.More{number}]\n")
    command = [sys.executable, "-m", "flowd_codegen", "schemas", "-o", "jobs"]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait() for one in runs] == [0, 0]
    assert _generate("--check") == 0
    assert not list(Path("jobs").rglob(".*"))


def test_the_same_schemas_give_the_same_bytes(schemas: Path, tmp_path: Path) -> None:
    """Neither hash seed, time zone, locale nor current folder gets into the output."""
    outputs: list[dict[str, bytes]] = []
    for seed, zone, folder in (("0", "UTC", tmp_path), ("7", "Asia/Tokyo", schemas)):
        out = tmp_path / f"jobs{seed}"
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"}
        subprocess.run(
            [sys.executable, "-m", "flowd_codegen", schemas, "-o", out],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        outputs.append(_tree(out))
    assert outputs[0] == outputs[1]
    assert str(tmp_path).encode() not in b"".join(outputs[0].values())


_LICENCE = "# Copyright Example Ltd.\n# SPDX-License-Identifier: MIT\n\n"


@pytest.mark.parametrize("above", [_LICENCE, "#!/usr/bin/env python\n", "\ufeff"])
def test_licence_above_the_header_is_kept(
    schemas: Path, capsys: pytest.CaptureFixture[str], above: str
) -> None:
    """A licence makes a file no stranger's: it is up to date, rewritten and removed."""
    _generate()
    module = Path("jobs/web/crawl.py")
    module.write_text(above + module.read_text("utf-8"), "utf-8")
    assert _generate("--check") == 0
    (schemas / "web/crawl.toml").write_text(f'{_CRAWL}depth = "u8"\n')
    assert _generate() == 0
    text = module.read_text("utf-8")
    assert text.startswith(f"{above}# Code generated by")
    assert "depth" in text
    assert _generate("--check") == 0
    (schemas / "web/crawl.toml").unlink()
    capsys.readouterr()
    assert _generate() == 0
    assert "removed jobs/web/crawl.py" in capsys.readouterr().out


def test_code_above_the_header_makes_a_file_foreign(schemas: Path) -> None:
    """Only comments may stand there: what is more was not written by flowd-gen."""
    _generate()
    module = Path("jobs/email.py")
    module.write_text(f"import os\n{module.read_text()}")
    assert _generate() == 2


def test_the_ends_of_lines_are_the_checkouts(
    schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CRLF is no difference, and a file that is written keeps it."""
    documents = ("lock", "schemas", "-o", "flowd.lock"), (
        "catalogue",
        "schemas",
        "-o",
        "c.md",
    )
    _generate()
    for words in documents:
        assert run([*words]) == 0
    files = [*Path("jobs").rglob("*.py"), Path("flowd.lock"), Path("c.md")]
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert _generate("--check") == 0
    for words in documents:
        assert run([*words, "--check"]) == 0
    (schemas / "email.toml").write_text(f'{_EMAIL}subject = "str"\n')
    capsys.readouterr()
    assert _generate("--check") == 1
    shown = [line for line in capsys.readouterr().out.splitlines() if line[0] == "-"]
    assert len(shown) < 8
    assert _generate() == 0
    for words in documents:
        assert run([*words]) == 0
    for path in files:
        assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")


@pytest.mark.parametrize("text", ["catalogue", "rust"])
def test_a_licence_above_a_document_is_kept(schemas: Path, text: str) -> None:
    """As in a module."""
    words = [text, "schemas", "-o", "out.txt"]
    assert run(words) == 0
    out = Path("out.txt")
    above = "// Copyright Example Ltd.\n" * 20
    out.write_text(above + out.read_text())
    assert run([*words, "--check"]) == 0
    (schemas / "email.toml").write_text(f'{_EMAIL}subject = "str"\n')
    assert run(words) == 0
    assert out.read_text().startswith(above)
    assert "subject" in out.read_text()


def test_no_module_of_python_is_hidden(
    schemas: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-o .` would make `import email` find a job, and break what imports it."""
    assert run(["schemas", "-o", "."]) == 2
    said = capsys.readouterr().err
    assert "email.py would hide the module 'email'" in said
    assert "-o jobs" in said
    assert not Path("email.py").exists()
    (schemas / "email.toml").rename(schemas / "mail.toml")
    assert run(["schemas", "-o", "."]) == 0
    _generate()
    monkeypatch.chdir("jobs")
    (schemas / "email.toml").write_text('[job.Email2.fields]\nto = "str"\n')
    assert run(["../schemas", "-o", "."]) == 0  # a package, of which one stands inside


@pytest.mark.parametrize("name", ["flowd", "email", "redis", "hiredis", "asyncio"])
def test_output_folder_hides_no_module(
    schemas: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """`-o flowd` would make `import flowd` find the jobs; so would a link or a new folder."""
    words = f"would hide the module {name!r} that others import; a package folder"
    for out in (name, f"./{name}/", str(Path(name).absolute())):
        assert run(["schemas", "-o", out]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert "jobs keeps them apart" in said
        assert not Path(name).exists()
    Path("target").mkdir()
    Path(name).symlink_to("target")
    assert run(["schemas", "-o", name]) == 2
    assert words in capsys.readouterr().err
    # Below a package, or in a folder that nothing is imported from, it hides none.
    assert run(["schemas", "-o", f"app/{name}"]) == 0
    Path("app/pyproject.toml").touch()
    assert run(["schemas", "-o", f"app/{name}"]) == 2


@pytest.mark.parametrize("name", ["redis", "hiredis", "flowd"])
def test_module_hides_nothing_that_flowd_imports(
    schemas: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """`-o .` writes neither a module nor a package of a name that flowd itself needs."""
    for folder in (Path("one"), Path("two", name)):
        folder.mkdir(parents=True)
    Path("one", f"{name}.toml").write_text(_EMAIL)
    Path("two", name, "mail.toml").write_text(_EMAIL)
    for source in ("one", "two", f"one/{name}.toml"):
        assert run([source, "-o", "."]) == 2
        assert f"would hide the module {name!r}" in capsys.readouterr().err


def test_unchanged_source_is_not_formatted_again(
    schemas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file says of which source it was made; black is asked only where that changed."""
    name = f"black {year_of('black')}"
    formatted = _layouter(name, monkeypatch)
    assert _generate() == 0
    assert len(formatted) == 4
    formatted.clear()
    assert _generate("--check") == _generate() == 0
    assert not formatted
    (schemas / "email.toml").write_text(f'{_EMAIL}subject = "str"\n')
    assert _generate() == 0
    (source,) = formatted
    assert source.startswith("# Code generated by flowd-gen from email.toml.")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from email.toml", "from email.toml"),
        ("self.to.encode()", "self.to.encode( )"),
        ("raise failure\n", "raise failure\n\n"),
        ("# flowd-gen: black ", "# flowd-gen: black"),
        ("\n# flowd-gen: ", "\n# flowd-gen:  "),
        ("# flowd-gen: black 2", "# flowd-gen: black 1"),
        ("# flowd-gen: ", ""),
        ('"""Encode', '"""encode'),
    ],
)
def test_manual_change_is_detected(schemas: Path, old: str, new: str) -> None:
    """Every byte of a file counts, and generating it puts it right."""
    _generate()
    module = Path("jobs/email.py")
    text = module.read_text()
    module.write_text(text.replace(old, new))
    assert _generate("--check") == int(old != new)
    assert _generate() == 0
    assert module.read_text() == text


def _layouter(
    name: str, monkeypatch: pytest.MonkeyPatch, indent: str = ""
) -> list[str]:
    """Another layouter, which begins each file with an indent; returns what it formats."""
    formatted: list[str] = []

    def format_source(source: str) -> str:
        formatted.append(source)
        return format_with_black(source).replace("\n", f"{indent}\n", 1)

    found = Formatter(name, format_source)
    monkeypatch.setattr("flowd_codegen.cli.generate.formatter", lambda: found)
    return formatted


def test_another_style_of_black_is_noticed(
    schemas: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file says which style it has, and is formatted again where that is another."""
    _generate()
    formatted = _layouter("black 99", monkeypatch)
    # Where both leave the same text there is nothing that a commit must change.
    assert _generate("--check") == 0
    assert len(formatted) == 4
    _layouter("black 99", monkeypatch, "  ")
    assert _generate("--check") == 1
    assert "DO NOT EDIT.  \n" in capsys.readouterr().out
    _layouter("black 99", monkeypatch)
    assert _generate() == 0
    assert "# flowd-gen: black 99 " in Path("jobs/email.py").read_text()
    formatted = _layouter("black 99", monkeypatch)
    assert _generate() == _generate("--check") == 0
    assert not formatted


def test_a_new_template_is_noticed(
    schemas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be rendered otherwise is formatted, whatever the file says of itself."""
    _generate()

    def header(path: str) -> str:
        return f"# Code generated by flowd-gen from {path}. DO NOT EDIT.\n# New."

    monkeypatch.setattr("flowd_codegen.python.render._header", header)
    assert _generate("--check") == 1


def test_unchanged_schemas_need_no_black(
    schemas: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` runs where only the schemas are read; what changed says what to install."""
    _generate()

    def missing(name: str) -> str:
        if name == "black":
            raise PackageNotFoundError
        return version(name)

    monkeypatch.setattr("flowd_codegen.extra.version", missing)
    assert _generate("--check") == _generate() == 0
    module = Path("jobs/email.py")
    module.write_text(module.read_text().replace("to: str", "to:  str"))
    assert _generate("--check") == 2
    assert (
        "python -m pip install 'tomli>=2.4' 'jinja2>=3.1' 'black>=24.1'"
        in capsys.readouterr().err
    )
