"""Pieces of Python source: literals, calls, imports; each in one line, which black breaks.

Every text from a schema enters a template through the literals here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = [
    "WIDTH",
    "Imports",
    "bracket",
    "bytes_literal",
    "docstring",
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
    # A quote next to the delimiter would join it; black puts a blank there too.
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


def bracket(head: str, arguments: Iterable[str], *, spread: bool = False) -> str:
    """`head`, which ends with an opening bracket, arguments, and the closing bracket.

    Args:
        head: as `Decimal(` or `[`.
        arguments: what stands inside.
        spread: a comma behind the last one, for which black writes one to a line.
    """
    inside = [*arguments]
    comma = "," if inside and (spread or (head == "(" and len(inside) == 1)) else ""
    return f"{head}{', '.join(inside)}{comma}{_CLOSING[head[-1]]}"


_STDLIB: Final = frozenset(
    (
        "",
        "collections.abc",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "typing",
        "uuid",
    )
)


class Imports:
    """Gives every imported thing its own name, or one with `_` behind where taken."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._names: dict[tuple[str, str], str] = {}

    def name(self, module: str, path: str) -> str:
        """Import the first part of `path` from `module`; return what to write for it.

        A sibling module is given with dots in front. With no `module`, a module of the
        standard library is imported itself.
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
            groups[kind] += _statements(module, names)
        return [group for group in groups if group]


def _statements(module: str, names: Mapping[str, str]) -> list[str]:
    """One for all that keep their names, and one for each that does not, as sorters do."""
    ordered = sorted(names, key=_order)
    parts = [[name] for name in ordered if names[name] != name]
    if kept := [name for name in ordered if names[name] == name]:
        parts.append(kept)
    start = f"from {module} import" if module else "import"
    return [
        f"{start} {', '.join(_renamed(name, names[name]) for name in part)}"
        for part in sorted(parts, key=lambda part: _order(part[0]))
    ]


def _renamed(name: str, to: str) -> str:
    return name if name == to else f"{name} as {to}"


def _order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions, as import sorters want it."""
    return (not name.isupper(), not name[0].isupper(), name)
