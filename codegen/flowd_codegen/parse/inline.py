"""A field that is declared by an example of what it holds: its fields, its items or a value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.model.naming import FIELD_NAME, class_name
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table, Toml, written
from flowd_codegen.parse.types import parse_type

__all__ = ["example_of_type", "report_fields"]

_NESTING: Final = ("fields", "properties")
"""What other languages call the fields of an object."""

_MOST: Final = 12


def report_fields(name: str, options: Table, scope: Scope, *, of_list: bool) -> bool:
    """Report a field whose options are the fields of a record, if they are.

    Args:
        name: of the field.
        options: what it has instead of a type and its options.
        scope: the names that types may have.
        of_list: the field is a list of them.

    Returns:
        Whether it was reported.
    """
    nested = (options.values.get(key) for key in _NESTING)
    given = next((one for one in nested if isinstance(one, dict)), options.values)
    # A table with a type is a field, whatever else is wrong with it.
    is_field = given is options.values and {"type", "one_of"} & given.keys()
    if is_field or not given or not _are_fields(given, options, scope):
        return False
    taken = {*scope.classes}
    record, lines = _declared(name, given, str(options.location.path[1]), taken)
    kind = f"list[{record}]" if of_list else record
    options.report(
        Code.MISSING_KEY,
        options.location.key(),
        f"{quoted(name)} has fields in place of a type",
        f"write `{name} = {written(kind)}`, and declare the record",
        "\n".join(["declare it as", *lines]),
    )
    return True


def _are_fields(given: Mapping[str, Toml], options: Table, scope: Scope) -> bool:
    return all(
        FIELD_NAME.fullmatch(key)
        and (
            _is_type(value, options, scope)
            if isinstance(value, str)
            else isinstance(value, dict)
            and (not value or "type" in value or _are_fields(value, options, scope))
        )
        for key, value in given.items()
    )


def _is_type(text: str, options: Table, scope: Scope) -> bool:
    """Whether it is a type, be it one of another language."""
    trial = Report()
    parse_type(text, options.location, scope, trial)
    return all(fault.label.startswith("flowd spells") for fault in trial.faults)


def _declared(
    name: str, given: Mapping[str, Toml], owner: str, taken: set[str]
) -> tuple[str, list[str]]:
    """A record's name, and the lines that declare it and those that its fields need."""
    own = class_name(name) or "Part"
    if own in taken:
        own = f"{owner}{own}"
    while own in taken:
        own += "2"
    taken.add(own)
    lines = [f"[record.{own}.fields]"]
    below: list[str] = []
    for key, value in [*given.items()][:_MOST]:
        if isinstance(value, dict) and "type" not in value and value:
            record, inner = _declared(key, value, own, taken)
            lines.append(f"{key} = {written(record)}")
            below += inner
        else:
            lines.append(f"{key} = {_spelt(value)}")
    if len(given) > _MOST:
        lines.append("# … and the other fields")
    return own, [*lines, *below]


def _spelt(value: Toml) -> str:
    kind = value.get("type") if isinstance(value, dict) else value
    return written(kind) if isinstance(kind, str) else '"str"'


def example_of_type(value: Toml, options: Table, scope: Scope) -> str:
    """How a field is declared that was given a value or items; `"str"` if unknown."""
    match value:
        case [str(item)] if _is_type(item, options, scope):
            return written(f"list[{item}]")
        case [{"type": str(item)}] if _is_type(item, options, scope):
            return written(f"list[{item}]")
        case bool():
            kind, shown = "bool", "true" if value else "false"
        case int() if abs(value) < 2**63:
            kind, shown = "i64", str(value)
        case float():
            kind, shown = "float", repr(value)
        case datetime() if value.tzinfo:
            kind, shown = "datetime", value.isoformat()
        case date() if not isinstance(value, datetime):
            kind, shown = "date", value.isoformat()
        case _:
            return '"str"'
    return f'{{ type = "{kind}", default = {shown} }}'
