"""Names: which are allowed, what Python calls them, and which modules they become."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from flowd_codegen.diagnostics.location import Source, SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted, visible

__all__ = [
    "CLASS_NAME",
    "FIELD_NAME",
    "MEMBER_NAME",
    "MODULE_PART",
    "RESERVED_CLASSES",
    "attribute",
    "check_name",
    "class_name",
    "member_name",
    "module_names",
    "snake_case",
    "version_name",
]

CLASS_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
"""Jobs, records and enums."""

FIELD_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""Fields and mappers."""

MEMBER_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
"""Members of an enum."""

MODULE_PART: Final = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
"""Each part of a Python module's path, and of a `module:function` reference.

Two leading underscores are left out: Python renames such names inside a class.
"""

RESERVED_CLASSES: Final = frozenset(("Exception", "False", "None", "SPEC", "True"))
"""Names that generated code uses and cannot import under another name."""

_RESERVED_ATTRIBUTES: Final = frozenset(
    [
        "bool",
        "bytes",
        "classmethod",
        "dict",
        "float",
        "from_fields",
        "from_json",
        "int",
        "list",
        "str",
        "to_fields",
        "to_json",
    ]
)
"""Names that a generated class uses in its body and cannot import under another."""

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9]+")


def attribute(name: str) -> str:
    """The Python attribute of a field: its name, with `_` behind where that is taken."""
    taken = keyword.iskeyword(name) or name in _RESERVED_ATTRIBUTES
    return f"{name}_" if taken else name


def snake_case(name: str) -> str:
    """`HTTPFetchPage` as `http_fetch_page`."""
    return _WORD_START.sub("_", name).lower()


def version_name(job: str, version: int | None) -> str:
    """The class of one version of a job: `CrawlV1`."""
    return f"{job}V{version}"


def class_name(text: str) -> str | None:
    """A class name as near as possible to `text`, None when there is none."""
    words = _NOT_IN_NAME.sub(" ", text).split()
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if CLASS_NAME.fullmatch(name) else None


def _field_name(text: str) -> str | None:
    """A field name as near as possible to `text`, None when there is none."""
    name = snake_case("_".join(_NOT_IN_NAME.sub(" ", text).split()))
    return name if FIELD_NAME.fullmatch(name) else None


def member_name(text: str) -> str | None:
    """The enum member of a wire text, None when its letters do not make one."""
    name = snake_case("_".join(_NOT_IN_NAME.sub(" ", text).split())).upper()
    return name if text.isascii() and MEMBER_NAME.fullmatch(name) else None


_Named: TypeAlias = Literal[
    "job", "record", "enum", "group", "field", "mapper", "member"
]

_CLASS: Final = (
    CLASS_NAME,
    class_name,
    "a capital letter, then letters and digits, 64 at most",
)
_FIELD: Final = (
    FIELD_NAME,
    _field_name,
    "a small letter, then small letters, digits and `_`, 64 at most",
)
_MEMBER: Final = (
    MEMBER_NAME,
    member_name,
    "a capital letter, then capital letters, digits and `_`, 64 at most",
)
_GRAMMARS: Final = {
    "job": _CLASS,
    "record": _CLASS,
    "enum": _CLASS,
    "group": _CLASS,
    "field": _FIELD,
    "mapper": _FIELD,
    "member": _MEMBER,
}


def check_name(
    name: str, kind: _Named, location: SourceLocation, report: Report
) -> bool:
    """Say whether a name may be declared; reports it when not."""
    grammar, spell, rule = _GRAMMARS[kind]
    if not grammar.fullmatch(name):
        near = spell(name) if name.isascii() else None
        report(
            Code.NAME,
            location,
            f"{kind} name {quoted(name)} is not allowed",
            f"write `{near}`" if near else "",
            f"{kind} names are {rule}",
        )
        return False
    if grammar is CLASS_NAME and name in RESERVED_CLASSES:
        report(
            Code.NAME_TAKEN,
            location,
            f"`{name}` is a name that generated code uses itself",
            f"choose another, such as `{name}{kind.title()}`",
        )
        return False
    return True


def module_names(
    sources: Iterable[Source], report: Report
) -> dict[str, tuple[str, ...]]:
    """Name the module of each source by its path; faults are reported.

    Two files may not meet in one module, not even on a file system that takes capitals
    for small letters, and a module must not have the name of a package next to it.
    """
    names: dict[str, tuple[str, ...]] = {}
    spelt: dict[tuple[str, ...], tuple[tuple[str, ...], bool, Source]] = {}
    for source in sources:
        name = tuple(source.path.removesuffix(".toml").split("/"))
        names[source.path] = name
        if not _check_parts(name, source, report):
            continue
        for length in range(1, len(name) + 1):
            start, is_module = name[:length], length == len(name)
            folded = tuple(part.lower() for part in start)
            first = spelt.setdefault(folded, (start, is_module, source))
            if first[:2] != (start, is_module):
                report(
                    Code.MODULE_TWICE,
                    SourceLocation(source),
                    f"its module would be in the way of the one of {visible(first[2].shown)}",
                    (
                        "rename one: some file systems treat their names as equal"
                        if first[0] != start
                        else "rename one: a module and a package cannot share a name"
                    ),
                )
                break
    return names


def _check_parts(name: tuple[str, ...], source: Source, report: Report) -> bool:
    for part in name:
        if MODULE_PART.fullmatch(part) and not keyword.iskeyword(part):
            continue
        near = _field_name(part)
        report(
            Code.MODULE_NAME,
            SourceLocation(source),
            f"{quoted(part)} cannot be the name of a Python module",
            (
                f"rename it to `{near}`"
                if near and near != part
                else "rename it: letters, digits and `_`, no keyword of Python"
            ),
        )
        return False
    return True
