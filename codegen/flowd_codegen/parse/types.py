"""The type grammar: `list[Attachment]?` as a model type.

type := base ["?"] | Name ("|" Name)+ ["?"]
base := scalar | "list[" type "]" | "dict[str, " type "]" | Name | module ":" Name
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NoReturn

from flowd_codegen.diagnostics.foreign import type_advice
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Fault, Report, quoted
from flowd_codegen.diagnostics.suggest import did_you_mean, translate_type
from flowd_codegen.model.kinds import (
    DictOf,
    EnumRef,
    External,
    ListOf,
    Optional,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
)
from flowd_codegen.model.naming import CLASS_NAME
from flowd_codegen.model.scalars import INTEGERS, TAG
from flowd_codegen.parse.mappers import split_reference
from flowd_codegen.parse.scope import Scope

__all__ = ["SCALARS", "parse_type"]

SCALARS: Final = (
    *("str", "bytes", "bool", "float", "decimal", "uuid"),
    *("datetime", "date", "duration", "json", "int"),
    *INTEGERS,
)
"""The names of the built-in types."""

_MAX_DEPTH: Final = 16

_BLANK: Final = re.compile(r"\s*")
_WORD: Final = re.compile(r"[\w.:-]+")


def parse_type(
    text: str, location: SourceLocation, scope: Scope, report: Report
) -> Type | None:
    """Read a type; None when it has a fault, which is reported."""
    plain = text.removesuffix("?")
    if plain in SCALARS:
        scalar = Scalar(plain)
        return scalar if plain == text else Optional(scalar)
    trial = Report()
    found = _TypeReader(text, location, scope, trial).whole()
    if trial.faults:
        spelling = translate_type(text, SCALARS, scope.types())
        second = Report()
        if spelling and _TypeReader(spelling, location, scope, second).whole():
            first = trial.faults[0]
            broken = first.code in (Code.TYPE_SYNTAX, Code.UNION)
            message = f"unknown type {quoted(text)}" if broken else first.message
            label = f"flowd spells this `{spelling}`"
            report(Code.UNKNOWN_TYPE, location, message, label)
        elif (label := type_advice(plain)) and _is_foreign(plain, trial.faults):
            report(Code.UNKNOWN_TYPE, location, f"unknown type {quoted(text)}", label)
        else:
            # Once the text stops being a type, what came before is a guess.
            broken = trial.faults[-1].code == Code.TYPE_SYNTAX
            report.faults += trial.faults[-1:] if broken else trial.faults
    return found


def _is_foreign(plain: str, faults: list[Fault]) -> bool:
    """Whether nothing is wrong but words that flowd does not have."""
    if plain in ("list", "dict"):
        return False
    known = (Code.JOB_AS_TYPE, Code.REFERENCE)
    return not any(fault.code in known for fault in faults)


def _foreign(word: str) -> str:
    """The name of a letter that only looks like one of a type's; empty for none."""
    letter = next((char for char in word if not char.isascii()), "")
    name = unicodedata.name(letter, "") if letter else ""
    return f"it has a {name}; types are spelled in ASCII" if name else ""


class _Unreadable(Exception):
    """The text stops being a type here; already reported."""


class _TypeReader:
    """Recursive descent over one type text."""

    def __init__(
        self, text: str, location: SourceLocation, scope: Scope, report: Report
    ) -> None:
        self.text = text
        self.location = location
        self.scope = scope
        self.report = report
        self.at = 0

    def whole(self) -> Type | None:
        try:
            found = self.type(1)
            if self.at < len(self.text):
                rest = self.text[self.at :]
                self.fail(f"unexpected {quoted(rest)} after the type", len(rest))
        except _Unreadable:
            return None
        return found

    def type(self, depth: int) -> Type | None:
        self.skip()
        if depth > _MAX_DEPTH:
            self.fail(
                f"a type nests at most {_MAX_DEPTH} deep", 1, "use a `[record.…]`"
            )
        start = self.at
        found = self.single(depth)
        if self.skipped("|"):
            self.at = start
            found = self.union(depth)
        if not self.skipped("?"):
            return found
        if self.skipped("?"):
            self.at -= 1
            self.fail("a type is optional once", 1, "one `?` is enough")
        if self.skipped("|"):
            self.at -= 1
            self.fail("a union is optional as a whole", 1, "write `Card | Sepa?`")
        return Optional(found) if found else None

    def single(self, depth: int) -> Type | None:
        start = self.at
        word = self.word()
        match word:
            case "list":
                self.expect("[", "`list` needs the type of its items", "list[str]")
                item = self.type(depth + 1)
                self.expect("]", "`]` is missing", f"{self.text[: self.at].strip()}]")
                return ListOf(item) if item else None
            case "dict":
                return self.dict(depth)
            case _:
                return self.named(word, start)

    def union(self, depth: int) -> Type | None:
        """Read records with `|` between them, from the first one on."""
        names: list[str] = []
        before = len(self.report.faults)
        while True:
            self.skip()
            start = self.at
            found = self.single(depth)
            location = self.location.within(start, self.at)
            shown = quoted(self.text[start : self.at].strip())
            match found:
                case None:
                    pass
                case RecordRef(name) if name in names:
                    self.report(Code.UNION, location, f"{shown} is a member twice")
                case RecordRef(name):
                    names.append(name)
                case _:
                    label = "put it into a `[record.…]`, or use `json`"
                    message = f"{shown} in a union, whose members are records"
                    self.report(Code.UNION, location, message, label)
            if not self.skipped("|"):
                break
        if len(self.report.faults) > before or len(names) < 2:
            return None
        return UnionOf(tuple((self.scope.tags[name], name) for name in names), TAG)

    def dict(self, depth: int) -> Type | None:
        example = "dict[str, str]"
        self.expect("[", "`dict` needs the type of its values", example)
        self.skip()
        start = self.at
        key = self.word()
        if key != "str":
            self.at = start
            label = f"write `str`, as in `{example}`: JSON has no others"
            self.fail("keys of a dict are `str`", len(key), label)
        self.expect(",", "`dict` needs the type of its values", example)
        value = self.type(depth + 1)
        self.expect("]", "`]` is missing", f"{self.text[: self.at]}]")
        return DictOf(value) if value else None

    def named(self, word: str, start: int) -> Type | None:
        if word in SCALARS:
            return Scalar(word)
        if reference := split_reference(word):
            return External(*reference)
        declaration = self.scope.classes.get(word)
        if declaration is None:
            self.unknown(word, start)
            return None
        match declaration.kind:
            case "enum":
                return EnumRef(word)
            case "record":
                return RecordRef(word)
            case "job" | "group" as kind:
                self.report(
                    Code.JOB_AS_TYPE,
                    self.location.within(start, start + len(word)),
                    f"`{word}` is a {kind}, not a type",
                    (
                        "put what both share into a `[record.…]`"
                        if kind == "job"
                        else f'`include = ["{word}"]` puts in its fields'
                    ),
                    also=(declaration.location.key(), "declared here"),
                )
                return None

    def unknown(self, word: str, start: int) -> None:
        if word in self.scope.broken or (
            not self.scope.complete and CLASS_NAME.fullmatch(word)
        ):
            return
        location = self.location.within(start, start + len(word))
        inside = "" if self.text.strip(" ?") == word else f" in {quoted(self.text)}"
        message = f"unknown type {quoted(word)}{inside}"
        if ":" in word:
            self.report(
                Code.REFERENCE,
                location,
                f"{quoted(word)} does not name a class",
                "write `module:Name`, as in `shop.geo:Point`",
            )
        elif CLASS_NAME.fullmatch(word):
            types = self.scope.types()
            label = did_you_mean(word, types, _foreign(word) or "nothing has this name")
            note = f"enums and records in scope: {', '.join(types[:20]) or 'none'}"
            self.report(Code.UNKNOWN_NAME, location, message, label, note)
        else:
            note = f"built-in types: {' '.join(SCALARS)} list[…] dict[str, …]"
            self.report(Code.UNKNOWN_TYPE, location, message, _foreign(word), note)

    def word(self) -> str:
        found = _WORD.match(self.text, self.at)
        if found is None:
            here = self.text[self.at : self.at + 1]
            in_union = here == "|" or self.text[: self.at].rstrip().endswith("|")
            self.fail(
                (
                    f"a type is missing before {quoted(here)}"
                    if here
                    else "a type is missing"
                ),
                1,
                (
                    "write a record, as in `Card | Sepa`"
                    if in_union
                    else "write one, as in `str`, `list[str]` or `dict[str, str]`"
                ),
            )
        self.at = found.end()
        return found[0]

    def expect(self, char: str, message: str, example: str = "") -> None:
        if not self.skipped(char):
            self.fail(message, 1, f"write `{example}`" if example else "")

    def skipped(self, char: str) -> bool:
        self.skip()
        there = self.text.startswith(char, self.at)
        self.at += there
        return there

    def skip(self) -> None:
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def fail(self, message: str, length: int, label: str = "") -> NoReturn:
        end = min(self.at + length, len(self.text))
        start = min(self.at, end)
        location = self.location.within(start, end) if start < end else self.location
        self.report(Code.TYPE_SYNTAX, location, message, label)
        raise _Unreadable
