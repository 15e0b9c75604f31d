"""The job catalogue says what a schema says, and only shows what is in it."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Final

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from flowd import Job
from flowd_codegen.cli import run
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.export.catalogue import catalogue
from flowd_codegen.export.example import Examples
from flowd_codegen.model.declared import Declared
from flowd_codegen.model.schema import Schema
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources, read

_CASES: Final = Path(__file__).parents[1] / "cases"
_SHOWN: Final = sorted(path.parent for path in _CASES.glob("*/catalogue.md"))
_GOOD: Final = sorted(path.parent for path in _CASES.glob("*/expected"))
_UPDATE: Final = bool(os.environ.get("UPDATE_GOLDEN"))

# Everything that Markdown or HTML could take for more than text.
_HOSTILE: Final = [
    "<script>alert(1)</script>",
    "a | b \\| c",
    "`code` ``` \\",
    "[link](http://x) ![image](http://x) <http://x>",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "*a* _b_ ~~c~~ $d$ &amp; &#65;",
    "---",
    "===",
    "<!-- comment",
    "| a | b |",
    "<b>",
    "back\\",
]


def _schema(text: str) -> Schema:
    return parse(Sources((Source("schema.toml", "schema.toml", text),)))


@pytest.mark.parametrize("case", _SHOWN, ids=lambda case: case.name)
def test_a_schema_becomes_this_page(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command writes it byte for byte."""
    monkeypatch.chdir(case)
    golden = case / "catalogue.md"
    if _UPDATE:
        assert run(["catalogue", ".", "-o", "catalogue.md"]) == 0
    page = tmp_path / "jobs.md"
    assert run(["catalogue", ".", "-o", str(page)]) == 0
    assert page.read_bytes() == golden.read_bytes()
    assert run(["catalogue", ".", "-o", "catalogue.md", "--check"]) == 0


def test_check_says_that_a_page_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows the lines, exits with 1, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_text('job.A.fields.x = "str"')
    run(["catalogue", "a.toml", "-o", "jobs.md"])
    Path("a.toml").write_text('job.A.fields.x = "u8"')
    before = Path("jobs.md").read_text()
    capsys.readouterr()
    assert run(["catalogue", "a.toml", "-o", "jobs.md", "--check"]) == 1
    printed = capsys.readouterr()
    assert "+| `x` | `u8` | **required** |  |" in printed.out.splitlines()
    assert printed.err.endswith("run flowd-gen catalogue a.toml -o jobs.md\n")
    assert Path("jobs.md").read_text() == before


def test_every_example_is_an_entry() -> None:
    """What the page shows as an entry decodes, unless it says that it cannot know."""
    seen = 0
    for case in _GOOD:
        schema = parse(read(case))
        examples = Examples(Declared(schema))
        for module in schema.modules:
            name = ".".join(("cases", case.name, "expected", *module.name))
            classes = importlib.import_module(name)
            for job in module.jobs:
                texts = examples.fields(job)
                if any(
                    re.search("<(secret|what|text)", text) for text in texts.values()
                ):
                    continue
                # A mapper of the user's own may read less than the built-in text.
                if any(field.mapper for field in job.fields):
                    continue
                kind: type[Job] = getattr(classes, job.name)
                entry = {key.encode(): text.encode() for key, text in texts.items()}
                kind.from_fields(entry)
                seen += 1
    assert seen > 10


@pytest.mark.parametrize(
    "limits",
    [
        'type = "str", min_len = 9',
        'type = "str", max_len = 2',
        'type = "bytes", min_len = 12, max_len = 12',
        'type = "list[str]", min_len = 3',
        'type = "dict[str, u8]", min_len = 2',
        'type = "list[str]", max_len = 0',
        'type = "int", max = -5',
        'type = "float", min = 2.5',
        'type = "decimal", min = 20',
        'type = "u8", min = 7',
    ],
)
def test_an_example_keeps_to_the_limits(limits: str) -> None:
    """The schema takes it as the default of the same field."""
    schema = _schema(f"job.A.fields.x = {{ {limits} }}")
    text = Examples(Declared(schema)).entry(schema.modules[0].jobs[0].fields[0])
    kind = re.findall(r'"(\w+)', limits)[0]
    quoted = f"'{text}'" if kind in ("str", "bytes", "decimal") else text
    default = quoted.replace(":", "=") if kind == "dict" else quoted
    _schema(f"job.A.fields.x = {{ {limits}, default = {default} }}")


def test_a_huge_limit_makes_no_huge_page() -> None:
    """An example that would be long is described, not shown."""
    schema = _schema('job.A.fields.x = { type = "str", min_len = 1_000_000_000_000 }')
    assert "x  <at least 1000000000000 of them>" in catalogue(schema)


def _tokens(page: str) -> list[Token]:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    return [one for token in tokens for one in (token, *(token.children or ()))]


@pytest.mark.parametrize("text", _HOSTILE)
def test_words_of_a_schema_stay_words(text: str) -> None:
    """A renderer shows each text as it is written, and makes nothing of it."""
    literal = f"'''{text}'''"
    plain = _tokens(catalogue(_schema(_everywhere("'x'"))))
    tokens = _tokens(catalogue(_schema(_everywhere(literal))))
    # Code in a cell may be spelt in HTML, where backticks do not reach.
    html = {token.content for token in tokens if token.type == "html_inline"}
    assert html <= {"<code>", "</code>", "<br>"}
    built = (
        "heading_open",
        "tr_open",
        "link_open",
        "list_item_open",
        "blockquote_open",
    )
    assert [token.type for token in tokens if token.type in built] == [
        token.type for token in plain if token.type in built
    ]
    assert "image" not in {token.type for token in tokens}
    shown = "".join(t.content for t in tokens if t.type in ("text", "code_inline"))
    assert shown.count(text) == 8


def _everywhere(literal: str) -> str:
    """A schema with a text in every place where one is free."""
    return f"""
[job.A]
doc = {literal}
deprecated = {literal}
[job.A.fields]
a = {{ type = "str", doc = {literal}, deprecated = {literal}, default = {literal} }}
[job.A.queue]
group = {literal}
[enum.E]
values = {{ X = {literal} }}
"""


def test_a_secret_is_nowhere_on_the_page() -> None:
    """Neither as a default, in a record, nor among the values that are allowed."""
    page = catalogue(_schema("""
            [record.Login.fields]
            password = { type = "str", default = "hunter2", secret = true }
            user = "str"
            [job.A.fields]
            token = { type = "str", default = "hunter2", secret = true }
            choice = { one_of = ["hunter2"], secret = true }
            login = "Login"
            logins = { type = "list[Login]", default = [{ user = "me", password = "hunter2" }] }
            """))
    assert "hunter2" not in page
    assert "<secret>" in page
