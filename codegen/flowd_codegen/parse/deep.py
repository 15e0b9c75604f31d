"""Fields of which every value is deeper than JSON may be: it could never be written."""

from __future__ import annotations

from collections.abc import Sequence

from flowd.wire.document import DEEPEST
from flowd_codegen.diagnostics.report import Code, Report
from flowd_codegen.model.depth import least_levels, least_record_levels
from flowd_codegen.model.schema import Job, Record
from flowd_codegen.parse.table import Table

__all__ = ["check_depth"]


def check_depth(owners: Sequence[tuple[Table, Record | Job]], report: Report) -> None:
    """Report each field of a job that no value is flat enough for."""
    records = {one.name: one for _, one in owners if isinstance(one, Record)}
    levels = least_record_levels(records)
    for table, owner in owners:
        for field in owner.fields if isinstance(owner, Job) else ():
            if least_levels(field, levels) > DEEPEST:
                report(
                    Code.TOO_DEEP,
                    table.at("fields").child(field.name),
                    f"each value has records in more than {DEEPEST} levels, so none can"
                    " be written as JSON",
                    "let one of the records be `?`, or in a list or dict that may be empty",
                )
