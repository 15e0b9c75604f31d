"""The page on the schema language, the generator and the codecs say the same."""

from __future__ import annotations

import re
from dataclasses import fields

from flowd import Policy, wire
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.model.scalars import ENCODINGS, SCALARS
from flowd_codegen.parse.fields import FIELD_OPTIONS
from flowd_codegen.parse.gate import GATE_OPTIONS, POLICY_OPTIONS
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from tests.house.sources import ROOT


def _tables() -> dict[str, dict[str, list[str]]]:
    """Each table of the page by its first heading: first cell -> all cells."""
    tables: dict[str, dict[str, list[str]]] = {}
    page = (ROOT / "schemas/README.md").read_text("utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in table.splitlines()
        ]
        tables[rows[0][0]] = {row[0].strip("`"): row for row in rows[2:]}
    return tables


def test_every_type_is_on_the_page() -> None:
    """The table lists the scalar types with the Python class that a field then has."""
    rows = _tables()["type"]
    python = {name: row[1].strip("`") for name, row in rows.items()}
    assert python == {
        **{name: row.annotation for name, row in SCALARS.items()},
        "json": "wire.Json",
    }


def test_every_encoding_is_on_the_page() -> None:
    """Each text that an option chooses is named next to its type."""
    page = " ".join(" ".join(row) for row in _tables()["type"].values())
    for name in ENCODINGS.keys() - {"text", "rfc3339", "base64"}:
        assert f'`encoding = "{name}"`' in page or f"`{name}`" in page


def test_every_option_is_on_the_page() -> None:
    """Fields and queues have the options that the page lists, and no other."""
    tables = _tables()
    assert [*tables["field option"]] == [*FIELD_OPTIONS]
    assert [*tables["queue option"]] == [field.name for field in fields(Policy)]
    policies = {
        name: tuple(re.findall(r"`(\w+)`", row[1]))
        for name, row in tables["policy"].items()
    }
    assert {name: {*options} for name, options in policies.items()} == {
        name: {*POLICY_OPTIONS[name]} for name in GATE_OPTIONS
    }


def test_every_codec_has_a_type() -> None:
    """Each `encode_x` has its `decode_x`, and a type that is written with it."""
    encoders, decoders = (
        {name.removeprefix(verb) for name in wire.__all__ if name.startswith(verb)}
        for verb in ("encode_", "decode_")
    )
    assert encoders == decoders
    used = {row.encode for row in (*SCALARS.values(), *ENCODINGS.values())}
    assert encoders - {name.removeprefix("encode_") for name in used} == {
        "enum",
        "json",
        "one_of",
        "open_enum",
    }


def test_the_example_on_the_page_is_a_schema() -> None:
    """What the page shows generates as it stands."""
    page = (ROOT / "schemas/README.md").read_text("utf-8")
    examples = re.findall(r"```toml\n(.+?)```", page, re.DOTALL)
    assert "[job.Crawl]" in examples[0]
    for example in examples:
        schema = parse(Sources((Source("page.toml", "page.toml", example),)))
        assert schema.modules[0].jobs
