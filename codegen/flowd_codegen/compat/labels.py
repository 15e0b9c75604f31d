"""Compares which fields of a job are labels of its metrics."""

from __future__ import annotations

from collections.abc import Iterator

from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.schema_change import SchemaChange
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.schema import Job

__all__ = ["label_changes"]


def label_changes(after: Contract, old: Job, new: Job) -> Iterator[SchemaChange]:
    """The labels that came, and those that went; they break nothing."""
    was, now = _labels(old), _labels(new)
    for label, name in now.items():
        if label not in was:
            place = after.option(new, name, "label")
            yield _change(new, place, f"`{label}` is a label of its metrics now")
    fields = {field.attribute: field.name for field in new.fields}
    for label in was:
        if label not in now:
            place = after.at(new, "fields")
            if label in fields:
                place = after.option(new, fields[label])
            yield _change(new, place, f"`{label}` is no label of its metrics any more")


def _labels(job: Job) -> dict[str, str]:
    """The labels, with the names of their fields."""
    return {field.attribute: field.name for field in job.fields if field.label}


def _change(job: Job, place: SourceLocation, what: str) -> SchemaChange:
    return SchemaChange(
        rule=Rule.FIELD_LABEL_CHANGED,
        owner=job,
        location=place,
        message=f"{job.name}: {what}",
        compatible_severity="note",
    )
