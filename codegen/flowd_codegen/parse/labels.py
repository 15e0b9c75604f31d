"""`label = true`: the value of a field is a label of its job's metrics."""

from __future__ import annotations

from math import prod

from flowd.model.labels import MAX_COMBINATIONS, TAKEN
from flowd_codegen.diagnostics.report import Code, quoted
from flowd_codegen.model.kinds import (
    DictOf,
    EnumRef,
    ListOf,
    Optional,
    Type,
    base,
)
from flowd_codegen.model.naming import attribute
from flowd_codegen.model.schema import Field, Job, Mapper
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table

__all__ = ["check_labels", "read_label"]


def read_label(options: Table, found: Type, mapper: Mapper | None) -> bool:
    """Whether a field is a label; a field that can be none is reported.

    Prometheus keeps a time series for each value, so there must be few, known ones.

    Args:
        options: of the field.
        found: its type.
        mapper: its mapper.
    """
    if not options.flag("label"):
        return False
    refusal = _refusal(options, found, mapper)
    if refusal:
        options.report(Code.LABEL, options.at("label"), *refusal)
    return refusal is None


def _refusal(
    options: Table, found: Type, mapper: Mapper | None
) -> tuple[str, str] | None:
    """Why a field is no label, and what to do."""
    kind, _, *_, name = map(str, options.location.path)
    inner = found.item if isinstance(found, Optional) else found
    match inner:
        case _ if kind == "record":
            message = f"{quoted(name)} is in a record, and only a job has labels"
            return message, "put it into a field of the job"
        case ListOf(item) | DictOf(item) if isinstance(base(item), EnumRef):
            message = f"{quoted(name)} holds several values, and a label has one"
            return message, "put the one that counts into a field of its own"
        case EnumRef() if options.values.get("secret") is True:
            message = f"{quoted(name)} is secret, and metrics show their labels"
            return message, "remove `label` or `secret`"
        case EnumRef() if mapper is not None:
            message = f"{quoted(name)} has a mapper, and a label needs the enum's value"
            return message, "remove `label` or `mapper`"
        case EnumRef() if attribute(name) in TAKEN:
            message = f"metrics have a label {quoted(attribute(name))} already"
            return message, "rename the field; `key` keeps its name on the wire"
        case EnumRef():
            return None
        case _:
            message = f"{quoted(name)} is no enum, and a label has few, known values"
            return message, "declare its values as an `[enum.…]`, or remove `label`"


def check_labels(job: Job, table: Table, scope: Scope) -> None:
    """Report a job whose labels have too many combinations of values.

    Args:
        job: with the fields of its groups.
        table: its table.
        scope: knows the enums.
    """
    fields = [field for field in job.fields if field.label]
    combinations = prod(_values(field, scope) for field in fields)
    if combinations > MAX_COMBINATIONS:
        own = [field.name for field in fields if not field.group]
        place = table.location.key()
        if own:
            place = table.at("fields").child(own[-1]).child("label")
        names = ", ".join(quoted(field.name) for field in fields)
        table.report(
            Code.LABEL,
            place,
            f"{names} would make {combinations:,} combinations of labels,"
            f" where at most {MAX_COMBINATIONS} are allowed",
            "each is a time series of its own: keep the labels that you ask for",
        )


def _values(field: Field, scope: Scope) -> int:
    """How many values a label has; of an enum with faults one."""
    enum = base(field.type)
    known = scope.enums.get(enum.name) if isinstance(enum, EnumRef) else None
    count = len(known.members) if known else 1
    return count + isinstance(field.type, Optional)
