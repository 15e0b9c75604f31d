"""What is said of the mistakes of beginners: from pydantic, protobuf, JSON Schema, Celery, SQL.

`mistakes.txt` has a schema, a line of dashes and the whole text that is shown, for each.
`UPDATE_GOLDEN=1` writes the texts anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest

from flowd_codegen.diagnostics.foreign import (
    JOB_WORDS,
    OPTIONS,
    QUEUE_WORDS,
    TOP_WORDS,
)
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.diagnostics.report import SchemaErrors
from flowd_codegen.parse.classes import JOB_OPTIONS
from flowd_codegen.parse.fields import FIELD_OPTIONS
from flowd_codegen.parse.parser import TOP_KEYS, parse
from flowd_codegen.parse.queue import QUEUE_OPTIONS
from flowd_codegen.parse.source import Sources

_FILE: Final = Path(__file__).parent / "mistakes.txt"
_BETWEEN: Final = "=====\n"
_BELOW: Final = "\n-----\n"
_ROWS: Final = [
    tuple(row.split(_BELOW)) for row in _FILE.read_text("utf-8").split(_BETWEEN)
]


def _shown(schema: str) -> str:
    with pytest.raises(SchemaErrors) as caught:
        parse(Sources((Source("s.toml", "s.toml", f"{schema}\n"),)))
    return str(caught.value)


@pytest.mark.parametrize(("schema", "text"), _ROWS)
def test_a_mistake_has_its_text(schema: str, text: str) -> None:
    """The text says what is wrong where, and what to write; word for word."""
    if not os.environ.get("UPDATE_GOLDEN"):
        assert f"{_shown(schema)}\n" == text


def test_the_texts_are_written_anew_on_request() -> None:
    """With `UPDATE_GOLDEN=1`; each schema stands there once."""
    schemas = [schema for schema, _ in _ROWS]
    assert len({*schemas}) == len(schemas)
    if os.environ.get("UPDATE_GOLDEN"):
        rows = [f"{schema}{_BELOW}{_shown(schema)}\n" for schema in schemas]
        _FILE.write_text(_BETWEEN.join(rows), encoding="utf-8")


@pytest.mark.parametrize("text", [text for _, text in _ROWS])
def test_a_text_has_places_and_advice(text: str) -> None:
    """Each fault is at a line and column, has carets, and says what to write."""
    faults = re.split(r"^(?=s\.toml:)", text, flags=re.MULTILINE)[1:]
    headlines = [fault.partition("\n")[0] for fault in faults]
    assert faults
    assert len({*headlines}) == len(headlines)
    for fault in faults:
        assert re.match(r"s\.toml:\d+:\d+: error\[E\d+\]: ", fault)
        assert re.search(
            r"\| +\^+ \S|^  = |^ ::: |must be \d", fault, re.MULTILINE
        ), fault


@pytest.mark.parametrize(
    ("advice", "known"),
    [
        (OPTIONS, FIELD_OPTIONS),
        (JOB_WORDS, JOB_OPTIONS),
        (QUEUE_WORDS, QUEUE_OPTIONS),
        (TOP_WORDS, TOP_KEYS),
    ],
)
def test_advice_is_for_unknown_words_only(
    advice: dict[str, str], known: tuple[str, ...]
) -> None:
    """A word of the language itself is never refused, so its advice is never shown."""
    assert advice.keys().isdisjoint(known)
