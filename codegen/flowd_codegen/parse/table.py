"""One TOML table under a reader: typed access that reports what does not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted, visible
from flowd_codegen.diagnostics.suggest import did_you_mean

__all__ = ["EXTRA", "Table", "Toml", "example_of", "header_of", "kind_of", "written"]

Toml: TypeAlias = (
    "str | int | float | bool | datetime | date | time | list[Toml] | dict[str, Toml]"
)
"""A value as tomli gives it."""

EXTRA: Final = re.compile(r"x-[a-z0-9-]+\Z")
"""Keys of the user's own, in every table that has options."""

_BELOW: Final = {
    "enum": ' and `values = ["red", "green"]` below it',
    "record": " and its `fields` below it",
    "job": " and its `fields` below it",
    "mapper": " and `serialize`, `deserialize` below it",
}

_T = TypeVar("_T", str, int, bool)
_Choice = TypeVar("_Choice", bound=str)


def kind_of(value: Toml) -> str:
    """What TOML calls a value, with its article."""
    match value:
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int():
            return "an integer"
        case float():
            return "a float"
        case list():
            return "an array"
        case dict():
            return "a table"
        case datetime():
            return "a date with time"
        case date():
            return "a date"
        case time():
            return "a time"


def written(value: str) -> str:
    """A short text as TOML spells it, for advice."""
    escaped = visible(value.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'


def header_of(location: SourceLocation) -> str:
    """What stands in the brackets of a table: `job.Email.cron`."""
    return ".".join(visible(str(part)) for part in location.path)


def _are_tables(values: list[Toml]) -> bool:
    return bool(values) and all(isinstance(value, dict) for value in values)


@dataclass(frozen=True, slots=True)
class Table:
    """A table, its place, and where its faults go.

    Attributes:
        values: what tomli gave.
        location: of the table.
        report: takes the faults.
        short: the schema has only the first value, as in `to = "str"`.
    """

    values: Mapping[str, Toml]
    location: SourceLocation
    report: Report
    short: bool = False

    def at(self, key: str) -> SourceLocation:
        """The place of a value in this table."""
        return self.location if self.short else self.location.child(key)

    def text(self, key: str) -> str | None:
        """A string; None when absent or, reported, something else."""
        return self._typed(key, str, "a string")

    def integer(self, key: str) -> int | None:
        """An integer; None when absent or, reported, something else."""
        return self._typed(key, int, "an integer")

    def flag(self, key: str) -> bool:
        """A boolean; False when absent or, reported, something else."""
        return self._typed(key, bool, "a boolean") or False

    def choice(
        self, key: str, choices: tuple[_Choice, ...], default: _Choice, code: Code
    ) -> _Choice:
        """One of a few texts; the default when absent or, reported as `code`, another."""
        text = self.text(key)
        if text is None:
            return default
        for choice in choices:
            if text == choice:
                return choice
        known = ", ".join(f"`{choice}`" for choice in choices)
        message = f"{quoted(text)} is no rule for `{key}`"
        label = did_you_mean(text, choices, f"choose from {known}")
        self.report(code, self.at(key), message, label)
        return default

    def number(self, key: str) -> int | float | None:
        """An integer or float; None when absent or, reported, something else."""
        value = self.values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        if value is not None:
            self.wrong_kind(key, value, "a number")
        return None

    def texts(self, key: str, label: str = "") -> list[tuple[SourceLocation, str]]:
        """An array of strings, each with its place; what is no string is reported once.

        Args:
            key: of the array.
            label: what to write instead of something else.
        """
        values = self.values.get(key)
        if values is None:
            return []
        if not isinstance(values, list):
            self.wrong_kind(key, values, "an array of strings")
            return []
        for index, value in enumerate(values):
            if not isinstance(value, str):
                location = self.at(key).child(index)
                message = f"`{key}` must hold strings, not {kind_of(value)}"
                label = label or "put it in quotes"
                self.report(Code.WRONG_KIND, location, message, label)
                break
        return self.strings(key)

    def strings(self, key: str) -> list[tuple[SourceLocation, str]]:
        """The strings of an array, each with its place; nothing is reported."""
        values = self.values.get(key)
        return [
            (self.at(key).child(index), value)
            for index, value in enumerate(values if isinstance(values, list) else ())
            if isinstance(value, str)
        ]

    def text_or_flag(self, key: str) -> str | bool:
        """A string or boolean; False when absent or, reported, something else."""
        value = self.values.get(key, False)
        if isinstance(value, str | bool):
            return value
        self.wrong_kind(key, value, "a boolean or a reason")
        return False

    def table(self, key: str, example: str = "") -> Table:
        """A table; an empty one when absent or, reported, something else."""
        value = self.values.get(key)
        if isinstance(value, dict):
            return Table(value, self.at(key), self.report)
        if isinstance(value, list) and key in _BELOW:
            self.report(
                Code.WRONG_KIND,
                self.at(key),
                f"{quoted(key)} must be a table, not {kind_of(value)}",
                f"write `[{key}.Name]`{_BELOW[key]}",
            )
        elif isinstance(value, list) and _are_tables(value):
            header = header_of(self.at(key))
            self.report(
                Code.WRONG_KIND,
                self.at(key),
                f"{quoted(key)} must be one table, not an array of tables",
                f"write `[{header}]`, with single brackets",
            )
        elif value is not None:
            self.wrong_kind(key, value, "a table", example)
        return Table({}, self.at(key), self.report)

    def extra(self) -> dict[str, Toml]:
        """The `x-…` keys with their values; what JSON does not have is reported."""
        found = {key: value for key, value in self.values.items() if EXTRA.match(key)}
        for key, value in found.items():
            try:
                json.dumps(value, allow_nan=False).encode()
            except (TypeError, ValueError):
                self.wrong_kind(key, value, "a JSON value")
        return found

    def tables(
        self, key: str, broken: set[str] | None = None
    ) -> Iterator[tuple[str, Table]]:
        """The tables in a table, by name, as in `[job.Email]`, `[job.Crawl]`.

        Args:
            key: the table.
            broken: takes the names of what is no table.
        """
        named = self.table(key)
        for name, value in named.values.items():
            if isinstance(value, dict):
                yield name, Table(value, named.at(name), self.report)
            else:
                if broken is not None:
                    broken.add(name)
                self.report(
                    Code.WRONG_KIND,
                    named.at(name),
                    f"{key} {quoted(name)} must be a table, not {kind_of(value)}",
                    f"write `[{key}.{visible(name)}]`{_BELOW.get(key, '')}",
                )

    def refuse_others(
        self,
        known: Collection[str],
        what: str,
        refused: Mapping[str, tuple[Code, str]] = MappingProxyType({}),
        otherwise: str = "",
    ) -> None:
        """Report every key that is not `known`.

        Args:
            known: the keys there are.
            what: how a message calls one of them: `field option`.
            refused: words that people try, with a reason or advice for each.
            otherwise: advice for a key that is like none of the known.
        """
        for key in self.values:
            if key in known or EXTRA.match(key):
                continue
            code, label = refused.get(key, (Code.UNKNOWN_KEY, ""))
            notes: list[str] = []
            match code:
                case Code.REFUSED_KEY:
                    message = f"`{key}` is no {what}, on purpose"
                case _:
                    message = f"unknown {what} {quoted(key)}"
                    label = label or did_you_mean(key, known, otherwise)
                    if not label:
                        notes.append(f"known here: {', '.join(known)}")
            self.report(code, self.at(key).key(), message, label, *notes)

    def wrong_kind(
        self, key: str, value: Toml, wanted: str, example: str = "", label: str = ""
    ) -> None:
        """Report a value of another kind, with `label` or the key and what it may be."""
        text = example or example_of(value, wanted)
        self.report(
            Code.WRONG_KIND,
            self.at(key),
            f"{quoted(key)} must be {wanted}, not {kind_of(value)}",
            label or (f"write {quoted(f'{key} = {text}')}" if text else ""),
        )

    def _typed(self, key: str, kind: type[_T], wanted: str) -> _T | None:
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        self.wrong_kind(key, value, wanted)
        return None


_NUMERAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_LONGEST: Final = 40
"""So many characters of a value are repeated in advice."""

_EXAMPLES: Final = {
    "a string": '"…"',
    "an integer": "1",
    "a number": "1.5",
    "a boolean": "true",
    "an array": '["…"]',
    "an array of strings": '["…"]',
    "a table": "{ … }",
    "a date": "2026-01-31",
    "a date and time with an offset": "2026-01-31T12:00:00Z",
}


def example_of(value: Toml, wanted: str) -> str:
    """What to write: the value itself where only its notation is wrong, as 3 for `"3"`."""
    match wanted, value:
        case "an integer", bool() | float() | str():
            text = _whole(value)
        case "a number", str():
            text = value if _NUMERAL.fullmatch(value) else ""
        case "a boolean", str() if value.lower() in ("true", "false"):
            text = value.lower()
        case "a boolean", 0 | 1:
            text = "true" if value else "false"
        case "an array of strings" | "an array", str():
            text = _inside(value, "[") or f"[{written(value)}]"
        case "an array", dict() if not value:
            text = "[]"
        case "a table", str():
            text = _inside(value, "{")
        case "a table", list() if not value:
            text = "{}"
        case 'a string such as `"9.90"`', float():
            text = f'"{value}"'
        case "a string", date() | time():
            text = written(value.isoformat())
        case "a string", [str(one)]:
            text = written(one)
        case _:
            text = ""
    return text or _EXAMPLES.get(wanted, "")


def _whole(value: bool | float | str) -> str:
    """The integer that is meant, if it is one: 5 for 5.0 and for "5"."""
    match value:
        case str() if re.fullmatch(r"[+-]?[0-9]+", value):
            number = value
        case bool() | float() if value == value // 1:
            number = str(int(value))
        case _:
            return ""
    sign = "-" * number.startswith("-")
    return f"{sign}{number.lstrip('+-0') or '0'}"


def _inside(text: str, opening: str) -> str:
    """An array or table that stands in quotes, as TOML spells it; empty for none."""
    closing = {"[": "]", "{": "}"}[opening]
    inner = text.strip()
    if len(inner) > _LONGEST or not (inner[:1] == opening and inner[-1:] == closing):
        return ""
    import tomli  # noqa: PLC0415 - what was read with it holds this text

    try:
        tomli.loads(f"x = {inner}")
    except (ValueError, RecursionError):
        return ""
    return inner
