"""Where something is written: every key and value of a TOML text, and places in it.

tomli gives values without places. The locator reads a text that tomli has already
accepted, so it has no error handling, and it gives only offsets, no values.
Places are cheap: they name a path in the document, and only a fault that is shown asks
for the line. The text is searched then, once per file.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "LONG_STRING",
    "KeyValueSpan",
    "Source",
    "SourceLocation",
    "TextSpan",
    "TomlPath",
    "locate",
]

TomlPath: TypeAlias = tuple[str | int, ...]
"""Keys and array indices from the root of a document down to a value."""

_BLANK: Final = re.compile(r"[ \t]*")
_BLANK_LINES: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
# There is one way only to match a text, so that one that is not closed takes linear time.
# Nothing possessive: Python before 3.11.5 matches that wrongly. Up to two quotes of the
# content may touch the closing three.
_BASIC: Final = r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"{3,5}'
_LITERAL: Final = r"'''[^']*(?:'(?!'')[^']*)*'{3,5}"
LONG_STRING: Final = f"{_BASIC}|{_LITERAL}"
"""A pattern for a text in three quotes; with `re.DOTALL`."""

_STRING: Final = re.compile(
    "|".join((LONG_STRING, r'"[^"\\]*(?:\\.[^"\\]*)*"', r"'[^']*'")), re.DOTALL
)
_KEY_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_SCALAR: Final = re.compile(r"[^,\]}\r\n#]+")
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_ESCAPED: Final = {
    "b": "\b",
    "t": "\t",
    "n": "\n",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
    '"': '"',
    "\\": "\\",
}


class TextSpan(NamedTuple):
    """Offsets into a text: the first character and the one past the last."""

    start: int
    end: int


class KeyValueSpan(NamedTuple):
    """Where a key and its value are; an array's element has its value's span twice.

    The value of a `[table]` is its header. A table that only dotted keys or deeper
    headers imply has the span of that key twice.
    """

    key: TextSpan
    value: TextSpan


def locate(text: str) -> dict[TomlPath, KeyValueSpan]:
    """Give the place of every key, value and array element of a valid TOML text."""
    return _SpanFinder(text).document()


class _SpanFinder:
    def __init__(self, text: str) -> None:
        self.text = text
        self.spans: dict[TomlPath, KeyValueSpan] = {}
        self.last_index: dict[TomlPath, int] = {}

    def document(self) -> dict[TomlPath, KeyValueSpan]:
        table: TomlPath = ()
        at = self.skip(_BLANK_LINES, 0)
        while at < len(self.text):
            if self.text[at] == "[":
                table, at = self.header(at)
            else:
                at = self.pair(at, table)
            at = self.skip(_BLANK_LINES, at)
        return self.spans

    def header(self, start: int) -> tuple[TomlPath, int]:
        brackets = 2 if self.text.startswith("[[", start) else 1
        parts, at = self.key(start + brackets)
        header = TextSpan(start, at + brackets)
        path: TomlPath = ()
        for name, span in parts[:-1]:
            path = (*path, name)
            self.spans.setdefault(path, KeyValueSpan(span, span))
            if path in self.last_index:
                path = (*path, self.last_index[path])
        name, span = parts[-1]
        path = (*path, name)
        if brackets == 1:
            self.spans[path] = KeyValueSpan(span, header)
        else:
            self.spans.setdefault(path, KeyValueSpan(span, header))
            self.last_index[path] = self.last_index.get(path, -1) + 1
            path = (*path, self.last_index[path])
            self.spans[path] = KeyValueSpan(span, header)
        return path, header.end

    def pair(self, at: int, table: TomlPath) -> int:
        parts, at = self.key(at)
        path = table
        for name, span in parts:
            path = (*path, name)
            self.spans.setdefault(path, KeyValueSpan(span, span))
        start = self.skip(_BLANK, at + 1)
        end = self.value(start, path)
        self.spans[path] = KeyValueSpan(parts[-1][1], TextSpan(start, end))
        return end

    def value(self, at: int, path: TomlPath) -> int:
        match self.text[at]:
            case '"' | "'":
                return self.skip(_STRING, at)
            case "[":
                return self.array(at, path)
            case "{":
                return self.inline_table(at, path)
            case _:
                return at + len(self.matched(_SCALAR, at).rstrip())

    def array(self, at: int, path: TomlPath) -> int:
        index = 0
        at = self.skip(_BLANK_LINES, at + 1)
        while self.text[at] != "]":
            end = self.value(at, (*path, index))
            self.spans[*path, index] = KeyValueSpan(
                TextSpan(at, end), TextSpan(at, end)
            )
            index += 1
            at = self.comma(end)
        return at + 1

    def inline_table(self, at: int, path: TomlPath) -> int:
        at = self.skip(_BLANK_LINES, at + 1)
        while self.text[at] != "}":
            at = self.comma(self.pair(at, path))
        return at + 1

    def comma(self, at: int) -> int:
        at = self.skip(_BLANK_LINES, at)
        return self.skip(_BLANK_LINES, at + 1) if self.text[at] == "," else at

    def key(self, at: int) -> tuple[list[tuple[str, TextSpan]], int]:
        parts: list[tuple[str, TextSpan]] = []
        while True:
            start = self.skip(_BLANK, at)
            token = self.matched(_KEY_PART, start)
            end = start + len(token)
            parts.append((_unquoted(token), TextSpan(start, end)))
            at = self.skip(_BLANK, end)
            if self.text[at] != ".":
                return parts, at
            at += 1

    def skip(self, pattern: re.Pattern[str], at: int) -> int:
        return at + len(self.matched(pattern, at))

    def matched(self, pattern: re.Pattern[str], at: int) -> str:
        found = pattern.match(self.text, at)
        return found[0] if found else ""


def _unquoted(token: str) -> str:
    match token[0]:
        case '"':
            return _ESCAPE.sub(_unescaped, token[1:-1])
        case "'":
            return token[1:-1]
        case _:
            return token


def _unescaped(match: re.Match[str]) -> str:
    digits = match[1] or match[2] or match[3]
    return chr(int(digits, 16)) if digits else _ESCAPED[match[4]]


@dataclass(frozen=True)
class Source:
    """One schema file, read.

    Attributes:
        path: relative to the schema folder, with `/`: `shop/crawl.toml`.
        shown: how a person standing where the command runs would write it.
        text: without byte order mark, lines ended by a line feed only.
    """

    path: str
    shown: str
    text: str = ""

    @cached_property
    def spans(self) -> dict[TomlPath, KeyValueSpan]:
        """Every key's and value's place; ask only when tomli accepts the text."""
        return locate(self.text)

    @cached_property
    def _lines(self) -> list[int]:
        """The offset at which each line begins."""
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1, counted in characters."""
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A key or a value in a source, or a part of a string.

    Attributes:
        source: the file.
        path: the way to it in the document.
        on_key: the key is meant, not the value.
        part: offsets within a string value.
        exact: offsets within the file, which needs no search.
    """

    source: Source
    path: TomlPath = ()
    on_key: bool = False
    part: TextSpan | None = None
    exact: TextSpan | None = None

    @property
    def whole_file(self) -> bool:
        """The file as such is meant, nothing in it."""
        return not self.path and self.exact is None

    def child(self, key: str | int) -> SourceLocation:
        """The value below this one."""
        return SourceLocation(self.source, (*self.path, key))

    def key(self) -> SourceLocation:
        """The key of this value."""
        return replace(self, on_key=True, part=None)

    def within(self, start: int, end: int) -> SourceLocation:
        """A part of this string value."""
        return replace(self, part=TextSpan(start, end))

    def span(self) -> TextSpan:
        """Offsets in the file; of the nearest thing around it when it is not there."""
        if self.exact:
            return self.exact
        if not self.path:
            return TextSpan(0, 0)
        spans = self.source.spans
        path = self.path
        while path and path not in spans:
            path = path[:-1]
        if not path:
            return TextSpan(0, 0)
        found = spans[path]
        if self.on_key or path != self.path:
            return found.key
        return self._part_of(found.value) if self.part else found.value

    def _part_of(self, value: TextSpan) -> TextSpan:
        """The part's place, or the whole value where escapes have moved it."""
        assert self.part is not None
        written = self.source.text[value.start : value.end]
        quotes = 3 if written[:3] in ('"""', "'''") else 1
        if "\\" in written or "\n" in written or self.part.end <= self.part.start:
            return value
        start = value.start + quotes
        return TextSpan(start + self.part.start, start + self.part.end)
