"""Reads schema files, the only module of the generator that does: disk, text, TOML."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

from flowd_codegen.diagnostics.location import (
    Source,
    SourceLocation,
    TextSpan,
    TomlPath,
)
from flowd_codegen.diagnostics.report import Code, Fault, Report, visible
from flowd_codegen.diagnostics.suggest import suggest
from flowd_codegen.extra import need
from flowd_codegen.parse.syntax import deepest, longest_number, report_syntax
from flowd_codegen.parse.table import Table, Toml

__all__ = ["Sources", "did_you_mean_path", "load", "read", "read_text"]

_SUFFIX: Final = ".toml"
_ALMOST: Final = re.compile(
    r"^[^.].*\.(?:toml\.\w+|to?ml|ya?ml|json|ini|schema|proto)\Z"
)
"""Names of files that hold schemas, where none ends in `.toml`."""

_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_DEPTH: Final = 64
_MAX_INTEGER_BITS: Final = 4096
_TOO_DEEP: Final = f"arrays and tables nest at most {_MAX_DEPTH} deep"
_SMALLER: Final = (
    "leave out a bound that no value reaches; a default may have a `factory`"
)
_TOO_WIDE: Final = f"an integer has at most {_MAX_INTEGER_BITS:,} bits"


@dataclass(frozen=True, slots=True)
class Sources:
    """All schema files of a folder, sorted by path, and what could not be read."""

    files: tuple[Source, ...]
    faults: tuple[Fault, ...] = ()


def did_you_mean_path(path: Path) -> str:
    """The advice to take what lies next to this path and is spelt alike; empty without it."""
    there = path.parent.iterdir() if path.parent.is_dir() else ()
    name = suggest(path.name, sorted(each.name for each in there))
    return f"did you mean `{path.with_name(name)}`?" if name else ""


def read(root: Path, called: str = "") -> Sources:
    """Read every `*.toml` below a folder, or one file.

    Hidden files and folders are left out. A link is never followed out of the folder;
    one that stays inside is left out too, as its target is read in its own place.

    Args:
        root: the folder or file.
        called: how faults name it, where that is not its path.

    Raises:
        OSError: a file or folder is there and cannot be read.
    """
    report = Report()
    name = called or root.as_posix()
    here = SourceLocation(Source("", name))
    if not root.exists():
        advice = did_you_mean_path(root) or "`flowd-gen init` writes a first schema"
        said = "no such file or folder"
        # A revision is read from a copy, whose place would say nothing.
        report(Code.NOTHING_TO_READ, here, said, "" if called else visible(advice))
        return Sources((), tuple(report.faults))
    files: list[Source] = []
    for path, relative in _found(root, report):
        shown = PurePosixPath(name, path.relative_to(root)).as_posix()
        if source := read_text(path, relative, shown, report):
            files.append(source)
    if not files and not report.faults:
        advice = f"a schema is a file whose name ends in {_SUFFIX}"
        if other := _almost_schema(root):
            advice = f"{other.name} is no schema: rename it to {_as_schema(other)}"
        report(Code.NOTHING_TO_READ, here, "no schema here", visible(advice))
    files.sort(key=lambda source: source.path)
    return Sources(tuple(files), tuple(report.faults))


def _found(root: Path, report: Report) -> Iterator[tuple[Path, str]]:
    """Give each schema file's path and its path relative to the schema folder."""
    if root.is_file():
        if root.name.endswith(_SUFFIX):
            yield root, root.name
        else:
            _refuse_name(root, root.parent, report)
        return
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        here = Path(folder)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in (*subfolders, *names):
            path = here / name
            schema = name.endswith(_SUFFIX) and not name.startswith(".")
            if path.is_symlink():
                if schema or path.is_dir():
                    _check_link(path, root, report)
            elif schema and name in names:
                yield path, path.relative_to(root).as_posix()
            elif name.lower().endswith(_SUFFIX) and name in names:
                _refuse_name(path, root, report)


def _refuse_name(path: Path, root: Path, report: Report) -> None:
    source = Source(path.relative_to(root).as_posix(), path.as_posix())
    message = f"the name of a schema ends in {_SUFFIX}"
    label = f"rename it to {visible(_as_schema(path))}"
    report(Code.MODULE_NAME, SourceLocation(source), message, label)


def _as_schema(path: Path) -> str:
    stem = path.name.partition(".")[0] if _SUFFIX in path.name else path.stem
    return f"{stem}{_SUFFIX}"


def _almost_schema(root: Path) -> Path | None:
    """A file that was probably meant as a schema, as `email.toml.txt`."""
    names = (path for path in sorted(root.iterdir()) if _ALMOST.search(path.name))
    return next((path for path in names if path.is_file()), None)


def _raise(error: OSError) -> None:
    raise error


def _check_link(path: Path, root: Path, report: Report) -> None:
    location = SourceLocation(
        Source(path.relative_to(root).as_posix(), path.as_posix())
    )
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        report(Code.LINK, location, "a link that leads nowhere", "remove it")
        return
    if not target.is_relative_to(root.resolve()):
        report(
            Code.LINK,
            location,
            "a link that leaves the schema folder is not followed",
            "put the schema itself here",
        )


def read_text(path: Path, relative: str, shown: str, report: Report) -> Source | None:
    """Read one file; None when it is no text, which is reported.

    Args:
        path: of the file.
        relative: `path` of the source.
        shown: how faults name it.
        report: takes them.

    Raises:
        OSError: it cannot be read.
    """
    source = Source(relative, shown)
    location = SourceLocation(source)
    if not path.is_file():
        report(Code.NOT_TEXT, location, "not a regular file", "remove or rename it")
        return None
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        report(
            Code.TOO_LARGE,
            location,
            f"a schema file has at most {_MAX_BYTES // 1024 // 1024} MiB",
            "split it: types in one file can be used from any other",
        )
        return None
    # The generator counts lines as editors do, where a CR belongs to the line end.
    raw = raw.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    try:
        return replace(source, text=raw.decode())
    except UnicodeDecodeError as error:
        good = raw[: error.start].decode()
        bad = raw[error.start : error.end].decode("latin-1")
        text = f"{good}{bad}".rstrip("\n")
        exact = TextSpan(len(good), len(good) + 1)
        is_wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        report(
            Code.NOT_TEXT,
            SourceLocation(Source(source.path, source.shown, text), exact=exact),
            "UTF-16, not UTF-8" if is_wide else "not UTF-8",
            "save the file as UTF-8",
        )
        return None


@cache
def _need_tomli() -> None:
    """Ask once: it takes longer than to read a file."""
    need("tomli")


def load(source: Source, report: Report) -> Table | None:
    """Read a source; None when it is no TOML, which is reported.

    Raises:
        ExtraMissing: tomli is not installed.
    """
    # Only here: commands that read no TOML run without the extra.
    _need_tomli()
    import tomli  # noqa: PLC0415

    root = SourceLocation(source)
    values: dict[str, Toml] = {}
    try:
        values = tomli.loads(source.text)
    except tomli.TOMLDecodeError as error:
        report_syntax(error.msg, error.pos, source, report)
        return None
    except RecursionError:
        _report_excess(_TOO_DEEP, source, report)
        return None
    except ValueError:
        # An integer of thousands of digits: tomli lets Python's own error through.
        _report_excess(_TOO_WIDE, source, report)
        return None
    match _excess(values):
        case None:
            return Table(values, root, report)
        case excess if excess == _TOO_WIDE:
            report(
                Code.SYNTAX, SourceLocation(source, _widest(values)), excess, _SMALLER
            )
        case excess:
            _report_excess(excess, source, report)
    return None


def _report_excess(excess: str, source: Source, report: Report) -> None:
    find, label = {
        _TOO_DEEP: (deepest, "use a `[record.…]`, or declare the tables one by one"),
        _TOO_WIDE: (longest_number, _SMALLER),
    }[excess]
    report(Code.SYNTAX, SourceLocation(source, exact=find(source.text)), excess, label)


def _excess(values: dict[str, Toml]) -> str | None:
    """What goes beyond the limits that let every later step be simple."""
    level: list[Toml] = [values]
    for _ in range(_MAX_DEPTH):
        below: list[Toml] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
                return _TOO_WIDE
        if not below:
            return None
        level = below
    return _TOO_DEEP


def _widest(values: dict[str, Toml]) -> TomlPath:
    """The path of the first integer that is too wide."""
    left: list[tuple[TomlPath, Toml]] = [((), values)]
    for path, value in left:
        if isinstance(value, dict):
            left += (((*path, key), one) for key, one in value.items())
        elif isinstance(value, list):
            left += (((*path, index), one) for index, one in enumerate(value))
        elif isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
            return path
    return ()
