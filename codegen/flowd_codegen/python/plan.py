"""The plan of a module: everything its template prints, as ready Python source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final

from flowd_codegen.model.declared import Declared
from flowd_codegen.model.describe import with_deprecation
from flowd_codegen.model.migrations import Step, module_of, steps
from flowd_codegen.model.schema import Enum, Job, Module, Record
from flowd_codegen.python.plan_field import (
    FieldPlan,
    plan_job_field,
    plan_record_field,
)
from flowd_codegen.python.plan_spec import plan_spec
from flowd_codegen.python.source import (
    Imports,
    bracket,
    docstring,
    text_literal,
)
from flowd_codegen.python.types import TypePrinter

__all__ = ["ClassPlan", "EnumPlan", "ModulePlan", "plan_module"]

_USED: Final = frozenset(
    [
        "bool",
        "bytes",
        "classmethod",
        "dict",
        "float",
        "int",
        "list",
        "str",
        "Exception",
        "cls",
        "error",
        "failure",
        "fields",
        "items",
        "key",
        "made",
        "self",
        "value",
        "SPEC",
        "from_fields",
        "from_json",
        "to_fields",
        "to_json",
    ]
)
"""What the templates use by name: no import may hide it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumPlan:
    """An enum; members are whole lines."""

    name: str
    base: str
    doc: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPlan:
    """A job or a record.

    Attributes:
        spec: empty for a record.
        setters: the statement behind the class that binds them, empty without a field.
        constants: what its methods use, in front of the class.
        late: such constants behind the class, which they name.
        start: the dict that a job's fields are put into.
        version: a job's first statement when reading, if it has more than one version.
        versioned_alias: of a job that has older versions.
    """

    name: str
    doc: str
    spec: str
    fields: tuple[FieldPlan, ...]
    setters: str
    constants: tuple[str, ...]
    late: tuple[str, ...] = ()
    start: str = "{}"
    version: str = ""
    versioned_alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulePlan:
    """A module; `words` are the imported names that the templates use.

    `last_import` comes behind the classes, which that module imports.
    """

    path: str
    doc: str
    imports: list[list[str]]
    exports: str
    enums: tuple[EnumPlan, ...]
    records: tuple[ClassPlan, ...]
    jobs: tuple[ClassPlan, ...]
    words: dict[str, str]
    last_import: str


def plan_module(module: Module, declared: Declared) -> ModulePlan:
    """Say in Python what one schema file declares."""
    names = sorted(module.names)
    imports = Imports({*_USED, *names, *_attributes(module)})
    printer = TypePrinter(module.name, declared, imports)
    *_, migrations = module_of(module.name)
    last = imports.reserve(migrations) if any(job.older for job in module.jobs) else ""
    return ModulePlan(
        path=module.path,
        doc=docstring(module.doc or f"What `{module.path}` declares.", 0),
        exports=bracket("[", map(text_literal, names)),
        words=_words(module, printer),
        enums=tuple(_enum(enum, imports) for enum in module.enums),
        records=_records(module, printer),
        jobs=tuple(plan for job in module.jobs for plan in _jobs(job, printer, last)),
        last_import=_last_import(migrations, last),
        imports=imports.groups(),
    )


def _last_import(module: str, name: str) -> str:
    if not name:
        return ""
    return f"from . import {module}" + (f" as {name}" if name != module else "")


def _attributes(module: Module) -> set[str]:
    """Attributes, which hide imports in a class's body, and the locals named so."""
    fields = (
        *(field for record in module.records for field in record.fields),
        *(
            field
            for job in module.jobs
            for each in (job, *job.older)
            for field in each.fields
        ),
    )
    names = {field.attribute for field in fields}
    return names | {f"_{name}" for name in names}


def _words(module: Module, printer: TypePrinter) -> dict[str, str]:
    words: dict[str, str] = {}
    if module.records or module.jobs:
        words["final"] = printer.imports.name("typing", "final")
        words["dataclass"] = printer.imports.name("dataclasses", "dataclass")
        words["new"] = printer.wire("new")
    if module.jobs:
        words["mapping"] = printer.imports.name("collections.abc", "Mapping")
    if module.records:
        words |= {
            "json": printer.wire("Json"),
            "inside": printer.wire("inside"),
            "items_of": printer.wire("items_of"),
        }
    return words


def _enum(enum: Enum, imports: Imports) -> EnumPlan:
    return EnumPlan(
        name=enum.name,
        base=imports.name("enum", "StrEnum"),
        doc=_doc(enum, "Written as one of these texts."),
        members=tuple(
            f"{member} = {text_literal(text)}{_member_doc(enum, member)}"
            for member, text in enum.members
        ),
    )


def _member_doc(enum: Enum, member: str) -> str:
    doc = enum.docs.get(member)
    blank = "\n" if member != enum.members[-1][0] else ""
    return f"\n    {docstring(doc, 4)}{blank}" if doc else ""


def _records(module: Module, printer: TypePrinter) -> tuple[ClassPlan, ...]:
    """The records; the constants of those in a circle are behind the last of it."""
    circular = printer.declared.circular
    plans: list[ClassPlan] = []
    late: list[str] = []
    circles = [circular.get(record.name) for record in module.records]
    for record, circle, after in zip_longest(module.records, circles, circles[1:]):
        plan = _record(record, printer)
        if circle is not None:
            late += plan.constants
            plan = replace(plan, constants=())
            if after != circle:
                plan = replace(plan, late=tuple(late))
                late.clear()
        plans.append(plan)
    return tuple(plans)


def _record(record: Record, printer: TypePrinter) -> ClassPlan:
    fields = tuple(plan_record_field(f, record.name, printer) for f in record.fields)
    doc = _doc(record, "Written as a JSON object.")
    return _class(record, doc, "", fields, printer)


def _jobs(job: Job, printer: TypePrinter, migrations: str) -> Iterator[ClassPlan]:
    """A job's older versions, and then the job itself."""
    secrets: list[str] = []
    came_from = {step.new.name: step for step in steps(job)}
    for each in (*job.older, job):
        # A class that reads older entries keeps their secrets too.
        own = printer.declared.secret_keys(each)
        secrets += [key for key in own if key not in secrets]
        otherwise = f"An entry of the stream `{job.policy.stream}`."
        if each is not job:
            otherwise = (
                f"{job.name} of version {each.version}, as entries still have it."
            )
        fields = tuple(
            plan_job_field(field, each.name, printer) for field in each.fields
        )
        spec = plan_spec(each, secrets, printer)
        plan = _class(each, _doc(each, otherwise), spec, fields, printer)
        if each.version is not None and each.version > 1:
            plan = replace(
                plan,
                start=f'{{b"_v": b"{each.version}"}}',
                version=_other_versions(came_from.get(each.name), migrations),
            )
        yield replace(plan, versioned_alias=each.versioned_alias)


def _other_versions(step: Step | None, migrations: str) -> str:
    """What is done first with an entry, which may be of another version."""
    if step is None:
        return "cls.SPEC.version_of(fields)  # refuses what is older, and newer"
    arguments = (
        f"{migrations}.{step.function}",
        f"{step.old.name}.from_fields(fields)",
    )
    call = bracket("cls.SPEC.migrate(", arguments)
    until = step.old.version
    return f"if cls.SPEC.version_of(fields) <= {until}:\n{' ' * 12}return {call}"


def _class(
    owner: Job | Record,
    doc: str,
    spec: str,
    fields: tuple[FieldPlan, ...],
    printer: TypePrinter,
) -> ClassPlan:
    setters = ""
    if fields:
        targets = bracket("(", (field.setter for field in fields))
        setters = f"{targets} = {printer.wire('setters')}({owner.name})"
    return ClassPlan(
        name=owner.name,
        doc=doc,
        spec=spec,
        fields=fields,
        setters=setters,
        constants=tuple(line for field in fields for line in field.constants),
    )


def _doc(owner: Enum | Record | Job, otherwise: str) -> str:
    doc = "\n\n".join([owner.doc or otherwise, *_groups(owner)])
    return docstring(with_deprecation(doc, owner.deprecated), 4)


def _groups(owner: Enum | Record | Job) -> Iterator[str]:
    """A line for each group that some of the fields come from."""
    fields = () if isinstance(owner, Enum) else owner.fields
    names: dict[str, list[str]] = {}
    for field in fields:
        if field.group:
            names.setdefault(field.group, []).append(f"`{field.attribute}`")
    for group, attributes in names.items():
        yield f"Of the group {group}: {', '.join(attributes)}."
