"""Faults and warnings: what is wrong in which place, and what would be right.

schemas/email.toml:5:27: error[E102]: unknown field option `max_length`
  |
5 | to      = { type = "str", max_length = 10 }
  |                           ^^^^^^^^^^ did you mean `max_len`?
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from flowd.errors.portable import Portable
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.rules import Rule

__all__ = [
    "Code",
    "Fault",
    "Report",
    "SchemaErrors",
    "Severity",
    "github_line",
    "json_line",
    "quoted",
    "visible",
]


class Code(StrEnum):
    """E1 structure, E2 types, E3 values, E4 names and files, E5 Rust; W warnings."""

    SYNTAX = "E101"
    UNKNOWN_KEY = "E102"
    WRONG_KIND = "E103"
    MISSING_KEY = "E104"
    LANGUAGE_VERSION = "E105"
    TOO_MANY_FIELDS = "E106"
    REFUSED_KEY = "E107"

    UNKNOWN_TYPE = "E201"
    UNKNOWN_NAME = "E202"
    TYPE_SYNTAX = "E203"
    JOB_AS_TYPE = "E204"
    MAPPER_NEEDED = "E205"
    UNKNOWN_MAPPER = "E206"
    CIRCULAR_RECORDS = "E207"
    REFERENCE = "E208"
    UNION = "E209"
    GROUP = "E210"
    TOO_DEEP = "E211"

    DEFAULT_MISFIT = "E301"
    DEFAULT_ON_OPTIONAL = "E302"
    DEFAULT_TWICE = "E303"
    DEFAULT_OUT_OF_BOUNDS = "E304"
    CONSTRAINT_MISFIT = "E305"
    CONSTRAINT_IMPOSSIBLE = "E306"
    PATTERN = "E307"
    ENCODING = "E308"
    ONE_OF = "E309"
    ENUM_VALUES = "E310"
    DURATION = "E311"
    POLICY = "E312"
    VERSION = "E313"
    WAIVER = "E314"
    SCHEDULE = "E315"
    GATE = "E316"
    LABEL = "E317"

    NAME = "E401"
    NAME_TAKEN = "E402"
    DECLARED_TWICE = "E403"
    ATTRIBUTE_TWICE = "E404"
    WIRE_KEY = "E405"
    WIRE_KEY_TWICE = "E406"
    WIRE_KEY_RESERVED = "E407"
    STREAM_TWICE = "E408"
    IMPORT_CYCLE = "E409"
    MODULE_NAME = "E410"
    MODULE_TWICE = "E411"
    LINK = "E412"
    NOT_TEXT = "E413"
    TOO_LARGE = "E414"
    NOTHING_TO_READ = "E415"
    LOCK = "E416"
    REVISION = "E417"
    MIGRATION = "E418"
    REMOVED = "E419"

    RUST_KEY = "E501"
    RUST_TYPE = "E502"
    RUST_NAME = "E503"

    NOTHING_DECLARED = "W101"
    MAPPER_UNUSED = "W102"
    WAIVER_UNUSED = "W103"
    STUB = "W104"
    SLOW_PATTERN = "W105"
    PATTERN_UNBOUNDED = "W106"


Severity: TypeAlias = Literal["error", "breaking", "warning", "note"]
"""Errors and what breaks a contract change the exit code, the others never."""

_MAX_FAULTS: Final = 50
_MAX_WIDTH: Final = 160
_MAX_BEFORE: Final = 60
_MAX_QUOTED: Final = 60


def visible(text: str) -> str:
    """Escape what a terminal would interpret or hide: controls, bidi marks, blanks."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def quoted(text: str) -> str:
    """A text of the schema in a message: visible, cut, in backticks."""
    if not text:
        return '`""`'
    shown = visible(text[: _MAX_QUOTED + 1])
    return f"`{shown}`" if len(text) <= _MAX_QUOTED else f"`{shown[:_MAX_QUOTED]}…`"


def _snippet(location: SourceLocation, label: str, *, mark: str = "^") -> list[str]:
    """Draw the line of a location, marks under it, and the label behind them.

    Only the first line of a longer span is drawn, and only a window of a long line.
    """
    source, span = location.source, location.span()
    text = source.text
    number, column = source.position(span.start)
    begin = span.start - column + 1
    end = text.find("\n", begin)
    line = text[begin:] if end < 0 else text[begin:end]
    first = column - 1
    last = max(first + 1, min(span.end - begin, len(line)))
    cut_left = max(0, first - _MAX_BEFORE) if len(line) > _MAX_WIDTH else 0
    cut_right = min(len(line), cut_left + _MAX_WIDTH)
    last = min(last, max(cut_right, first + 1))

    before = _shown("…" if cut_left else "", line[cut_left:first])
    meant = _shown("", line[first:last])
    after = _shown("", line[last:cut_right]) + ("…" if cut_right < len(line) else "")
    margin = " " * len(str(number))
    pad = "".join(char if char == "\t" else " " * _cells(char) for char in before)
    marks = mark * max(1, sum(map(_cells, meant.expandtabs(1))))
    tail = f" {label}" if label else ""
    return [
        f"{margin} |",
        f"{number} | {before}{meant}{after}".rstrip(),
        f"{margin} | {pad}{marks}{tail}",
    ]


def _shown(prefix: str, text: str) -> str:
    # Tabs stay, and stay in the padding below them, so that both lines agree.
    return prefix + "\t".join(map(visible, text.split("\t")))


def _cells(char: str) -> int:
    """How many cells of a terminal a printable character takes."""
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, or warning, of a schema; `str()` is the whole text for a terminal.

    Attributes:
        code: stable; its text is `E201`, `W101` or a rule's.
        location: where. At the root of a file: the file as a whole.
        message: what is wrong, one line.
        label: what would be right, printed after the caret.
        notes: further lines.
        also: a second place that takes part, with its label.
        severity: how bad it is.
    """

    code: Code | Rule
    location: SourceLocation
    message: str
    label: str = ""
    notes: tuple[str, ...] = ()
    also: tuple[SourceLocation, str] | None = None
    severity: Severity = "error"

    @property
    def path(self) -> str:
        """The file, as the person who ran the command would write it."""
        return self.location.source.shown

    @property
    def position(self) -> tuple[int, int]:
        """Line and column from 1, in characters."""
        return self.location.source.position(self.location.span().start)

    def __str__(self) -> str:
        headline = f"{_address(self.location)}: {self.severity}[{self.code}]"
        lines = [f"{headline}: {self.message}"]
        notes = self.notes
        if self.location.whole_file:
            notes = (self.label, *notes) if self.label else notes
        else:
            lines += _snippet(self.location, self.label)
        if self.also:
            location, label = self.also
            lines.append(f" ::: {_address(location)}")
            if location.whole_file:
                lines.append(f"  = {label}")
            else:
                lines += _snippet(location, label, mark="-")
        return "\n".join([*lines, *(f"  = {note}" for note in notes)])


@dataclass(slots=True)
class Report:
    """Collects faults while reading continues, so that one run shows them all."""

    faults: list[Fault] = field(default_factory=list[Fault])

    def __call__(
        self,
        code: Code,
        location: SourceLocation,
        message: str,
        label: str = "",
        *notes: str,
        also: tuple[SourceLocation, str] | None = None,
    ) -> None:
        """Add one."""
        self.faults.append(Fault(code, location, message, label, notes, also))


def _once(faults: Iterable[Fault]) -> Iterable[Fault]:
    found: dict[tuple[Code | Rule, SourceLocation, str], Fault] = {}
    for fault in faults:
        found.setdefault((fault.code, fault.location, fault.message), fault)
    return found.values()


class SchemaErrors(Portable):
    """The schemas are invalid; `str()` shows the first 50 faults.

    Attributes:
        faults: all, sorted by file, line and column.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        # A table that is read twice has its faults once.
        self.faults = tuple(
            sorted(_once(faults), key=lambda fault: (fault.path, fault.position))
        )
        super().__init__(f"{len(self.faults)} faults in the schemas")

    def __str__(self) -> str:
        shown = "\n".join(str(fault) for fault in self.faults[:_MAX_FAULTS])
        if (count := len(self.faults)) <= _MAX_FAULTS:
            return shown
        return f"{shown}\n{count} errors; the first {_MAX_FAULTS} are shown"


def _address(location: SourceLocation) -> str:
    line, column = location.source.position(location.span().start)
    return f"{visible(location.source.shown)}:{line}:{column}"


def json_line(fault: Fault, **more: object) -> str:
    """One object with path, line, column, severity, code, message, label, notes."""
    line, column = fault.position
    return json.dumps(
        {
            "path": fault.path,
            "line": line,
            "column": column,
            "severity": fault.severity,
            "code": str(fault.code),
            "message": fault.message,
            "label": fault.label,
            "notes": fault.notes,
            **more,
        }
    )


_GITHUB: Final[dict[Severity, str]] = {
    "error": "error",
    "breaking": "error",
    "warning": "warning",
    "note": "notice",
}


def github_line(fault: Fault) -> str:
    """A workflow command that annotates the line of the fault in a pull request."""
    line, column = fault.position
    path = _escaped(fault.path).replace(":", "%3A").replace(",", "%2C")
    location = f"file={path},line={line},col={column},title={fault.code}"
    parts = [fault.message, fault.label, *fault.notes]
    message = "; ".join(part for part in parts if part)
    return f"::{_GITHUB[fault.severity]} {location}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
