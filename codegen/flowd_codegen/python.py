"""Pieces of Python source: literals, long code broken as black breaks it, imports.

Every text from a schema enters a template through the literals here. Black keeps
arguments apart whose last one has a comma behind it, so what is laid out here passes
through black unchanged.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "WIDTH",
    "Bracket",
    "Choice",
    "Code",
    "Imports",
    "Named",
    "bytes_literal",
    "docstring",
    "flat",
    "lay_out",
    "text_literal",
]


def text_literal(text: str) -> str:
    """A string literal in one line; what cannot be seen, or moves text, is escaped."""
    return _quoted_as_black(repr(text))


def bytes_literal(raw: bytes) -> str:
    """A bytes literal in one line of ASCII."""
    return f"b{_quoted_as_black(repr(raw)[1:])}"


def docstring(text: str, indent: int) -> str:
    """A docstring for code indented by that much."""
    pad = " " * indent
    lines = [_readable(line) for line in inspect.cleandoc(text).split("\n")]
    body = "\n".join(f"{pad}{line}" if line else "" for line in lines).strip()
    body = body.replace('"""', '\\"\\"\\"')
    # A quote beside the delimiter would join it; black too puts a blank there.
    before = " " if body.startswith('"') else ""
    after = f"\n{pad}" if "\n" in body else " " if body.endswith('"') else ""
    return f'"""{before}{body}{after}"""'


def _readable(line: str) -> str:
    return "".join(
        char if char.isprintable() and char != "\\" else _escaped(char)
        for char in line.rstrip()
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _quoted_as_black(literal: str) -> str:
    """Prefer double quotes where they need no more backslashes than single ones."""
    body = literal[1:-1]
    if literal[0] == "'":
        double = body.replace("\\'", "'").replace('"', '\\"')
        if double.count("\\") <= body.count("\\"):
            return f'"{double}"'
    return literal


WIDTH: Final = 88
"""Black's own line length; no file of the user's changes what is generated."""

_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Bracket:
    """`head` with an opening bracket at its end, arguments, closing bracket, `tail`.

    `spread` asks for one argument to a line even where one line would do.
    """

    head: str
    arguments: tuple[Code, ...]
    tail: str = ""
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """An argument with `name=` or `key: ` in front."""

    name: str
    value: Code


@dataclass(frozen=True, slots=True)
class Choice:
    """`value if condition else other`."""

    value: Code
    condition: str
    other: Code


Code: TypeAlias = str | Bracket | Named | Choice


def flat(code: Code) -> str:
    """The code in one line."""
    match code:
        case str():
            return code
        case Bracket(head, arguments, tail):
            inside = ", ".join(flat(argument) for argument in arguments)
            comma = "," if head == "(" and len(arguments) == 1 else ""
            return f"{head}{inside}{comma}{_CLOSING[head[-1]]}{tail}"
        case Named(name, value):
            return f"{name}{flat(value)}"
        case Choice(value, condition, other):
            return f"{flat(value)} if {condition} else {flat(other)}"


def lay_out(code: Code, indent: int, before: str = "", after: str = "") -> str:
    """The code between `before` and `after`, which share its first and last line.

    Only the lines that follow the first are indented.
    """
    line = f"{before}{flat(code)}{after}"
    spread = isinstance(code, Bracket) and code.spread
    if indent + len(line) <= WIDTH and not spread:
        return line
    pad = " " * (indent + 4)
    end = " " * indent
    match code:
        case str() | Bracket(arguments=()):
            return line
        case Named(name, value):
            return lay_out(value, indent, f"{before}{name}", after)
        case Bracket(head, arguments, tail):
            inside = "".join(
                f"{pad}{lay_out(argument, indent + 4, after=',')}\n"
                for argument in arguments
            )
            return f"{before}{head}\n{inside}{end}{_CLOSING[head[-1]]}{tail}{after}"
        case Choice(value, condition, other):
            inside = flat(code)
            if len(pad) + len(inside) > WIDTH:
                first = lay_out(value, indent + 4)
                last = lay_out(other, indent + 4, "else ")
                inside = f"{first}\n{pad}if {condition}\n{pad}{last}"
            return f"{before}(\n{pad}{inside}\n{end}){after}"


_STDLIB: Final = frozenset(
    ("collections.abc", "dataclasses", "datetime", "decimal", "enum", "typing", "uuid")
)


class Imports:
    """Gives every imported thing its own name, or one with `_` behind where taken."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._names: dict[tuple[str, str], str] = {}

    def name(self, module: str, path: str) -> str:
        """Import the first part of `path` from `module`; return what to write for it.

        A sibling module is given with dots in front.
        """
        first, dot, rest = path.partition(".")
        known = self._names.get((module, first))
        if known is None:
            known = self.reserve(first)
            self._names[module, first] = known
        return f"{known}{dot}{rest}"

    def reserve(self, name: str) -> str:
        """Take a name for the module's own use."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def groups(self) -> list[list[str]]:
        """Import statements: the standard library's, then packages', then siblings'."""
        groups: list[list[str]] = [[], [], []]
        for module in sorted({module for module, _ in self._names}):
            kind = 2 if module.startswith(".") else int(module not in _STDLIB)
            names = {name: to for (at, name), to in self._names.items() if at == module}
            groups[kind].append(_statement(module, names))
        return [group for group in groups if group]


def _statement(module: str, names: Mapping[str, str]) -> str:
    parts = tuple(
        name if name == names[name] else f"{name} as {names[name]}"
        for name in sorted(names, key=_order)
    )
    line = f"from {module} import {', '.join(parts)}"
    long = Bracket(f"from {module} import (", parts)
    return line if len(line) <= WIDTH else lay_out(long, 0)


def _order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions, as import sorters want it."""
    return (not name.isupper(), not name[0].isupper(), name)
