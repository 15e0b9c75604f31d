"""The command `flowd-gen diff`: what it compares with, what counts, and how it ends."""

from __future__ import annotations

import json
import subprocess
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest

from flowd_codegen.cli import run
from flowd_codegen.diagnostics.rules import LEVELS

_OLD: Final = """\
[enum.Kind]
values = ["a"]

[job.Email]
[job.Email.fields]
to   = "str"
kind = "Kind"
"""
_NEW: Final = _OLD.replace('["a"]', '["a", "b"]')
_SUMMARY: Final = "1 breaking (level full, against "


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder with the schemas of today and those that run."""
    monkeypatch.chdir(tmp_path)
    _write("old", _OLD)
    _write("schemas", _NEW)


def _write(folder: str, text: str) -> None:
    Path(folder).mkdir(exist_ok=True, parents=True)
    Path(folder, "email.toml").write_text(text)


def _git(*arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True)


def _commit(text: str) -> None:
    """Commit the schemas as they were, and change them to those of today."""
    _write("schemas", text)
    if not Path(".git").exists():
        _git("init", "-b", "main")
    _git("add", "schemas")
    _git("commit", "-m", "as it was")
    _write("schemas", _NEW)


def _printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What the command prints; it must find something that breaks."""
    assert run(["diff", *arguments]) == 1
    return capsys.readouterr().out.splitlines()


def test_a_folder_is_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    """The finding has its place in the new schema, and the last line adds up."""
    printed = _printed(capsys, "schemas", "--against", "old")
    assert printed[0].startswith(
        "schemas/email.toml:2:10: breaking[ENUM_VALUE_ADDED]: "
    )
    assert printed[-1] == f"{_SUMMARY}old)"


def test_a_lock_is_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    """A lock says the same as the schemas that it was made of."""
    printed = _printed(capsys, "schemas", "--against", "old")
    run(["lock", "old", "-o", "flowd.lock"])
    capsys.readouterr()
    assert _printed(capsys, "schemas", "--against", "flowd.lock")[:-1] == printed[:-1]
    assert run(["diff", "old", "--against", "flowd.lock", "--level", "strict"]) == 0


def test_a_revision_is_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    """A branch, a tag or an id, without a checkout, also of uncommitted schemas."""
    _commit(_OLD)
    _git("tag", "v1")
    printed = _printed(capsys, "schemas", "--against", ".git#ref=main")
    assert printed[-1].startswith(f"{_SUMMARY}main@")
    for ref in ("v1", "HEAD", "main~0"):
        again = _printed(capsys, "schemas", "--against", f".git#ref={ref}")
        assert again[:-1] == printed[:-1]
    assert Path("schemas/email.toml").read_text() == _NEW


def test_a_revision_may_be_compared_with_from_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a subfolder, `.git` is that of the repository around it."""
    _commit(_OLD)
    monkeypatch.chdir("schemas")
    assert "ENUM_VALUE_ADDED" in _printed(capsys, ".", "--against", ".git#ref=main")[0]
    one = _printed(capsys, "email.toml", "--against", ".git#ref=main")
    assert "ENUM_VALUE_ADDED" in one[0]


def test_a_revision_may_have_its_schemas_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`subdir` is seen from the top of the repository, which may be another one."""
    _commit(_OLD)
    Path("schemas").rename("moved")
    assert run(["diff", "moved", "--against", ".git#ref=main"]) == 2
    assert "main:moved:1:1: error[E415]" in capsys.readouterr().err
    spec = ".git#ref=main,subdir=schemas"
    assert "ENUM_VALUE_ADDED" in _printed(capsys, "moved", "--against", spec)[0]
    Path("other").mkdir()
    monkeypatch.chdir("other")
    _write("schemas", _NEW)
    assert (
        "ENUM_VALUE_ADDED" in _printed(capsys, "schemas", "--against", f"../{spec}")[0]
    )


def _with_submodule() -> None:
    """A repository whose folder of schemas has one of another repository in it."""
    _write("library", _OLD)
    _git("init", "-b", "main", "library")
    _git("-C", "library", "add", ".")
    _git("-C", "library", "commit", "-m", "shared")
    _write("schemas", _OLD.replace("Email", "Own").replace("Kind", "Sort"))
    _git("init", "-b", "main")
    file = ("-c", "protocol.file.allow=always")
    _git(*file, "submodule", "add", str(Path("library").resolve()), "schemas/shared")
    _git("add", "schemas")
    _git("commit", "-m", "as it was")


def test_a_submodule_is_read_from_its_own_repository(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At the commit that the revision has of it, whatever is checked out there."""
    _with_submodule()
    file = ("-c", "protocol.file.allow=always")
    hidden = str(Path("library").resolve())
    _git(*file, "submodule", "add", hidden, "schemas/.tools")
    _git("commit", "-m", "a folder that no schema is read from")
    _git("submodule", "deinit", "-f", "schemas/.tools")
    assert run(["diff", "schemas", "--against", ".git#ref=main"]) == 0
    capsys.readouterr()
    _write("schemas/shared", _NEW)
    _git("-C", "schemas/shared", "commit", "-am", "another value")
    for source, subdir in (
        ("schemas", ""),
        ("schemas", ",subdir=schemas"),
        ("schemas/shared", ",subdir=schemas/shared"),
        ("schemas/shared/email.toml", ",subdir=schemas/shared/email.toml"),
    ):
        printed = _printed(capsys, source, "--against", f".git#ref=main{subdir}")
        assert "ENUM_VALUE_ADDED" in printed[0]
        assert printed[-1].startswith("1 breaking")


def test_a_submodule_that_is_not_here_is_no_empty_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Jobs of which nothing can be read are not taken for new ones."""
    _with_submodule()
    _git("submodule", "deinit", "-f", "schemas/shared")
    Path("schemas/shared").rmdir()
    _write("schemas/shared", _NEW)
    for subdir in ("", ",subdir=schemas/shared"):
        spec = f".git#ref=main{subdir}"
        assert run(["diff", "schemas", "--against", spec]) == 2
        said = capsys.readouterr().err
        assert "error[E417]: `schemas/shared` is a submodule there, and its" in said
        assert "git submodule update --init schemas/shared" in said


@pytest.mark.parametrize("subdir", ["{here}/schemas", "/", "..", "schemas/../schemas"])
def test_a_subdir_outside_of_the_repository_is_refused(
    subdir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The schemas of today are never compared with themselves."""
    _commit(_OLD)
    subdir = subdir.format(here=Path.cwd())
    spec = f".git#ref=main,subdir={subdir}"
    assert run(["diff", "schemas", "--against", spec]) == 2
    printed = capsys.readouterr().err
    assert f"error[E417]: `subdir={subdir}` is not a folder below the top" in printed


def test_old_schemas_with_a_fault_are_shown_as_git_names_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`git show` with that path prints the file."""
    _commit("[job.Email]\nfields = 1\n")
    assert run(["diff", "schemas", "--against", ".git#ref=main"]) == 2
    assert "main:schemas/email.toml:2:10: error[E103]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("against", "said"),
    [
        (".git#ref=nowhere", "git knows no revision `nowhere`"),
        (".git#ref=--all", "git knows no revision `--all`"),
        (".git#main", "this names no revision"),
        (".git#ref=main,path=x", "this names no revision"),
        ("main", "a branch, tag or commit is written like `.git#ref=main`"),
        (".git", "this is a repository, and no revision of it is named"),
        ("nowhere/.git#ref=main", "there is no git repository here"),
        ("empty", "no schema here"),
        ("schemas/email.lock", "this is no lock of flowd-gen: it is not JSON"),
    ],
)
def test_incomparable_argument_exits_with_2(
    against: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The argument is named, with what is wrong and what to do."""
    _commit(_OLD)
    Path("empty").mkdir()
    Path("schemas/email.lock").write_text("<<<<<<< HEAD\n")
    assert run(["diff", "schemas", "--against", against]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "error[E4" in printed.err
    assert said in printed.err


def test_a_folder_without_a_repository_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Git looks no further up than it is allowed to."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert run(["diff", "schemas", "--against", ".git#ref=main"]) == 2
    assert "there is no git repository here" in capsys.readouterr().err


def test_a_repository_of_another_owner_is_named_with_the_advice_of_git(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git opens no repository of another user; it says how to trust it."""
    _commit(_OLD)
    # What git's own tests use to be another user.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    for against in (".git#ref=main", ".git#ref=main,subdir=schemas"):
        assert run(["diff", "schemas", "--against", against]) == 2
        said = capsys.readouterr().err
        assert "git does not open this repository" in said
        assert "git config --global --add safe.directory" in said


def test_a_hook_of_another_repository_changes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Git sets the repository of its hooks in the environment; the argument names another."""
    _commit(_OLD)
    printed = _printed(capsys, "schemas", "--against", ".git#ref=main")
    other = tmp_path / "other"
    other.mkdir()
    _git("init", "-b", "main", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git/objects"))
    assert _printed(capsys, "schemas", "--against", ".git#ref=main") == printed


def test_each_level_looks_at_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """What breaks in another way does not count, and is not shown."""
    text = _NEW.replace('["a", "b"]', '["b"]').replace("to  ", "too ")
    _write("schemas", f'{text}\n[job.Email.queue]\nstream = "other"\n')
    shown: dict[str, set[str]] = {}
    for level in LEVELS:
        printed = _printed(capsys, "schemas", "--against", "old", "--level", level)
        rules = (line.partition("breaking[")[2] for line in printed)
        shown[level] = {rule.partition("]")[0] for rule in rules if rule}
        assert printed[-1].startswith(f"{len(shown[level])} breaking (level {level}, ")
    key, queue = {"FIELD_KEY_CHANGED"}, {"QUEUE_STREAM_CHANGED"}
    assert shown["messages"] == {"ENUM_VALUE_REMOVED"} | key
    assert shown["workers"] == {"ENUM_VALUE_ADDED"} | key
    assert shown["wire"] == shown["messages"] | shown["workers"]
    assert shown["full"] == shown["wire"] | queue
    assert shown["source"] == shown["strict"] == shown["full"] | {"SOURCE_RENAMED"}


def test_warnings_count_only_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is shown at every level and breaks at `strict`."""
    _write("schemas", _OLD.replace('"str"', '{ type = "str", default = "a" }'))
    _write("old", _OLD.replace('"str"', '{ type = "str", default = "b" }'))
    assert run(["diff", "schemas", "--against", "old", "--level", "source"]) == 0
    printed = capsys.readouterr().out
    assert "warning[FIELD_DEFAULT_CHANGED]" in printed
    assert printed.endswith("0 breaking, 1 warning (level source, against old)\n")
    assert run(["diff", "schemas", "--against", "old", "--level", "strict"]) == 1


@pytest.mark.parametrize("owner", ["[job.Email]", "[enum.Kind]"])
def test_allowed_change_does_not_count(
    owner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The declaration that is changed may allow it, or the jobs that it concerns."""
    allowed = f'{owner}\nallow = ["ENUM_VALUE_ADDED"]'
    _write("schemas", _NEW.replace(owner, allowed))
    assert run(["diff", "schemas", "--against", "old"]) == 0
    assert capsys.readouterr() == (
        "0 breaking, 1 allowed (level full, against old)\n",
        "",
    )


def test_every_job_that_is_concerned_must_allow_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A rule of one job says nothing about another."""
    other = '[job.Fax]\nfields = { kind = "Kind" }\n'
    allowed = '[job.Email]\nallow = ["ENUM_VALUE_ADDED"]'
    _write("old", _OLD + other)
    _write("schemas", _NEW.replace("[job.Email]", allowed) + other)
    printed = _printed(capsys, "schemas", "--against", "old")
    assert printed[0].endswith('Kind takes "b" now (in Email, Fax)')


def test_unused_waiver_is_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names the entry; a release later it would hide another change."""
    allowed = '[job.Email]\nallow = ["ENUM_VALUE_ADDED", "FIELD_NARROWED"]'
    _write("schemas", _NEW.replace("[job.Email]", allowed))
    assert run(["diff", "schemas", "--against", "old"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("schemas/email.toml:5:30: warning[W103]: Email allows ")
    assert "FIELD_NARROWED, and nothing breaks it" in said


def test_allowed_change_needs_no_version(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A change that does not count is none that a version must count."""
    old = _OLD.replace("[job.Email]", "[job.Email]\nversion = 1")
    new = _NEW.replace("[job.Email]", "[job.Email]\nversion = 1")
    _write("old", old)
    _write("schemas", new)
    assert "VERSION_NOT_BUMPED" in "".join(
        _printed(capsys, "schemas", "--against", "old")
    )
    _write(
        "schemas",
        f"{new}\n[job.Email.queue]\n".replace(
            "version", 'allow = ["ENUM_VALUE_ADDED"]\nversion'
        ),
    )
    assert run(["diff", "schemas", "--against", "old"]) == 0


def test_findings_can_be_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One object for each on stdout, with directions and jobs; the sum is apart."""
    arguments = ["diff", "schemas", "--against", "old", "--format", "json"]
    assert run(arguments) == 1
    printed = capsys.readouterr()
    finding = json.loads(printed.out)
    assert finding["severity"] == "breaking"
    assert finding["code"] == "ENUM_VALUE_ADDED"
    assert (finding["path"], finding["line"]) == ("schemas/email.toml", 2)
    assert finding["breaks"] == {"workers": "expected one of a"}
    assert finding["jobs"] == ["Email"]
    assert printed.err == f"{_SUMMARY}old)\n"


def test_findings_can_be_commands_for_github(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They annotate the changed line of a pull request."""
    printed = _printed(capsys, "schemas", "--against", "old", "--format", "github")
    (line,) = printed
    assert line.startswith(
        "::error file=schemas/email.toml,line=2,col=10,title=ENUM_VALUE_ADDED::"
    )


def test_bounds_beyond_every_float_are_compared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An integer has no end, and neither have its limits."""
    huge = f"1{'0' * 309}"
    kinds = {
        "low": f'{{ type = "int", min = -{huge} }}',
        "high": f'{{ type = "int", max = {huge} }}',
        "choice": f"{{ one_of = [1, {huge}] }}",
        "size": f'{{ type = "str", max_len = {huge} }}',
        "plain": '"int"',
        "small": '"u8"',
        "float": '"float"',
    }
    for name, kind in kinds.items():
        _write(name, f"[job.Email.fields]\nto = {kind}\n")
    for old, new in permutations(kinds, 2):
        assert run(["diff", new, "--against", old, "--level", "wire"]) == 1
    assert "not in 0..255" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "advice"),
    [
        (".git", ".git#ref=HEAD"),
        (".git/", ".git#ref=HEAD"),
        (".git#main", ".git#ref=main"),
        ("main", ".git#ref=main"),
        ("HEAD~0", ".git#ref=HEAD~0"),
        ("git#ref=v1", ".git#ref=v1"),
        (".git@v1", ".git#ref=v1"),
    ],
)
def test_revision_in_another_spelling_is_corrected(
    old: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice names the revision that was given, and with it the command runs."""
    _commit(_OLD)
    _git("tag", "v1")
    assert run(["diff", "schemas", "--against", old]) == 2
    assert f"`{advice}`" in capsys.readouterr().err
    assert _printed(capsys, "schemas", "--against", advice)


def test_path_that_is_nearly_right_is_corrected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A lock or a folder that is spelt alike is named, not taken for a revision."""
    _commit(_OLD)
    Path("flowd.lock").touch()
    assert run(["diff", "schemas", "--against", "flowd.lok"]) == 2
    assert "did you mean `flowd.lock`?" in capsys.readouterr().err


def test_unknown_revision_is_compared_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A branch with a mistake in its name is found; else the names are listed."""
    _commit(_OLD)
    for ref, said in (("mian", "did you mean `main`?"), ("x", "known here: main")):
        assert run(["diff", "schemas", "--against", f".git#ref={ref}"]) == 2
        assert said in capsys.readouterr().err
