"""The text of every type is that of the corpus, in both directions.

`corpus/rust.json` holds what the Rust crate itself wrote and read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, NotRequired, TypedDict
from uuid import UUID

import pytest

from flowd import wire


class _Ours(TypedDict):
    reads: list[tuple[str, str]]
    refuses: NotRequired[list[str]]
    why: str


class _Entry(TypedDict):
    writes: list[tuple[str, str]]
    reads: list[tuple[str, str]]
    refuses: list[str]
    flowd: NotRequired[_Ours]


def _encode_str(value: str) -> bytes:
    return value.encode()


def _encode_json(value: object) -> bytes:
    return wire.encode_json(_json(value), wire.JSON)


def _json(value: object) -> wire.Json:
    loaded: wire.Json = json.loads(json.dumps(value))
    return loaded


def _decode_json(raw: bytes) -> object:
    return wire.decode_json(raw, wire.JSON)


def _milliseconds(text: str) -> timedelta:
    return timedelta(milliseconds=int(text))


_PYTHON: Final[dict[str, Callable[[str], object]]] = {
    "str": str,
    "float": float,
    "bool": {"True": True, "False": False}.__getitem__,
    "bool01": {"True": True, "False": False}.__getitem__,
    "raw": lambda text: text.encode("latin-1"),
    "base64": lambda text: text.encode("latin-1"),
    "hex": lambda text: text.encode("latin-1"),
    "decimal": Decimal,
    "uuid": UUID,
    "datetime": datetime.fromisoformat,
    "unix_ms": datetime.fromisoformat,
    "date": date.fromisoformat,
    "duration": _milliseconds,
    "json": json.loads,
}
"""How the corpus spells a value of Python; integers for all the others."""


def _encode(kind: str, value: object) -> bytes:
    found: dict[str, object] = {"str": _encode_str, "json": _encode_json}
    function = found.get(kind) or getattr(wire, f"encode_{kind}")
    assert callable(function)
    written = function(value)
    assert isinstance(written, bytes)
    return written


def _decode(kind: str, raw: bytes) -> object:
    found: dict[str, object] = {"str": bytes.decode, "json": _decode_json}
    function = found.get(kind) or getattr(wire, f"decode_{kind}")
    assert callable(function)
    return function(raw)


def _python(kind: str, text: str) -> object:
    return _PYTHON.get(kind, int)(text)


def _raw(kind: str, text: str) -> bytes:
    return text.encode("latin-1" if kind == "raw" else "utf-8")


def _entries() -> Iterator[tuple[str, _Entry]]:
    for path in sorted((Path(__file__).parent / "corpus").glob("*.json")):
        types: dict[str, _Entry] = json.loads(path.read_text("utf-8"))["types"]
        yield from types.items()


def _reads(entry: _Entry) -> list[tuple[str, str]]:
    ours = entry["flowd"]["reads"] if "flowd" in entry else []
    return [pair for pair in entry["reads"] if pair[0] not in _refuses(entry)] + ours


def _refuses(entry: _Entry) -> list[str]:
    ours = entry["flowd"].get("refuses", []) if "flowd" in entry else []
    return [*entry["refuses"], *ours]


_ALL: Final = list(_entries())
_WRITES: Final = [(kind, *pair) for kind, entry in _ALL for pair in entry["writes"]]
_READS: Final = [(kind, *pair) for kind, entry in _ALL for pair in _reads(entry)]
_REFUSES: Final = [(kind, text) for kind, entry in _ALL for text in _refuses(entry)]


@pytest.mark.parametrize(("kind", "value", "text"), _WRITES)
def test_a_value_is_written_as_in_the_corpus(kind: str, value: str, text: str) -> None:
    """Every byte is what the other side writes."""
    assert _encode(kind, _python(kind, value)) == _raw(kind, text)


@pytest.mark.parametrize(("kind", "text", "value"), _READS)
def test_a_text_is_read_as_in_the_corpus(kind: str, text: str, value: str) -> None:
    """What the other side may write is the value it meant, sign and zeros included."""
    found = _decode(kind, _raw(kind, text))
    expected = _python(kind, value)
    assert type(found) is type(expected)
    assert repr(found).removeprefix("-nan") == repr(expected).removeprefix("-nan")


@pytest.mark.parametrize(("kind", "text"), _REFUSES)
def test_a_text_that_the_other_side_refuses_is_refused(kind: str, text: str) -> None:
    """Nothing is guessed, trimmed or rounded."""
    with pytest.raises(wire.CodecError):
        _decode(kind, text.encode())


def test_every_pair_of_codecs_is_in_the_corpus() -> None:
    """A codec cannot be added without vectors; enums and choices have their own test."""
    pairs = {name.partition("_")[2] for name in wire.__all__ if "code_" in name}
    covered = {kind for kind, _ in _ALL}
    assert pairs - covered == {"enum", "one_of", "open_enum"}
    assert covered - pairs == {"str"}
