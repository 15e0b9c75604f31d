"""`[tool.flowd-gen]` in pyproject.toml: what a project says once, for every command."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from flowd_codegen.compat.lock import LOCK
from flowd_codegen.diagnostics.report import Code, Fault, Report, SchemaErrors, quoted
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.parse.source import load, read_text
from flowd_codegen.parse.table import Table

__all__ = ["FORMATS", "Format", "Settings", "read_settings"]

Format: TypeAlias = Literal["text", "json", "github"]
"""How faults are printed."""

FORMATS: Final[tuple[Format, ...]] = ("text", "json", "github")
"""Every format."""

_FILE: Final = "pyproject.toml"
_NAME: Final = "flowd-gen"
_LIKE: Final = ("flowdgen", "flowdcodegen")
_KEYS: Final = ("src", "out", "lock", "format", "prune")


@dataclass(frozen=True, slots=True)
class Settings:
    """What arguments are when they are not given; paths as seen from where one stands.

    Attributes:
        src: folder of schemas, or one file.
        out: package folder to write.
        lock: the lock file.
        format: how faults are printed.
        prune: remove generated files that no schema gives now; None: unless all are
            of other schemas.
        warnings: the faults of a file that cannot be read and does not name flowd-gen.
    """

    src: Path | None = None
    out: Path | None = None
    lock: Path = Path(LOCK)
    format: Format = "text"
    prune: bool | None = None
    warnings: tuple[Fault, ...] = ()


def read_settings() -> Settings:
    """The settings of the nearest pyproject.toml upwards that has some.

    Raises:
        SchemaErrors: with all faults of the table.
        OSError: a pyproject.toml is there and cannot be read.
    """
    here = Path.cwd()
    warnings: list[Fault] = []
    for folder in (here, *here.parents):
        file = folder / _FILE
        if file.is_file():
            report = Report()
            source = read_text(file, _FILE, os.path.relpath(file), report)
            root = load(source, report) if source else None
            if root and (table := _table(root)):
                return _settings(table, folder)
            if source and "flowd-gen" in source.text and report.faults:
                raise SchemaErrors(report.faults)
            # The file is about other tools, which say the same.
            warnings += (replace(one, severity="warning") for one in report.faults)
    return Settings(warnings=tuple(warnings))


def _table(root: Table) -> Table | None:
    """The table `[tool.flowd-gen]`, if there is one.

    Raises:
        SchemaErrors: it stands there under a name that is only like that.
    """
    report = Report()
    tool = Table(root.values, root.location, report).table("tool")
    if _NAME in tool.values:
        return Table(tool.values, tool.location, root.report).table(_NAME)
    for table, name in ((tool, "tool."), (root, "")):
        for key in table.values:
            if re.sub(r"[-_. ]", "", key.lower()) in _LIKE:
                raise SchemaErrors(
                    [
                        Fault(
                            Code.UNKNOWN_KEY,
                            table.at(key).key(),
                            f"{quoted(f'{name}{key}')} is not read",
                            f"the settings are in `[tool.{_NAME}]`",
                        )
                    ]
                )
    return None


def _settings(table: Table, folder: Path) -> Settings:
    table.refuse_others(_KEYS, "setting")
    settings = Settings(
        src=_path(table, "src", folder),
        out=_path(table, "out", folder),
        lock=_path(table, "lock", folder) or Path(os.path.relpath(folder / LOCK)),
        format=_format(table),
        prune=table.flag("prune") if "prune" in table.values else None,
    )
    if table.report.faults:
        raise SchemaErrors(table.report.faults)
    return settings


def _path(table: Table, key: str, folder: Path) -> Path | None:
    text = table.text(key)
    if text == "":
        table.report(Code.WRONG_KIND, table.at(key), f"`{key}` is empty")
    return Path(os.path.relpath(folder / text)) if text else None


def _format(table: Table) -> Format:
    text = table.text("format")
    for known in FORMATS:
        if text in (None, known):
            return known
    table.report(
        Code.WRONG_KIND,
        table.at("format"),
        f"unknown format {quoted(text or '')}",
        did_you_mean(text or "", FORMATS, f"choose from {', '.join(FORMATS)}"),
    )
    return "text"
