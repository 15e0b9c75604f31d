"""The lock: a schema in its canonical spelling, as JSON that a person reviews.

A field is one line, so a pull request shows what it changes on the wire.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from flowd_codegen.compat.contract import Contract
from flowd_codegen.diagnostics.location import Source, SourceLocation
from flowd_codegen.diagnostics.report import Code, Fault, Report, SchemaErrors
from flowd_codegen.model.canonical import Form, schema_form
from flowd_codegen.model.schema import Schema, is_table
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.parse.table import Table, Toml

__all__ = ["LOCK", "LOCK_MARK", "lock_text", "read_lock"]

LOCK: Final = "flowd.lock"
"""The name that a lock has unless it is given another."""

LOCK_MARK: Final = re.compile(rb'"flowd_lock":')
"""What a lock says in its first lines, and no other file."""

_FORMAT: Final = 1

# The lock, its files, a file, a kind, a class, its fields: each entry has a line.
_OPEN: Final = 6


def lock_text(schema: Schema) -> str:
    """Everything that the wire and the user's code know of a schema."""
    lock: Form = {"flowd_lock": _FORMAT, "files": schema_form(schema)}
    return f"{_spread(lock, 0)}\n"


def _spread(value: object, depth: int) -> str:
    if not is_table(value) or not value or depth == _OPEN:
        return json.dumps(value, ensure_ascii=False)
    pad = "  " * depth
    lines = ",\n".join(
        f"{pad}  {json.dumps(key, ensure_ascii=False)}: {_spread(one, depth + 1)}"
        for key, one in value.items()
    )
    return f"{{\n{lines}\n{pad}}}"


def read_lock(path: Path) -> Contract:
    """Read a lock, as one side of a comparison.

    Raises:
        SchemaErrors: it is no lock, or one that this flowd-gen does not know.
        OSError: it cannot be read.
    """
    name = path.as_posix()
    here = SourceLocation(Source("", name))
    files = _files(path.read_bytes(), here)
    sources = Sources(tuple(Source(file, name) for file in sorted(files)))

    def load(source: Source, report: Report) -> Table:
        return Table(files[source.path], SourceLocation(source), report)

    try:
        return Contract(name, parse(sources, load=load))
    except SchemaErrors as errors:
        first = errors.faults[0]
        where = ".".join(map(str, (first.location.source.path, *first.location.path)))
        raise _refusal(here, f"{first.message}, at {where}") from None


def _files(raw: bytes, here: SourceLocation) -> dict[str, dict[str, Toml]]:
    try:
        lock: Toml = json.loads(raw)
    except (ValueError, RecursionError):
        raise _refusal(here, "it is not JSON") from None
    form = lock.get("flowd_lock") if isinstance(lock, dict) else None
    files = lock.get("files") if isinstance(lock, dict) else None
    if isinstance(form, int) and form > _FORMAT:
        message = f"a lock of format {form}, and this flowd-gen knows {_FORMAT}"
        advice = "upgrade flowd to the release that wrote it"
        raise SchemaErrors([Fault(Code.LOCK, here, message, advice)])
    if form != _FORMAT or not isinstance(files, dict):
        raise _refusal(here, "it has no `flowd_lock` and `files`")
    tables = {name: file for name, file in files.items() if isinstance(file, dict)}
    if len(tables) < len(files):
        raise _refusal(here, "a file in it is no table")
    return tables


def _refusal(here: SourceLocation, reason: str) -> SchemaErrors:
    message = f"this is no lock of flowd-gen: {reason}"
    # A new lock would lose what the schemas are to be compared with.
    advice = "restore the lock of the release that runs"
    return SchemaErrors([Fault(Code.LOCK, here, message, advice)])
