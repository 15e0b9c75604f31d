"""The locator agrees with tomli on every valid document, of which it makes many."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd_codegen.diagnostics.location import (
    Source,
    SourceLocation,
    TextSpan,
    TomlPath,
    locate,
)
from flowd_codegen.diagnostics.report import Code, Fault, SchemaErrors
from flowd_codegen.parse.table import Toml

_HOSTILE: Final = Path(__file__).with_name("hostile.toml")


def _walk(value: Toml, path: TomlPath = ()) -> dict[TomlPath, Toml]:
    found: dict[TomlPath, Toml] = {path: value} if path else {}
    if isinstance(value, dict):
        for key, below in value.items():
            found |= _walk(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            found |= _walk(below, (*path, index))
    return found


def _check(text: str) -> None:
    """Hold every spot against what tomli says of the document."""
    document: dict[str, Toml] = tomli.loads(text)
    values = _walk(document)
    spans = locate(text)
    assert spans.keys() == values.keys()
    for path, value in values.items():
        key = text[slice(*spans[path].key)]
        written = text[slice(*spans[path].value)]
        if isinstance(path[-1], str):
            assert tomli.loads(f"{key} = 0") == {path[-1]: 0}
        if isinstance(value, dict) and not written.startswith("{"):
            # A table has its header, or only the key that implies it.
            assert written == key or written.startswith("[")
        elif isinstance(value, list) and written.startswith("[["):
            assert value
            # An array of tables has its first header, unless it is an array of arrays.
            if isinstance(value[0], dict):
                assert key in written
            else:
                assert _same(tomli.loads(f"x = {written}")["x"], value)
        else:
            assert _same(tomli.loads(f"x = {written}")["x"], value)


def _same(one: object, other: object) -> bool:
    # `nan` does not equal itself, and 1 must not pass for True.
    return repr(one) == repr(other)


def test_every_key_and_value_of_a_hostile_document_is_found() -> None:
    """Quotes, comments, dots and brackets in all wrong places do not mislead it."""
    _check(_HOSTILE.read_text("utf-8"))


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only a comment", "a=1", "[a]", "[[a]]"]
)
def test_the_smallest_documents_are_located(text: str) -> None:
    """An empty document has no spots, and the last line needs no line feed."""
    _check(text)


def test_a_string_of_1_mb_is_located() -> None:
    """The length of a string is no matter."""
    plain, block = "x" * 1_000_000, 'y\\" ' * 200_000
    _check(f'a = "{plain}"\nb = """{block}"""\nc = 1')


def _escaped(text: str) -> str:
    return "".join(
        (
            f"\\u{ord(char):04x}"
            if char in '"\\' or ord(char) < 32 or char == "\x7f"
            else char
        )
        for char in text
    )


def _literal(text: str) -> str:
    """What a literal string can hold of a text."""
    return "".join(char for char in text if char >= " " and char not in "'\x7f")


_TEXT: Final = st.text(
    st.one_of(
        st.sampled_from("ab \"'\\#=[]{},.\n\t"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=12,
)
_BASIC: Final = _TEXT.map(lambda text: f'"{_escaped(text)}"')
_LITERAL: Final = _TEXT.map(lambda text: f"'{_literal(text)}'")


def _block(text: str, end: str) -> str:
    return f'"""{_escaped(text)}\n"\\\\""{_escaped(text)}{end}"""'


def _literal_block(text: str, end: str) -> str:
    return f"'''\n{_literal(text)}''x{end}'''"


def _dotted(parts: list[str], dot: str) -> str:
    return dot.join(parts)


_BLOCK: Final = st.builds(_block, _TEXT, st.sampled_from(["", '"', '""']))
_LITERAL_BLOCK: Final = st.builds(
    _literal_block, _TEXT, st.sampled_from(["", "'", "''"])
)
_PLAIN: Final = st.sampled_from(
    (
        *("0", "-1", "1_000", "0xff", "1.5", "6e-3", "-inf", "nan", "true", "false"),
        *("1979-05-27", "07:32:00", "1979-05-27 07:32:00.5Z", "1979-05-27T07:32+01:00"),
    )
)
_BARE: Final = st.sampled_from(["a", "b", "c", "d-e", "1", "f_2"])
_PART: Final = st.one_of(_BARE, _BARE, _BASIC, _LITERAL)
_KEY: Final = st.builds(
    _dotted,
    st.lists(_PART, min_size=1, max_size=3),
    st.sampled_from([".", " . ", "\t."]),
)
_GAP: Final = st.sampled_from(["", " ", "\n", " # ]}\"'\n\t"])


def _array(values: list[str], gap: str, end: str) -> str:
    return f"[{gap}{f'{gap},{gap}'.join(values)}{end if values else ''}{gap}]"


def _inline_table(pairs: dict[str, str], gap: str, end: str) -> str:
    inside = f"{gap},{gap}".join(f"{key} = {value}" for key, value in pairs.items())
    return f"{{{gap}{inside}{end if pairs else ''}{gap}}}"


_VALUE: Final = st.recursive(
    st.one_of(_BASIC, _LITERAL, _BLOCK, _LITERAL_BLOCK, _PLAIN),
    lambda inner: st.one_of(
        st.builds(
            _array, st.lists(inner, max_size=3), _GAP, st.sampled_from(["", ","])
        ),
        st.builds(
            _inline_table,
            st.dictionaries(_KEY, inner, max_size=3),
            _GAP,
            st.sampled_from(["", ","]),
        ),
    ),
    max_leaves=6,
)
_STATEMENT: Final = st.one_of(
    st.builds("{} = {}".format, _KEY, _VALUE),
    st.builds("[ {} ]".format, _KEY),
    st.builds("[[{}]] # x".format, _KEY),
    st.just("# ]] = \"'"),
)


@given(st.lists(_STATEMENT, max_size=12))
@settings(deadline=None)
def test_every_random_valid_document_is_located(statements: list[str]) -> None:
    """The paths are tomli's, and what stands at each place reads as its value."""
    text = ""
    for statement in statements:
        longer = f"{text}{statement}\n"
        try:
            tomli.loads(longer)
        except tomli.TOMLDecodeError:
            continue
        text = longer
    _check(text)


@pytest.mark.parametrize(
    "text", ["", "a", "\n", "a = 1\n\nbc = 2", "\n\n\n", "ä\u2028\nb\r\n"]
)
def test_position_counts_lines_as_editors_do(text: str) -> None:
    """A line ends with a line feed only; the offset behind the text has a position too."""
    source = Source("a.toml", "a.toml", text)
    for offset in range(len(text) + 1):
        before = text[:offset]
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
        assert source.position(offset) == (line, column)


class _Scanned(str):
    """A text that notes how often its lines are counted."""

    __slots__ = ()
    counted: ClassVar[list[str]] = []

    def count(self, part: str, *_: object) -> int:
        """Note it, and count in the whole text."""
        self.counted.append(part)
        return super().count(part)


def test_position_does_not_count_the_lines_again() -> None:
    """A hundred thousand faults in one file are shown in linear time."""
    source = Source("a.toml", "a.toml", _Scanned("a = 1\n" * 1000))
    faults = [
        Fault(Code.NAME, SourceLocation(source, exact=TextSpan(at, at + 1)), f"{at}")
        for at in range(0, 6000, 6)
    ]
    lines = [fault.position[0] for fault in SchemaErrors(faults).faults]
    assert lines == [*range(1, 1001)]
    assert not _Scanned.counted
