"""Versions of a job: `version`, `oldest`, and `[job.X.v1]` for those before the last."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from flowd_codegen.diagnostics.report import Code, quoted, visible
from flowd_codegen.model.naming import version_name
from flowd_codegen.parse.table import Table, written

__all__ = [
    "LAST_VERSION",
    "VERSION_KEY",
    "VERSION_OPTIONS",
    "class_names",
    "older_versions",
    "parse_version",
    "version_keys",
]

VERSION_KEY: Final = re.compile(r"v([1-9][0-9]{0,8})", re.ASCII)
"""The key of an older version in a job's table."""

VERSION_OPTIONS: Final = ("include", "fields")
"""The keys of an older version's table."""

LAST_VERSION: Final = 999_999_999
"""No worker reads more in `_v`."""


def version_keys(table: Table) -> Mapping[int, str]:
    """The keys of a job's table that are about older versions, by number."""
    return {
        int(match[1]): key
        for key in table.values
        if (match := VERSION_KEY.fullmatch(key))
    }


def older_versions(table: Table) -> Iterator[tuple[int, Table]]:
    """The older versions that have fields of their own, oldest first."""
    for number, key in sorted(version_keys(table).items()):
        if isinstance(table.values[key], dict):
            yield number, table.table(key)


def class_names(job: str, table: Table) -> Iterator[tuple[str, Table]]:
    """The other classes of a job, each with the table that declares it."""
    tables = dict(older_versions(table))
    version = table.values.get("version")
    if tables and isinstance(version, int):
        tables.setdefault(version, table)
    for number, declared in tables.items():
        yield version_name(job, number), declared


def parse_version(job: str, table: Table) -> tuple[int | None, int]:
    """Read the version that is written and the oldest one that is read.

    Every version between them is either declared or said to be read as the next one;
    faults are reported.

    Args:
        job: the job's name.
        table: `[job.X]`.
    """
    version = _number(table, "version")
    oldest = _number(table, "oldest") or 1
    if oldest > (version or 1):
        table.report(
            Code.VERSION,
            table.at("oldest"),
            "`oldest` is above the version that is written",
            f"it is {version}" if version else "the job has no `version`",
        )
        return version, oldest
    keys = version_keys(table)
    for number, key in keys.items():
        _check(table, key, number, version, oldest)
    missing = next((n for n in range(oldest, version or 1) if n not in keys), None)
    if missing is not None:
        table.report(
            Code.VERSION,
            table.at("version"),
            f"nothing says what version {missing} was",
            f"declare its fields in `[job.{visible(job)}.v{missing}.fields]`",
            f'if version {missing + 1} reads its messages: `v{missing} = "v{missing + 1}"`',
            f"if none of them is left: `oldest = {missing + 1}`",
        )
    return version, oldest


def _number(table: Table, key: str) -> int | None:
    number = table.integer(key)
    if number is None or 1 <= number <= LAST_VERSION:
        return number
    message = f"`{key}` must be 1 or more"
    if number > LAST_VERSION:
        message = f"`{key}` must be {LAST_VERSION} at most"
    table.report(Code.VERSION, table.at(key), message)
    return None


def _check(
    table: Table, key: str, number: int, version: int | None, oldest: int
) -> None:
    """Check one older version: its number and its declaration."""
    location = table.at(key)
    following = f"v{number + 1}"
    if number >= (version or 1):
        table.report(
            Code.VERSION,
            location.key(),
            f"`{key}` is no older version",
            (
                f"the job is of version {version}"
                if version
                else f"the job has no `version`: add `version = {number + 1}`"
            ),
        )
    elif number < oldest:
        message = f"`{key}` is not read, as `oldest` is {oldest}"
        table.report(Code.VERSION, location.key(), message, "remove it")
    match table.values[key]:
        case dict():
            what = "option of an older version"
            table.table(key).refuse_others(VERSION_OPTIONS, what)
        case str(text):
            if text != following:
                table.report(
                    Code.VERSION,
                    location,
                    f"messages of version {number} cannot be read as {quoted(text)}",
                    f"write `{key} = {written(following)}`, or declare its fields",
                )
        case value:
            wanted = f"a table of fields or {written(following)}"
            table.wrong_kind(key, value, wanted, written(following))
