"""Compares the schedules of a job: `[job.N.cron]`."""

from __future__ import annotations

from collections.abc import Iterator

from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.schema_change import SchemaChange, shown
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.canonical import Form, cron_form, field_form
from flowd_codegen.model.schema import Job, is_table

__all__ = ["schedule_changes"]


def schedule_changes(after: Contract, old: Job, new: Job) -> Iterator[SchemaChange]:
    """What was changed in a job's schedules; none of it breaks what is queued."""
    was, now = _forms(old), _forms(new)
    for name, form in was.items():
        if name not in now:
            yield SchemaChange(
                rule=Rule.CRON_REMOVED,
                owner=new,
                location=after.at(new, "cron").key(),
                message=f"{new.name} has no schedule `{name}` any more",
                compatible_severity="warning",
                label=f"it was {shown(form)}",
            )
    for name, form in now.items():
        before = was.get(name)
        if before is None:
            yield SchemaChange(
                rule=Rule.CRON_CHANGED,
                owner=new,
                location=after.at(new, "cron", name).key(),
                message=f"{new.name} has a new schedule `{name}`",
                compatible_severity="note",
            )
            continue
        for option in before | form:
            if option == "with" and _gives_the_same(before, form, old, new):
                continue
            # As text: 1 and true are equal in Python.
            if shown(before.get(option)) != shown(form.get(option)):
                yield SchemaChange(
                    rule=Rule.CRON_CHANGED,
                    owner=new,
                    location=after.at(new, "cron", name, option),
                    message=f"the schedule `{name}` of {new.name} has another `{option}`",
                    compatible_severity="note",
                    label=(
                        f"it was {shown(before[option])}"
                        if option in before
                        else "it is new"
                    ),
                )


def _gives_the_same(was: Form, now: Form, old: Job, new: Job) -> bool:
    """Whether each argument is what it was: a default counts like one that is given."""
    given = was.get("with", {}), now.get("with", {})
    both: list[dict[str, object]] = []
    for arguments, job in zip(given, (old, new), strict=True):
        defaults = {
            field.name: field_form(field).get("default") for field in job.fields
        }
        both.append({**defaults, **(arguments if is_table(arguments) else {})})
    names = {name for one in given if is_table(one) for name in one}
    return all(shown(both[0].get(name)) == shown(both[1].get(name)) for name in names)


def _forms(job: Job) -> dict[str, Form]:
    return {cron.schedule.name: cron_form(job, cron) for cron in job.crons}
