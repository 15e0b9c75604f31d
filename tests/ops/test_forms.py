"""The fields of a form come from `SPEC` alone: no source, no annotation."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from types import ModuleType
from typing import Final

import pytest

from flowd import DecodeError, Job
from flowd.ops.forms import FormField, form_of
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.python.render import render

_SCHEMA: Final = """
[enum.Size]
values = { SMALL = "s", LARGE = "l", OTHER = "other" }
unknown = "OTHER"
[enum.Color]
values = ["red", "green"]
[record.Card.fields]
number = { type = "str", secret = true }
[record.Sepa.fields]
iban = "str"
[job.Order.fields]
text     = { type = "str", doc = "What it is about,\\nin words." }
count    = "u64?"
price    = "decimal"
at       = { type = "datetime", encoding = "unix_ms", default = 2026-01-31T00:00:00Z }
day      = "date"
wait     = { type = "duration", default = "5m" }
ident    = { type = "uuid", key = "id", deprecated = "use `text`" }
raw      = { type = "bytes", encoding = "raw" }
hashed   = { type = "bytes", encoding = "hex" }
blob     = "bytes"
flag     = "bool"
old_flag = { type = "bool", encoding = "01", default = false }
size     = { type = "Size", default = "l" }
color    = "Color?"
level    = { one_of = [1, 2, 3] }
lang     = { one_of = ["en", "de"], default = "en" }
tags     = { type = "list[str]", default = [] }
pay      = "Card | Sepa?"
any      = "json?"
mapped   = { type = "u8", mapper = { serialize = "builtins:str", deserialize = "builtins:int" } }
token    = { type = "str", secret = true, default = "hunter2" }
"""


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> type[Job]:
    """The class of a job with a field of each kind, of which no source is anywhere."""
    schema = parse(Sources((Source("order.toml", "order.toml", _SCHEMA),)))
    source = next(text for path, text in render(schema).items() if path.stem == "order")
    module = ModuleType("order_without_source")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source, "<nowhere>", "exec"), module.__dict__)
    found: type[Job] = module.Order
    return found


def _forms(job_class: type[Job]) -> dict[str, FormField]:
    return {form.name: form for form in form_of(job_class)}


def test_form_says_how_each_type_is_written(order: type[Job]) -> None:
    """Kind, spelling and hint follow the type and its encoding."""
    found = {
        name: (form.kind, form.type, form.hint) for name, form in _forms(order).items()
    }
    assert found == {
        "text": ("text", "str", ""),
        "count": ("number", "u64?", ""),
        "price": ("number", "decimal", "as 12.50"),
        "at": ("number", "datetime", "milliseconds since 1970"),
        "day": ("time", "date", "as 2031-05-01"),
        "wait": ("time", "duration", "as 1.5s, 10m or 2h"),
        "id": ("text", "uuid", "32 hexadecimal digits, with dashes"),
        "raw": ("bytes", "bytes", "bytes"),
        "hashed": ("bytes", "bytes", "hexadecimal"),
        "blob": ("bytes", "bytes", "base64"),
        "flag": ("choice", "bool", ""),
        "old_flag": ("choice", "bool", ""),
        "size": ("choice", "Size", ""),
        "color": ("choice", "Color?", ""),
        "level": ("choice", "int", ""),
        "lang": ("choice", "str", ""),
        "tags": ("json", "list[str]", ""),
        "pay": ("json", "Card | Sepa?", ""),
        "any": ("json", "json?", ""),
        "mapped": ("text", "u8", ""),
        "token": ("text", "str", ""),
    }


def test_form_knows_words_choices_and_secrets(order: type[Job]) -> None:
    """A doc is one line; an open enum takes other texts; a secret shows no default."""
    forms = _forms(order)
    assert {name: form.doc for name, form in forms.items() if form.doc} == {
        "text": "What it is about, in words.",
        "id": "Deprecated: use `text`",
    }
    assert {name: form.choices for name, form in forms.items() if form.choices} == {
        "flag": ("true", "false"),
        "old_flag": ("1", "0"),
        "size": ("s", "l"),
        "color": ("red", "green"),
        "level": ("1", "2", "3"),
        "lang": ("en", "de"),
    }
    assert [name for name, form in forms.items() if form.open] == ["size"]
    assert [name for name, form in forms.items() if form.secret] == ["pay", "token"]
    assert {name: form.default for name, form in forms.items() if form.default} == {
        "at": "datetime.datetime(2026, 1, 31, 0, 0, tzinfo=datetime.timezone.utc)",
        "wait": "datetime.timedelta(seconds=300)",
        "old_flag": "False",
        "size": "l",
        "lang": "'en'",
        "tags": "[]",
    }


_ENTRY: Final = {
    b"text": b"a",
    b"price": b"9.90",
    b"day": b"2026-01-31",
    b"id": b"123e4567-e89b-12d3-a456-426614174000",
    b"raw": b"x",
    b"hashed": b"00ff",
    b"blob": b"AA==",
    b"flag": b"true",
    b"level": b"1",
    b"mapped": b"7",
}


def test_required_fields_are_those_that_an_entry_must_have(order: type[Job]) -> None:
    """An entry without a required field is refused, and one with no others is read."""
    required = {name for name, form in _forms(order).items() if form.required}
    assert required == {key.decode() for key in _ENTRY}
    assert order.from_fields(_ENTRY)
    for key in _ENTRY:
        with pytest.raises(DecodeError):
            order.from_fields(
                {name: raw for name, raw in _ENTRY.items() if name != key}
            )


def test_choices_are_texts_that_the_class_reads(order: type[Job]) -> None:
    """Each of them, and they are written as they were read."""
    pairs = [
        pair
        for name, texts in order.SPEC.choices.items()
        for pair in product([name], texts)
    ]
    assert len(pairs) == 13
    for name, text in pairs:
        entry = {**_ENTRY, name.encode(): text.encode()}
        assert order.from_fields(entry).to_fields()[name.encode()] == text.encode()


def test_class_of_an_older_generator_has_plain_texts(
    order: type[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `SPEC` describes nothing: each field is a text, required where it has no default."""
    bare = replace(
        order.SPEC, types=(), optional=(), encodings={}, choices={}, open=(), docs={}
    )
    monkeypatch.setattr(order, "SPEC", bare)
    form_of.cache_clear()
    forms = form_of(order)
    assert {(form.kind, form.type, form.hint) for form in forms} == {("text", "", "")}
    assert [form.name for form in forms if form.secret] == ["pay", "token"]
    assert {form.name.encode() for form in forms if form.required} == {*_ENTRY}
