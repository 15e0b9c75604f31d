"""The command `flowd-gen`: what it says and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowd_codegen.cli import run
from flowd_codegen.extra import REQUIREMENTS
from tests.house.sources import ROOT


@pytest.fixture(autouse=True)
def _schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs next to a folder with one schema."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/email.toml").write_text('[job.Email.fields]\nto = "str"\n')
    monkeypatch.chdir(tmp_path)


def test_check_of_a_fresh_output_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to say, exit 0."""
    run(["schemas", "-o", "jobs"])
    capsys.readouterr()
    assert run(["schemas", "-o", "jobs", "--check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_check_shows_what_a_run_would_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A diff, missing and stale files; exit 1, and nothing is written."""
    Path("schemas/old.toml").write_text("[job.Old]\n")
    run(["schemas", "-o", "jobs"])
    Path("schemas/old.toml").unlink()
    Path("schemas/email.toml").write_text('[job.Email.fields]\nto = "str?"\n')
    Path("schemas/crawl.toml").write_text("[job.Crawl]\n")
    before = {path: path.read_text() for path in Path("jobs").rglob("*.py")}
    capsys.readouterr()
    assert run(["schemas", "-o", "jobs", "--check"]) == 1
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert "missing: jobs/crawl.py" in lines
    assert "stale: jobs/old.py" in lines
    assert "--- jobs/email.py (on disk)" in lines
    assert "+++ jobs/email.py (generated)" in lines
    assert "-    to: str" in lines
    assert "+    to: str | None = None" in lines
    assert printed.err == "jobs is out of date: run flowd-gen schemas -o jobs\n"
    assert {path: path.read_text() for path in Path("jobs").rglob("*.py")} == before


def test_validate_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Good schemas are silent; bad ones exit with 2."""
    assert run(["validate", "schemas"]) == 0
    assert capsys.readouterr() == ("", "")
    Path("schemas/email.toml").write_text('[job.Email.fields]\nto = "string"\n')
    assert run(["validate", "schemas"]) == 2
    assert "flowd spells this `str`" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["schemas"]


def test_a_folder_may_be_named_validate() -> None:
    """With -o the first word is always a path."""
    Path("schemas").rename("validate")
    assert run(["validate", "-o", "jobs"]) == 0
    assert run(["validate", "--check", "-o", "jobs"]) == 0
    assert Path("jobs/email.py").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["schemas"],
        ["-o", "jobs"],
        ["schemas", "-o"],
        ["schemas", "-o", ""],
        ["", "-o", "jobs"],
        ["schemas", "-o", "jobs", "--chek"],
        ["schemas", "-o", "jobs", "--che"],
        ["schemas", "jobs"],
        ["validate"],
        ["validate", "schemas", "--check"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The usage is shown, and nothing is written."""
    with pytest.raises(SystemExit) as caught:
        run(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: flowd-gen ")
    assert [path.name for path in Path().iterdir()] == ["schemas"]


@pytest.mark.parametrize("source", ["shemas", "schemas/email", "empty"])
def test_a_source_without_schemas_exits_with_2(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped source prunes nothing."""
    Path("empty").mkdir()
    run(["schemas", "-o", "jobs"])
    assert run([source, "-o", "jobs"]) == 2
    assert f"{source}:1:1: error[E415]" in capsys.readouterr().err
    assert Path("jobs/email.py").exists()


def test_an_output_that_is_a_file_exits_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file is not replaced by a folder."""
    Path("jobs").write_text("kept")
    assert run(["schemas", "-o", "jobs"]) == 2
    assert "jobs is not a folder" in capsys.readouterr().err
    assert Path("jobs").read_text() == "kept"


@pytest.mark.parametrize(
    ("out", "better"),
    [
        ("class/1x", "class/_1x"),
        ("class", "class_"),
        ("my-jobs", "my_jobs"),
        ("src/shop.jobs", "src/shop_jobs"),
        ("1-package/jobs", "_1_package/jobs"),
    ],
)
def test_folder_that_cannot_be_imported_is_refused(
    out: str, better: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name that can is in the message; a folder above counts where it is a package."""
    Path("1-package").mkdir()
    Path("1-package/__init__.py").touch()
    with pytest.raises(SystemExit):
        run(["schemas", "-o", out])
    said = capsys.readouterr().err
    assert "is no name of a Python package" in said
    assert f"write `-o {better}`" in said
    assert not (Path(out) / "email.py").exists()


def test_folder_below_any_name_is_generated(tmp_path: Path) -> None:
    """Only what is imported needs a name: `my-project/jobs`, `.` and `..` do not."""
    (tmp_path / "my-project").mkdir()
    assert run(["schemas", "-o", "my-project/jobs"]) == 0
    assert Path("my-project/jobs/email.py").exists()
    assert run(["schemas", "-o", "my-project/jobs/../other"]) == 0


@pytest.mark.parametrize("out", ["jobs", "jobs/inside"])
def test_link_to_nothing_is_named(
    out: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A folder or a document is not written through it, nor in its place."""
    (tmp_path / "jobs").symlink_to("nowhere")
    for words in (["schemas", "-o", out], ["catalogue", "schemas", "-o", out]):
        assert run(words) == 2
        said = capsys.readouterr().err
        assert "jobs is a link to nowhere, which is not there" in said
        assert "Errno" not in said
    assert Path("jobs").is_symlink()
    assert not Path("nowhere").exists()


def test_system_error_exits_with_3(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A place where no folder can be made is the system's fault, in one line."""
    assert run(["schemas", "-o", "schemas/email.toml/jobs"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flowd-gen: error: schemas/email.toml/jobs")
    assert line.endswith("Not a directory")


def test_unexpected_error_exits_with_3_and_asks_for_a_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A traceback comes with the request to report it."""
    assert run(["schemas", "-o", "no shell can pass\0this/jobs"]) == 3
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert said[-1] == "this is a bug in flowd-gen, please report it"


def test_faults_can_be_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One object for each fault, as an editor reads it."""
    Path("schemas/email.toml").write_text('[job.Email.fields]\nto = "string"\n')
    assert run(["schemas", "-o", "jobs", "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().err) == {
        "path": "schemas/email.toml",
        "line": 2,
        "column": 6,
        "severity": "error",
        "code": "E201",
        "message": "unknown type `string`",
        "label": "flowd spells this `str`",
        "notes": [],
    }


def test_faults_can_be_commands_for_github(capsys: pytest.CaptureFixture[str]) -> None:
    """They stand next to the line in a pull request; line ends cannot forge another."""
    Path("schemas/email.toml").write_text('[job.Email]\n"a%\\n::b" = 1\n')
    assert run(["schemas", "-o", "jobs", "--format", "github"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "::error file=schemas/email.toml,line=2,col=1,title=E102"
        "::unknown job option `a%25\\n::b`; "
    )


def test_warnings_change_no_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """They go to stderr, whatever else happens."""
    Path("schemas/empty.toml").touch()
    assert run(["schemas", "-o", "jobs"]) == 0
    assert "schemas/empty.toml:1:1: warning[W101]" in capsys.readouterr().err


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` says all that a script needs."""
    with pytest.raises(SystemExit) as caught:
        run(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "exit codes: 0 fine; 1 a check said no" in said
    assert "flowd-gen validate" in said


def test_a_misspelt_command_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    """The word that was meant is named, unless there is such a folder."""
    with pytest.raises(SystemExit) as caught:
        run(["valdate", "schemas"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "no command `valdate`: did you mean `validate`?" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "schemas", "-o", "jobs"), "leave it out"),
        (("build", "schemas"), "leave it out"),
        *(
            ((word, "schemas"), "did you mean `validate`, or --check with -o?")
            for word in ("check", "lint", "verify", "test")
        ),
        (("valdate",), "did you mean `validate`?"),
        (("valdate", "schemas", "-o", "jobs"), "did you mean `validate`?"),
        (("frobnicate", "schemas"), "it is one of catalogue, diff"),
    ],
)
def test_unknown_command_is_reported(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """Also where the word is of another tool, or has all its options."""
    with pytest.raises(SystemExit) as caught:
        run(words)
    assert caught.value.code == 2
    assert f"no command `{words[0]}`: {said}" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_no_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`schemes` is like a command's name, and with -o it was meant as a folder."""
    assert run(["schemes", "-o", "jobs"]) == 2
    assert "no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["validate schemas", "lock schemas", "diff schemas"]
)
def test_reading_commands_need_no_formatter(tmp_path: Path, command: str) -> None:
    """Without black and jinja2, whatever only reads schemas works."""
    program = (
        "import sys; from importlib import metadata as m; was = m.version\n"
        "def version(name):\n"
        "    if name in ('black', 'jinja2'): raise m.PackageNotFoundError(name)\n"
        "    return was(name)\n"
        "m.version = version\n"
        "sys.modules['black'] = sys.modules['jinja2'] = None\n"
        "from flowd_codegen.__main__ import main\n"
        "sys.exit(main())"
    )
    run(["lock", "schemas"])
    words = command.split() + ["--against", "flowd.lock"] * command.startswith("diff")
    for arguments, code in ((words, 0), (["schemas", "-o", "other"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
    assert done.stderr.splitlines() == _HOW_TO_INSTALL


def test_an_interrupt_is_one_line() -> None:
    """Ctrl-C ends it with 130, and no traceback."""
    program = (
        "import os, signal, sys; from flowd_codegen import __main__, cli;"
        "cli._run = lambda _: signal.raise_signal(signal.SIGINT);"
        "sys.exit(__main__.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "schemas"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "flowd-gen: interrupted\n")


_HOW_TO_INSTALL = [
    "flowd-gen needs the extra `gen`, which is not installed:",
    "    python -m pip install 'tomli>=2.4' 'jinja2>=3.1' 'black>=24.1'",
    "or, in a clone of flowd: python -m pip install '.[gen]'",
]


def _asks_for_its_extra(*command: str, path: str) -> bool:
    """Whether the command names what to install, and exits with 2."""
    done = subprocess.run(
        [sys.executable, *command, "-m", "flowd_codegen", "schemas", "-o", "jobs"],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode == 2 and done.stderr.splitlines() == _HOW_TO_INSTALL


def test_missing_extra_is_explained() -> None:
    """A plain install of flowd has the command, and no black, jinja2 or tomli."""
    # Without `site` Python sees no installed package, so the sources are all there is.
    assert _asks_for_its_extra("-S", path=f"{ROOT}:{ROOT / 'codegen'}")


def test_commands_that_read_no_toml_need_no_extra(tmp_path: Path) -> None:
    """`init`, `json-schema` and `--help` work in a plain install of flowd."""
    program = (
        "import sys; from flowd_codegen.cli import run;"
        "run(['json-schema', '-o', 'f.json']); run(['init', '.']);"
        "run(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'codegen'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {"f.json", "handlers.py"} <= {each.name for each in tmp_path.iterdir()}


def test_an_older_requirement_is_no_extra(tmp_path: Path) -> None:
    """A tomli that some other package brought may be too old to read TOML 1.1."""
    (tmp_path / "old/tomli-2.0.1.dist-info").mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: tomli\nVersion: 2.0.1\n"
    (tmp_path / "old/tomli-2.0.1.dist-info/METADATA").write_text(metadata)
    assert _asks_for_its_extra(path=f"{tmp_path / 'old'}:{ROOT}:{ROOT / 'codegen'}")


def test_install_hint_matches_the_extra() -> None:
    """The hint and pyproject.toml cannot drift apart."""
    extra = json.dumps([*REQUIREMENTS.values()])
    assert f"gen = {extra}" in (ROOT / "pyproject.toml").read_text("utf-8")


def test_a_run_that_changes_nothing_never_loads_black() -> None:
    """Loading it takes longer than such a run."""
    run(["schemas", "-o", "jobs"])
    program = (
        "import sys; from flowd_codegen.cli import run;"
        "assert run(['schemas', '-o', 'jobs', '--check']) == 0;"
        "assert 'black' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_document_is_printed_written_and_compared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without -o it goes to stdout; `--check` says no until the file is current."""
    assert run(["json-schema"]) == 0
    text = capsys.readouterr().out
    assert run(["json-schema", "-o", "docs/flowd.json", "--check"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "missing: docs/flowd.json\n"
    again = "run flowd-gen json-schema -o docs/flowd.json\n"
    assert printed.err == f"docs/flowd.json is out of date: {again}"
    assert run(["json-schema", "-o", "docs/flowd.json"]) == 0
    assert capsys.readouterr().out == "wrote docs/flowd.json\n"
    assert Path("docs/flowd.json").read_text() == text
    assert run(["json-schema", "-o", "docs/flowd.json", "--check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_document_never_replaces_a_foreign_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What flowd-gen did not write stays, and the command exits with 2."""
    Path("notes.json").write_text("{}")
    assert run(["json-schema", "-o", "notes.json"]) == 2
    assert "notes.json was not written by flowd-gen" in capsys.readouterr().err
    assert Path("notes.json").read_text() == "{}"
    assert run(["json-schema", "-o", "/dev/full"]) == 2
    assert "/dev/full is no file" in capsys.readouterr().err


def test_check_of_a_document_needs_its_file() -> None:
    """There is nothing to compare with."""
    with pytest.raises(SystemExit) as caught:
        run(["json-schema", "--check"])
    assert caught.value.code == 2


@pytest.mark.parametrize("command", ["catalogue", "rust"])
def test_a_document_is_printed_on_a_terminal_of_another_encoding(command: str) -> None:
    """What the encoding does not have is shown as an escape."""
    Path("schemas/email.toml").write_text('[job.Email]\ndoc = "Żółw"\n', "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "flowd_codegen", command, "schemas"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u017b\xf3\\u0142w" in done.stdout


@pytest.mark.parametrize("out", ["email.py", "jobs/email.py", "email.pyi"])
def test_out_that_names_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    """No folder `email.py` is made; the message says what -o is."""
    schema = tmp_path / "email.toml"
    schema.write_text('[job.Email.fields]\nto = "str"\n', "utf-8")
    with pytest.raises(SystemExit) as caught:
        run([str(schema), "-o", str(tmp_path / out)])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"write `-o {(tmp_path / out).parent}`" in said
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("help",), "no command `help`: write `flowd-gen --help`"),
        (("help", "diff"), "no command `help`: write `flowd-gen diff --help`"),
        (("version",), "no command `version`: write `flowd-gen --version`"),
        (("--hlep",), "no option `--hlep`: did you mean `--help`?"),
        (("-V",), "no option `-V`: did you mean `--version`?"),
        (("schemas", "-out", "jobs"), "no option `-out`: did you mean `--out`?"),
        (("schemas", "--output=jobs"), "no option `--output`: did you mean `--out`?"),
        (("s", "-o", "jobs", "--dry-run"), "did you mean `--check`?"),
        (("diff", "s", "--agianst", "o"), "did you mean `--against`?"),
        (("validate", "s", "--fromat", "json"), "did you mean `--format`?"),
        (("lock", "s", "--output", "x"), "did you mean `--out`?"),
        (("catalogue", "s", "--chekc"), "did you mean `--check`?"),
        (("init", "--hepl"), "did you mean `--help`?"),
    ],
)
def test_mistyped_word_is_named_before_what_is_missing(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage, and the word that was probably meant."""
    with pytest.raises(SystemExit) as caught:
        run(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_unknown_option_is_left_to_the_usual_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where nothing like it is known, no guess is made."""
    with pytest.raises(SystemExit):
        run(["schemas", "-o", "jobs", "--zzz"])
    assert "unrecognized arguments: --zzz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("schemas", "jobs"), "write `flowd-gen schemas -o jobs`"),
        (("schemas/a.toml", "schemas/b.toml", "-o", "jobs"), "write `schemas`"),
        (("schemas", "-o", "jobs", "--level", "full"), "unrecognized arguments"),
    ],
)
def test_two_paths_have_advice(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An output without -o, and a list of files, as a shell makes of a pattern."""
    for name in "ab":
        Path(f"schemas/{name}.toml").write_text(f"[job.{name.upper()}]\n")
    with pytest.raises(SystemExit) as caught:
        run(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
