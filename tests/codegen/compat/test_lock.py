"""The command `flowd-gen lock`, and that a lock holds all that a comparison needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from flowd_codegen.cli import run
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.diff import diff
from flowd_codegen.compat.lock import lock_text, read_lock
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read
from tests.house.sources import ROOT

_CASES: Final = sorted(
    path.parent for path in (ROOT / "tests/codegen/cases").glob("*/expected")
)
_SCHEMA: Final = '[job.Email]\nfields = { to = "str", body = "str?" }\n'


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs next to a folder with one schema."""
    monkeypatch.chdir(tmp_path)
    Path("schemas").mkdir()
    Path("schemas/email.toml").write_text(_SCHEMA)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_a_lock_is_the_schema(case: Path) -> None:
    """What is read from a lock gives the same lock, and differs in nothing."""
    sources = read(case)
    schema = parse(sources)
    Path("flowd.lock").write_text(lock_text(schema))
    again = read_lock(Path("flowd.lock"))
    assert lock_text(again.schema) == lock_text(schema)
    now = Contract("now", schema, sources.files)
    assert [one for one in diff(again, now) if one.compatible_severity != "note"] == []


def test_a_lock_has_a_line_for_each_field() -> None:
    """A review sees the field that was changed, not a wall of braces."""
    assert run(["lock", "schemas"]) == 0
    lines = Path("flowd.lock").read_text().splitlines()
    assert '            "to": {"type": "str"}' in lines
    assert '            "body": {"type": "str?"},' in lines


def test_cosmetic_change_leaves_the_lock_unchanged() -> None:
    """Comments, docs, the order of fields and the spelling are left out."""
    run(["lock", "schemas"])
    before = Path("flowd.lock").read_text()
    Path("schemas/email.toml").write_text(
        '# Mail.\n[job.Email]\ndoc = "Send."\n[job.Email.fields]\n'
        'body = { type = "str?", doc = "The text." }\nto.type = "str"\n'
        '[job.Email.queue]\nclaim_after = "30s"\n'
    )
    assert run(["lock", "schemas", "--check"]) == 0
    run(["lock", "schemas"])
    assert Path("flowd.lock").read_text() == before


def test_a_lock_holds_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same schemas give the same bytes, wherever the command runs."""
    run(["lock", "schemas"])
    lock = Path("flowd.lock").read_bytes()
    assert tmp_path.name.encode() not in lock
    monkeypatch.chdir("schemas")
    run(["lock", ".", "-o", "here.lock"])
    assert Path("here.lock").read_bytes() == lock


def test_check_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A missing lock, and one of other schemas, exit with 1; nothing is written."""
    assert run(["lock", "schemas", "--check"]) == 1
    said = capsys.readouterr().err
    assert "flowd.lock is missing: run flowd-gen lock schemas -o flowd.lock" in said
    assert not Path("flowd.lock").exists()
    run(["lock", "schemas"])
    Path("schemas/email.toml").write_text(_SCHEMA.replace("str?", "str"))
    before = Path("flowd.lock").read_text()
    capsys.readouterr()
    assert run(["lock", "schemas", "--check"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "flowd.lock is out of date: review what that breaks\n"
        "    flowd-gen diff schemas --against flowd.lock\n"
        "and, when it is deployed, run\n"
        "    flowd-gen lock schemas -o flowd.lock\n"
    )
    assert Path("flowd.lock").read_text() == before


def test_command_printed_by_check_can_be_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A shell takes a folder with a blank in its name for one word."""
    Path("schemas").rename("my schemas")
    run(["lock", "my schemas"])
    Path("my schemas/email.toml").write_text(_SCHEMA.replace("str?", "str"))
    capsys.readouterr()
    assert run(["lock", "my schemas", "--check"]) == 1
    said = capsys.readouterr().err
    assert "flowd-gen diff 'my schemas' --against flowd.lock\n" in said
    assert "flowd-gen lock 'my schemas' -o flowd.lock\n" in said


@pytest.mark.parametrize("more", [[], ["--check"]])
def test_file_that_is_no_lock_is_not_replaced(
    more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped -o leaves the file that is there, and reads no device without end."""
    assert run(["lock", "schemas", "-o", "schemas/email.toml", *more]) == 2
    said = capsys.readouterr().err
    assert "schemas/email.toml was not written by flowd-gen" in said
    assert Path("schemas/email.toml").read_text() == _SCHEMA
    assert run(["lock", "schemas", "-o", "/dev/full", *more]) == 2
    assert "/dev/full is no file" in capsys.readouterr().err


def test_a_version_and_reservations_are_locked() -> None:
    """What protects the future is part of what is reviewed."""
    Path("schemas/email.toml").write_text(
        '[job.Email]\nversion = 4\noldest = 2\nv2 = { fields = {} }\nv3 = "v4"\n'
        'reserved = ["cc"]\nfields = { to = "str" }\n'
    )
    run(["lock", "schemas"])
    lock = json.loads(Path("flowd.lock").read_text())
    job = lock["files"]["email.toml"]["job"]["Email"]
    assert (job["version"], job["oldest"], job["reserved"]) == (4, 2, ["cc"])
    assert (job["v2"], job["v3"]) == ({"fields": {}}, "v4")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n", "it is not JSON"),
        ('{"flowd_lock": 2, "files": {}}', "a lock of format 2, and this flowd-gen"),
        ("{}", "it has no `flowd_lock` and `files`"),
        ("[]", "it has no `flowd_lock` and `files`"),
        ('{"flowd_lock": 1, "files": {"a.toml": []}}', "a file in it is no table"),
        (
            '{"flowd_lock": 1, "files": {"a.toml": {"job": {"A": {"fields": {"b": "x8"}}}}}}',
            "unknown type `x8`, at a.toml.job.A.fields.b",
        ),
        (
            '{"flowd_lock": 1, "files": {"a.toml": {"job": {"A": null}}}}',
            "job `A` must be a table",
        ),
    ],
)
def test_invalid_lock_is_refused(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits with 2, and nothing it says would lose what to compare with."""
    Path("flowd.lock").write_text(text)
    assert run(["diff", "schemas", "--against", "flowd.lock"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("flowd.lock:1:1: error[E416]: ")
    assert said in printed
    assert ("restore the lock of the release that runs" in printed) == (
        "upgrade" not in printed
    )


def test_bad_schemas_write_no_lock(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault leaves the lock that is there."""
    run(["lock", "schemas"])
    before = Path("flowd.lock").read_text()
    Path("schemas/email.toml").write_text("[job.Email]\nfields = 1\n")
    assert run(["lock", "schemas"]) == 2
    assert "error[E103]" in capsys.readouterr().err
    assert Path("flowd.lock").read_text() == before


def test_a_default_of_bytes_is_in_the_encoding_of_its_field() -> None:
    """As a schema writes it, also below a record, and in the lock as well."""
    Path("schemas/email.toml").write_text(
        '[record.Key.fields]\nraw = { type = "bytes", encoding = "hex" }\n'
        "[job.Email.fields]\n"
        'a = { type = "bytes", encoding = "hex", default = "ff00" }\n'
        'b = { type = "bytes", encoding = "raw", default = "hé" }\n'
        'c = { type = "bytes", default = "/w==" }\n'
        'd = { type = "Key", default = { raw = "00ff" } }\n',
        encoding="utf-8",
    )
    assert run(["lock", "schemas"]) == 0
    lock = Path("flowd.lock").read_text("utf-8")
    for text in ('"ff00"', '"hé"', '"/w=="', '{"raw": "00ff"}'):
        assert f'"default": {text}' in lock
    assert run(["diff", "schemas", "--against", "flowd.lock", "--level", "strict"]) == 0
    assert run(["schemas", "-o", "jobs"]) == 0
    source = Path("jobs/email.py").read_text("utf-8")
    for literal in (r'b"\xff\x00"', r'b"h\xc3\xa9"', r'b"\xff"', r'raw=b"\x00\xff"'):
        assert literal in source
