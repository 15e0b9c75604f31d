"""Removed jobs: `removed = ["Name"]` reserves their names and streams.

A stream outlives its job: an old program, a delayed job or a dead letter may still reach
it, and would run as the next job on that stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.model.naming import CLASS_NAME, class_name, snake_case
from flowd_codegen.model.schema import Job, Removed
from flowd_codegen.parse.scope import Declaration
from flowd_codegen.parse.table import Table, kind_of, written

__all__ = ["check_removed", "parse_removed"]


def parse_removed(root: Table) -> list[tuple[SourceLocation, Removed]]:
    """The removed jobs of a file, an array of names or a table `Name = "stream"`."""
    value = root.values.get("removed")
    if isinstance(value, dict):
        found = list(_with_streams(root.table("removed")))
    elif isinstance(value, list):
        found = [
            (location, Removed(name=name, stream=snake_case(name)))
            for location, name in root.texts("removed")
            if _is_name(name, location, root.report)
        ]
    else:
        if value is not None:
            wanted = "an array of the names of jobs"
            name = value if isinstance(value, str) else ""
            shown = name if CLASS_NAME.fullmatch(name) else "Email"
            root.wrong_kind("removed", value, wanted, f"[{written(shown)}]")
        found = []
    return found


def _with_streams(table: Table) -> Iterator[tuple[SourceLocation, Removed]]:
    for name, stream in table.values.items():
        location = table.at(name)
        if not _is_name(name, location.key(), table.report):
            continue
        if isinstance(stream, str) and stream:
            yield location.key(), Removed(name=name, stream=stream)
        else:
            what = "an empty one" if stream == "" else kind_of(stream)
            message = f"the stream of {quoted(name)} must be a string, not {what}"
            label = f"write `{written(snake_case(name))}`"
            table.report(Code.WRONG_KIND, location, message, label)


def _is_name(name: str, location: SourceLocation, report: Report) -> bool:
    if CLASS_NAME.fullmatch(name):
        return True
    near = class_name(name) if name.isascii() else None
    label = f"write `{near}`" if near else ""
    message = f"{quoted(name)} cannot be the name of a job"
    note = "a capital letter, then letters and digits, 64 at most"
    report(Code.NAME, location, message, label, note)
    return False


def check_removed(
    removed: Iterable[tuple[SourceLocation, Removed]],
    classes: Mapping[str, Declaration],
    jobs: Iterable[tuple[Table, Job]],
    report: Report,
) -> None:
    """Report each name and stream of a removed job that is in use again."""
    names: dict[str, SourceLocation] = {}
    streams: dict[str, tuple[SourceLocation, str]] = {}
    for location, one in removed:
        first = names.setdefault(one.name, location)
        if first is not location:
            message = f"{quoted(one.name)} is removed twice"
            also = (first, "first removed here")
            report(Code.DECLARED_TWICE, location, message, "once is enough", also=also)
            continue
        streams.setdefault(one.stream, (location, one.name))
        if declared := classes.get(one.name):
            report(
                Code.REMOVED,
                declared.location.key(),
                f"{quoted(one.name)} is the name of a job that was removed",
                "choose another name",
                also=(location, "removed here"),
            )
    for table, job in jobs:
        if job.policy.stream in streams:
            location, name = streams[job.policy.stream]
            stream = quoted(job.policy.stream)
            report(
                Code.REMOVED,
                table.at("queue").child("stream"),
                f"{stream} is the stream of {name}, which was removed",
                "choose another stream: what is left on this one would be run",
                also=(location, "removed here"),
            )
