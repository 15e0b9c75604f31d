"""The JSON Schema says of a schema what the generator says, as far as it can see."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Final, Protocol

import jsonschema
import pytest
import tomli
from jsonschema.exceptions import ValidationError

from flowd.wire import Json
from flowd_codegen.cli import run
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.diagnostics.report import Code, Fault, SchemaErrors
from flowd_codegen.export.json_schema import json_schema
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources, read
from tests.house.sources import ROOT

_CASES: Final = Path(__file__).parents[1] / "cases"
_BROKEN: Final = sorted(path.parent for path in _CASES.glob("*/error.txt"))
_GOOD: Final = [
    *sorted(
        path
        for path in _CASES.rglob("*.toml")
        if not path.with_name("error.txt").exists()
    ),
    *sorted((ROOT / "schemas").glob("*.toml")),
]

_UNSEEN: Final = {
    Code.SYNTAX: "what is no TOML has no shape",
    Code.UNKNOWN_NAME: "a name is declared elsewhere",
    Code.JOB_AS_TYPE: "a name is declared elsewhere",
    Code.UNKNOWN_MAPPER: "a name is declared elsewhere",
    Code.CIRCULAR_RECORDS: "it takes all records to see a circle",
    Code.TOO_DEEP: "it takes all records to count their levels",
    Code.IMPORT_CYCLE: "it takes all files to see a circle",
    Code.DECLARED_TWICE: "the other one is in another table or file",
    Code.ATTRIBUTE_TWICE: "it takes two names to see that they are one in Python",
    Code.WIRE_KEY_TWICE: "the other one is in another field",
    Code.WIRE_KEY_RESERVED: "the other one is in another table",
    Code.STREAM_TWICE: "the other one is in another job or file",
    Code.REMOVED: "what was removed is another value",
    Code.MODULE_NAME: "a file's name is not in the file",
    Code.MODULE_TWICE: "a file's name is not in the file",
    Code.PATTERN: "no grammar is that of Python's regular expressions",
    Code.DEFAULT_OUT_OF_BOUNDS: "the bound is another value",
    # Of these it sees a part; `test_what_an_editor_sees` has examples.
    Code.UNKNOWN_TYPE: "a type in capital letters may be a name declared elsewhere",
    Code.TYPE_SYNTAX: "a pattern does not count brackets",
    Code.MAPPER_NEEDED: "the mapper's sides are declared elsewhere",
    Code.CONSTRAINT_MISFIT: "what the items of a list are is a part of a text",
    Code.ONE_OF: "what the items of a list are is a part of a text",
    Code.UNION: "what its members are, and their tags and fields, is said elsewhere",
    Code.GROUP: "what a group has, and what it includes, is said elsewhere",
    Code.DEFAULT_MISFIT: "an enum's or record's values are declared elsewhere",
    Code.CONSTRAINT_IMPOSSIBLE: "the other bound is another value",
    Code.ENCODING: "whether a named mapper has both sides is said elsewhere",
    Code.ENUM_VALUES: "the other one is another value",
    Code.VERSION: "which versions are older is another value",
    Code.NAME_TAKEN: "it takes two names to see that their migrations are one",
    Code.SCHEDULE: "the rules of an expression and the zones that exist are no shape",
    Code.GATE: "which fields there are, and what they hold, is said elsewhere",
    Code.LABEL: "what a name stands for, and how many values an enum has, is said elsewhere",
    Code.POLICY: "how much time a text says is not its shape",
}
"""Why an editor may not see a fault of this code."""


class _Validator(Protocol):
    """What is used of the library, whose own signatures are not all typed."""

    def iter_errors(self, instance: Json) -> Iterator[ValidationError]: ...


def _validator() -> _Validator:
    return jsonschema.Draft202012Validator(json_schema())


def _errors(values: Json) -> list[ValidationError]:
    return [*_validator().iter_errors(values)]


def _as_json(text: str) -> Json:
    """A TOML document as an editor takes it: dates are their texts."""
    values: Json = json.loads(json.dumps(tomli.loads(text), default=_iso))
    return values


def _iso(value: object) -> str:
    assert isinstance(value, date | time)
    return value.isoformat()


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """What is wrong at the bottom, in those alternatives that have the right kind."""
    if not error.context:
        yield error
        return
    branches: dict[object, list[ValidationError]] = {}
    for below in error.context:
        branches.setdefault(below.schema_path[0], []).append(below)
    leaves = {
        name: [leaf for one in b for leaf in _leaves(one)]
        for name, b in branches.items()
    }
    kinds = [
        found
        for found in leaves.values()
        if not any(
            leaf.validator == "type" and leaf.absolute_path == error.absolute_path
            for leaf in found
        )
    ]
    for found in kinds or leaves.values():
        yield from found


def _faults(case: Path) -> list[Fault]:
    with pytest.raises(SchemaErrors) as caught:
        parse(read(case))
    return [*caught.value.faults]


def _sees(leaf: ValidationError, fault: Fault) -> bool:
    at, wrong = tuple(leaf.absolute_path), fault.location.path
    if at[: len(wrong)] == wrong:
        return True
    # A key that is too much, or an item that is there already, is said of what holds it.
    named = repr(wrong[-1]) in leaf.message or leaf.validator == "uniqueItems"
    return at == wrong[:-1] and named


def test_the_document_is_a_json_schema() -> None:
    """It keeps to the metaschema of its draft."""
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_file_in_the_repository_is_current() -> None:
    """`schemas/flowd.schema.json` is what the command writes."""
    file = ROOT / "schemas/flowd.schema.json"
    assert run(["json-schema", "-o", str(file), "--check"]) == 0


def test_every_key_is_described() -> None:
    """An editor has something to say about each key of the language."""
    assert not [*_undescribed(json_schema(), "")]


def _undescribed(node: Json, path: str) -> Iterator[str]:
    if isinstance(node, list):
        for value in node:
            yield from _undescribed(value, path)
    if not isinstance(node, dict):
        return
    options = node.get("properties")
    # Rules about options that are described elsewhere have more to say.
    if isinstance(options, dict) and "additionalProperties" in node:
        for key, value in options.items():
            if not (isinstance(value, dict) and value.get("description")):
                yield f"{path}/{key}"
    for key, value in node.items():
        yield from _undescribed(value, f"{path}/{key}")


@pytest.mark.parametrize(
    "path", _GOOD, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_good_schema_is_valid(path: Path) -> None:
    """An editor marks nothing in what the generator takes."""
    text = path.read_bytes().decode("utf-8-sig")
    assert not _errors(_as_json(text))


def _overlooked(case: Path) -> Iterator[Fault]:
    """The faults of a case in whose places an editor marks nothing."""
    faults = _faults(case)
    for source in {fault.location.source for fault in faults}:
        values: Json = {}
        # Not of all that is refused can a tree be made.
        with contextlib.suppress(tomli.TOMLDecodeError, UnicodeError):
            values = _as_json(source.text)
        leaves = [leaf for error in _errors(values) for leaf in _leaves(error)]
        for fault in faults:
            here = fault.location.source is source
            if here and not any(_sees(leaf, fault) for leaf in leaves):
                yield fault


@pytest.mark.parametrize("case", _BROKEN, ids=lambda case: case.name)
def test_each_fault_of_shape_is_seen_in_its_place(case: Path) -> None:
    """An editor marks what the generator refuses, unless it is said why it cannot."""
    assert not [fault for fault in _overlooked(case) if fault.code not in _UNSEEN]


def test_every_excuse_is_needed() -> None:
    """For each code that is excused there is a fault that cannot be seen."""
    assert {fault.code for case in _BROKEN for fault in _overlooked(case)} == {*_UNSEEN}


@pytest.mark.parametrize(
    "field",
    [
        'x = "string"',
        'x = "list<str>"',
        'x = "str, int"',
        'x = { type = "shop.geo:Point" }',
        'x = { type = "str", default = 1 }',
        'x = { type = "u8", default = 256 }',
        'x = { type = "u8?", max = 256 }',
        'x = { type = "datetime", default = 2026-01-31T12:00:00 }',
        'x = { type = "list[str]", default = "a" }',
        'x = { type = "str", max_len = -1 }',
        'x = { type = "bytes", encoding = "base32" }',
        'x = { type = "list[bytes]", encoding = "hex" }',
    ],
)
def test_editor_marks_invalid_values(field: str) -> None:
    """A type, default, bound or encoding that no schema could have is marked."""
    assert _errors(_as_json(f"[job.X.fields]\n{field}"))


def test_editor_marks_invalid_rules() -> None:
    """An enum without values, and a queue with an impossible rule, are marked."""
    for text in (
        "enum.X.values = []",
        'enum.X.values = ["a", "a"]',
        'job.X.queue.stream = ""',
        "job.X.queue.max_retries = -1",
        'job.X.queue.starting_id = "last"',
        'job.X.queue.backoff.kind = "fibonacci"',
    ):
        assert _errors(_as_json(text)), text


@pytest.mark.parametrize("value", ["2026-01-31", "inf", "[nan]"])
def test_a_key_of_the_user_holds_what_json_has(value: str) -> None:
    """A date or a number that JSON does not have is a fault, though no editor sees it."""
    text = f'[job.X]\nx-own = {value}\nfields.a = "str"'
    with pytest.raises(SchemaErrors, match="`x-own` must be a JSON value"):
        parse(Sources((Source("a.toml", "a.toml", text),)))
