"""`[tool.flowd-gen]` in pyproject.toml: what a project says once, for every command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from flowd_codegen.compat.lock import LOCK
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.diagnostics.report import Code, Report, SchemaErrors, quoted
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.parse.source import load
from flowd_codegen.parse.table import Table

__all__ = ["FORMATS", "Format", "Settings", "read_settings"]

Format: TypeAlias = Literal["text", "json", "github"]
"""How faults are printed."""

FORMATS: Final[tuple[Format, ...]] = ("text", "json", "github")
"""Every format."""

_FILE: Final = "pyproject.toml"
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
    """

    src: Path | None = None
    out: Path | None = None
    lock: Path = Path(LOCK)
    format: Format = "text"
    prune: bool | None = None


def read_settings() -> Settings:
    """The settings of the nearest pyproject.toml upwards that has some.

    Raises:
        SchemaErrors: with all faults of the table.
        OSError: a pyproject.toml is there and cannot be read.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        file = folder / _FILE
        if file.is_file():
            text = file.read_bytes().decode("utf-8-sig", "replace")
            # Of others' faults nothing is said in a file that is not about this.
            if "flowd-gen" in text and (table := _table(file, text)):
                return _settings(table, folder)
    return Settings()


def _table(file: Path, text: str) -> Table | None:
    report = Report()
    root = load(Source(_FILE, os.path.relpath(file), text), report)
    if root is None:
        raise SchemaErrors(report.faults)
    tool = root.table("tool")
    return tool.table("flowd-gen") if "flowd-gen" in tool.values else None


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
