"""Schemas that are huge, or random: valid ones generate, all others are faults."""

from __future__ import annotations

import ast
import builtins
import cProfile
import importlib
import random
import re
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowd
from flowd_codegen.cli import run
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.diagnostics.report import SchemaErrors
from flowd_codegen.model.naming import CLASS_NAME, FIELD_NAME, RESERVED_CLASSES
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.python.layout import format_with_black
from flowd_codegen.python.render import render
from tests.codegen.compat.classes import classes

_CASES: Final = Path(__file__).parents[1] / "cases"
_TEXTS: Final = sorted(path.read_text("utf-8") for path in _CASES.rglob("*.toml"))
_MEGABYTE: Final = 1_000_000


def _generated(
    folder: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> type[flowd.Job]:
    """The class `Big` of a schema, through the command and an import."""
    (folder / "schemas").mkdir()
    (folder / "schemas/big.toml").write_text(schema, encoding="utf-8")
    name = f"jobs_{folder.name}"
    assert run([str(folder / "schemas"), "-o", str(folder / name)]) == 0
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    found: type[flowd.Job] = importlib.import_module(f"{name}.big").Big
    return found


def test_1000_fields_generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest job there can be is written, imported, and reads what it writes."""
    fields = "".join(f'f{number} = "u32"\n' for number in range(1000))
    job = _generated(tmp_path, f"[job.Big.fields]\n{fields}", monkeypatch)
    entry = {f"f{number}".encode(): b"%d" % number for number in range(1000)}
    assert job.from_fields(entry).to_fields() == entry


def test_texts_of_1_mb_generate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default and a doc of 1 MB each become code like shorter ones."""
    long = '"{{ x }} \u202e' * (_MEGABYTE // 10)
    schema = f"""
[job.Big]
doc = '''{long}'''
[job.Big.fields]
text = {{ type = "str", default = '''{long}''' }}
"""
    job = _generated(tmp_path, schema, monkeypatch)
    empty = job.from_fields({})
    assert empty.to_fields() == {b"text": long.encode()}
    assert long[:-1] in (job.__doc__ or "")


def test_a_text_of_all_scripts_generates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code points of every plane survive the way from a schema through Python."""
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000, 7)]))
    escaped = "".join(
        f"\\U{ord(char):08x}" if char < " " or char in '"\\\x7f' else char
        for char in text
    )
    schema = f'[job.Big.fields]\ntext = {{ type = "str", default = "{escaped}" }}\n'
    job = _generated(tmp_path, schema, monkeypatch)
    assert job.from_fields({}).to_fields() == {b"text": text.encode()}


_EVERYTHING: Final = """
[enum.{enum}]
values = ["a"]
[record.{record}.fields]
{field} = {{ type = "str", default = "x" }}
kind = {{ type = "{enum}", default = "a" }}
time = {{ type = "duration", default = "1s" }}
[job.{job}]
version = 2
v1.fields.kind = "{enum}"
queue.backoff.kind = "fixed"
[job.{job}.fields]
{field} = {{ type = "str", default = "x" }}
kind = {{ type = "{enum}", default = "a" }}
part = {{ type = "{record}", default = {{}} }}
parts = {{ type = "list[{record}?]", default = [{{}}] }}
kinds = {{ type = "dict[str, {enum}]", default = {{ x = "a" }} }}
choice = {{ one_of = ["x"], default = "x" }}
price = {{ type = "decimal", default = "1.5", min = 1, below = "9.5", places = 2 }}
many = {{ type = "list[str]", default = ["a"], items = {{ max_len = 9, pattern = "a" }} }}
few = {{ type = "dict[str, str]", default = {{ x = "a" }}, values = {{ one_of = ["a"] }} }}
id = {{ type = "uuid", default = "2f1c4d5e-0000-4000-8000-000000000000" }}
at = {{ type = "datetime", default = 2026-01-31T12:00:00Z, min = 2020-01-31T12:00:00Z }}
day = {{ type = "date", default = 2026-01-31, above = 2020-01-31 }}
time = {{ type = "duration", default = "1s", max = "1h" }}
data = {{ type = "json", default = {{ x = [1] }} }}
raw = {{ type = "bytes", default = "" }}
flag = {{ type = "bool", default = true }}
"""
"""All that makes a module import or define something."""


def _used_names(grammar: re.Pattern[str]) -> set[str]:
    """The names in generated code that a schema could give, and Python's own."""
    used = {*dir(builtins)}
    for path in _CASES.rglob("expected/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case (
                    ast.Name(name)
                    | ast.Attribute(attr=name)
                    | ast.alias(name)
                    | ast.FunctionDef(name)
                    | ast.arg(name)
                ):
                    used.add(name)
                case _:
                    pass
    return {name for name in used if grammar.fullmatch(name)}


@pytest.mark.parametrize("kind", ["enum", "record", "job", "field"])
def test_no_name_hides_what_its_module_uses(kind: str) -> None:
    """Whatever name of generated code a schema takes, its module works, or none is."""
    names = _used_names(FIELD_NAME if kind == "field" else CLASS_NAME)
    assert names > ({"wire", "to_fields"} if kind == "field" else {"ClassVar", "SPEC"})
    own = {"enum": "AnEnum", "record": "ARecord", "job": "AJob", "field": "own"}
    for name in sorted(names - RESERVED_CLASSES - set(_EVERYTHING.split())):
        named = {**own, kind: name}
        text = _EVERYTHING.format(**named)
        schema = parse(Sources((Source("jobs.toml", "jobs.toml", text),)))
        with classes(schema, "def a_job_v1_to_v2(old): ...") as module:
            job: type[flowd.Job] = eval(named["job"], module)
            first = job.from_fields({b"_v": b"2"})
            assert job.from_fields(first.to_fields()) == first, name


_TEXT: Final = st.text(
    st.sampled_from("\"'\\{}%#\n\t\0\x1b\u202e\u2028é N{").map(str), max_size=30
)


@given(doc=_TEXT, other=_TEXT)
@settings(deadline=None, max_examples=50)
def test_no_text_leaves_its_literal(doc: str, other: str) -> None:
    """Whatever docs and defaults hold, the code around them stays the same."""

    def basic(text: str) -> str:
        return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'

    def shape(doc: str, other: str) -> str:
        schema = (
            f"doc = {basic(doc)}\n[job.A]\ndoc = {basic(other)}\n"
            f"deprecated = {basic(doc)}\n"
            "[job.A.fields]\n"
            f'a = {{ type = "str", doc = {basic(doc)}, default = {basic(other)} }}\n'
            f'b = {{ type = "json", default = {{ {basic(other)} = {basic(doc)} }} }}\n'
        )
        files = (Source("a.toml", "a.toml", schema),)
        code = next(iter(render(parse(Sources(files))).values()))
        assert ast.dump(ast.parse(format_with_black(code)))
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                node.value = ""
        return ast.dump(tree)

    assert shape(doc or "x", other) == shape("plain", "text")


@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=300)
def test_a_mutated_schema_is_valid_or_has_faults(seed: int) -> None:
    """Cut, doubled and swapped pieces of real schemas never crash the generator."""
    dice = random.Random(seed)
    text = dice.choice(_TEXTS)
    for _ in range(dice.randint(1, 6)):
        start = dice.randint(0, len(text))
        end = min(len(text), start + dice.choice((0, 1, 1, 2, 5, 30)))
        donor = dice.choice(_TEXTS)
        cut = dice.randint(0, len(donor))
        piece = dice.choice(
            (
                "",
                text[start:end] * 2,
                donor[cut : cut + dice.choice((1, 3, 20, 60))],
                dice.choice("\"'[]{}=,.\n#?:\\_0-\u202e"),
                dice.choice(("str", "true", "-1", "1e400", "nan", "[]", "{}", "'x'")),
            )
        )
        text = text[:start] + piece + text[end:]
    try:
        schema = parse(Sources((Source("a.toml", "a.toml", text),)))
    except SchemaErrors as errors:
        shown = str(errors)
    else:
        shown = "".join(render(schema).values())
        ast.parse(shown)
    assert shown


@pytest.mark.parametrize("quotes", ["'''", '"""'])
def test_a_long_text_that_is_not_closed_is_named(quotes: str) -> None:
    """Its end is not sought in twice as many ways with each further character."""
    text = f"[job.A]\ndoc = {quotes}{'one word ' * 20_000}"
    with pytest.raises(SchemaErrors, match="a string is not closed"):
        parse(Sources((Source("a.toml", "a.toml", text),)))


def test_work_of_a_check_grows_with_the_number_of_schemas(tmp_path: Path) -> None:
    """A check of 100 schemas makes no more than 4.4 times the calls of one of 25."""
    few, many = (_calls_of_a_check(tmp_path / str(n), n) for n in (25, 100))
    assert many < 4.4 * few


def _calls_of_a_check(home: Path, schemas: int) -> int:
    """How many Python functions `--check` calls over so many schemas."""
    folder = home / "schemas"
    folder.mkdir(parents=True)
    fields = '"str" "u32" "bool" "float?" "uuid" "datetime" "list[str]" "json" "date"'
    lines = [f"f{at} = {kind}" for at, kind in enumerate(fields.split())]
    for number in range(schemas):
        text = "\n".join([f"[job.Job{number}.fields]", *lines, ""])
        (folder / f"job{number}.toml").write_text(text)
    command = [str(folder), "-o", str(home / "jobs")]
    assert run(command) == 0
    profile = cProfile.Profile()
    assert profile.runcall(run, [*command, "--check"]) == 0
    return sum(each.callcount for each in profile.getstats())
