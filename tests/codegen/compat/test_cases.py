"""Each folder of `cases/` is one change: an old schema, a new one, what `diff` says.

`proof.toml` has values as the writer's Python spells them, and what the reader makes of
each: an object, `fails`, or `released`. `[messages]` go from old to new classes,
`[workers]` from new to old ones, `migrations.py` is what the user of the new ones wrote. `UPDATE_GOLDEN=1` writes `expected.txt` anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import tomli

from flowd import DecodeError, Job, NewerVersion
from flowd.broker.commands import enqueue_command
from flowd.model.job import decode
from flowd_codegen.cli import run
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.diff import diff
from flowd_codegen.compat.readability import UNKNOWN
from flowd_codegen.compat.schema_change import SchemaChange
from flowd_codegen.diagnostics.rules import Aspect, Rule
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read
from tests.codegen.compat.classes import classes

_CASES: Final = Path(__file__).parent / "cases"
_ALL: Final = sorted(path.parent for path in _CASES.glob("*/new"))
_WITH_PROOF: Final = sorted(path.parent for path in _CASES.glob("*/proof.toml"))
_REFUSALS: Final = {"fails": DecodeError, "released": NewerVersion}
_UPDATE: Final = bool(os.environ.get("UPDATE_GOLDEN"))


@pytest.mark.parametrize("case", _ALL, ids=lambda case: case.name)
def test_breaking_change_is_reported(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says what was changed, what breaks, and what to do."""
    monkeypatch.chdir(case)
    code = run(["diff", "new", "--against", "old", "--level", "strict"])
    printed = capsys.readouterr()
    golden = case / "expected.txt"
    if _UPDATE:
        golden.write_text(printed.out, encoding="utf-8")
    assert printed.out == golden.read_text("utf-8")
    assert printed.err == ""
    assert code == (" breaking[" in printed.out)


@pytest.mark.parametrize("case", _WITH_PROOF, ids=lambda case: case.name)
def test_verdict_matches_what_decoding_does(case: Path) -> None:
    """Old and new classes read each other's messages, or fail with the very words."""
    before, after = (_contract(case / side) for side in ("old", "new"))
    findings = diff(before, after)
    proof = tomli.loads((case / "proof.toml").read_text("utf-8"))
    written = case / "migrations.py"
    migrations = written.read_text("utf-8") if written.exists() else ""
    with classes(before.schema) as old, classes(after.schema, migrations) as new:
        _check_proof("messages", findings, proof.get("messages", {}), old, new)
        _check_proof("workers", findings, proof.get("workers", {}), new, old)


def test_an_alias_of_another_field_exchanges_older_values() -> None:
    """What `FIELD_KEY_TAKEN` says of aliases: a message from before them is misread."""
    case = _CASES / "field_aliases_swapped"
    fields = {b"amount": b"9", b"sum": b"11"}
    for side, net, total in (("old", "9", "11"), ("new", "11", "9")):
        with classes(_contract(case / side).schema) as names:
            kind: type[Job] = eval("Job", names)
            job = decode(kind, fields)
            assert job == eval(f"Job(net={net!r}, total={total!r})", names)


def test_every_rule_has_a_case() -> None:
    """No rule can be added without a change that shows it."""
    printed = "".join((case / "expected.txt").read_text("utf-8") for case in _ALL)
    assert set(re.findall(r"\[([A-Z_]+)\]: ", printed)) == set(Rule)


def _contract(folder: Path) -> Contract:
    sources = read(folder)
    return Contract(folder.name, parse(sources), sources.files)


def _check_proof(
    aspect: Aspect,
    findings: list[SchemaChange],
    values: Mapping[str, str],
    writer: dict[str, object],
    reader: dict[str, object],
) -> None:
    """Let one side write each value and the other read it."""
    predicted = [
        finding.breaks[aspect] for finding in findings if aspect in finding.breaks
    ]
    silent = "no error says so"
    loud = {
        _anywhere(text) for text in predicted if silent not in text and text != UNKNOWN
    }
    said: list[str] = []
    for value, expected in values.items():
        job: Job = eval(value, writer)
        fields = enqueue_command(job).fields
        named = value if expected in _REFUSALS else expected
        kind: type[Job] = eval(named.partition("(")[0], reader)
        if refusal := _REFUSALS.get(expected):
            with pytest.raises(DecodeError) as failure:
                decode(kind, fields)
            assert type(failure.value) is refusal
            if refusal is DecodeError:
                said.append(_anywhere(str(failure.value)))
        else:
            assert decode(kind, fields) == eval(expected, reader)
    if values:
        for text in loud:
            assert any(text in error for error in said), f"{text!r} is not in {said}"
    for error in said if UNKNOWN not in predicted else ():
        assert any(text in error for text in loud), f"{error!r} was not foretold"


def _anywhere(text: str) -> str:
    """A refusal without its way into JSON, which depends on the value."""
    return re.sub(r"\[\d+\]", "", text).removeprefix("at ")
