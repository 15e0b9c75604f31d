"""Options that stand among the fields: where they belong."""

from __future__ import annotations

from typing import Final

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted, visible
from flowd_codegen.parse.queue import QUEUE_OPTIONS

__all__ = ["home_of", "report_misplaced"]

_OF_JOB: Final = (
    "allow",
    "deprecated",
    "doc",
    "include",
    "oldest",
    "reserved",
    "version",
)
_OF_OTHERS: Final = ("allow", "deprecated", "doc", "include", "reserved")


def home_of(field: SourceLocation) -> str:
    """What to write instead of a field that is no field, as `stream`; empty if unknown.

    Args:
        field: its place, as `job.Email.fields.stream`.
    """
    kind, owner, *_, name = map(str, field.path)
    header = f"{kind}.{visible(owner)}"
    if kind == "job" and name in QUEUE_OPTIONS:
        return f"an option of the queue belongs into `[{header}.queue]`"
    if name in (_OF_JOB if kind == "job" else _OF_OTHERS):
        return f"an option of the {kind} belongs into `[{header}]`"
    return ""


def report_misplaced(
    text: str,
    field: SourceLocation,
    location: SourceLocation,
    trial: Report,
    report: Report,
) -> None:
    """Report the faults of a type, or that its field is an option in the wrong table.

    Args:
        text: the type.
        field: the place of the field.
        location: of the type.
        trial: its faults.
        report: takes them.
    """
    unread = (Code.TYPE_SYNTAX, Code.UNKNOWN_TYPE)
    # Advice about the type is better than a guess that the field is an option.
    is_guess = len(trial.faults) == 1 and trial.faults[0].code in unread
    bare = is_guess and (
        trial.faults[0].code == Code.TYPE_SYNTAX or not trial.faults[0].label
    )
    if bare and (label := home_of(field)):
        report(Code.UNKNOWN_TYPE, location, f"unknown type {quoted(text)}", label)
    else:
        report.faults += trial.faults
