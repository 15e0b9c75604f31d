"""The canonical spelling of a schema: what the wire and the user's code see of it.

It is the schema language itself, so `parse` reads it. Each option has one spelling, names
are sorted, and docs are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol, TypeAlias, TypeVar

from flowd import wire
from flowd.model.policy import Policy
from flowd_codegen.model.bounds import RANGE
from flowd_codegen.model.duration import duration_text, seconds_text
from flowd_codegen.model.kinds import (
    Bounds,
    DictOf,
    EnumRef,
    External,
    ListOf,
    OneOf,
    Optional,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
    base,
)
from flowd_codegen.model.scalars import TAG
from flowd_codegen.model.schema import (
    Cron,
    Enum,
    Factory,
    Field,
    Function,
    Job,
    Module,
    Record,
    Schema,
    Value,
    is_list,
    is_table,
)
from flowd_codegen.model.walk import unions_in

__all__ = [
    "Form",
    "cron_form",
    "field_form",
    "gate_form",
    "policy_form",
    "schema_form",
    "type_text",
]

Form: TypeAlias = dict[str, object]
"""A table of the language; what JSON can hold."""

_Records: TypeAlias = Mapping[str, Record]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


def schema_form(schema: Schema) -> Form:
    """Each file by its path, with what it declares."""
    records = {one.name: one for module in schema.modules for one in module.records}
    return {module.path: _module(module, records) for module in schema.modules}


def _module(module: Module, records: _Records) -> Form:
    return _given(
        enum={enum.name: _enum(enum) for enum in _sorted(module.enums)},
        record={one.name: _record(one, records) for one in _sorted(module.records)},
        job={job.name: _job(job, records) for job in _sorted(module.jobs)},
        removed={one.name: one.stream for one in _sorted(module.removed)},
    )


def _enum(enum: Enum) -> Form:
    return _given(
        values=dict(sorted(enum.members)),
        unknown=enum.unknown or None,
        reserved=sorted(enum.reserved),
    )


def _record(record: Record, records: _Records) -> Form:
    return _given(
        fields=_fields(record.fields, records),
        tag=record.tag if record.tag != record.name else None,
        reserved=sorted(record.reserved),
    )


def _job(job: Job, records: _Records) -> Form:
    older = {old.version: {"fields": _fields(old.fields, records)} for old in job.older}
    return _given(
        version=job.version,
        oldest=job.oldest if job.oldest > 1 else None,
        **{
            f"v{number}": older.get(number, f"v{number + 1}")
            for number in range(job.oldest, job.version or 1)
        },
        fields=_fields(job.fields, records),
        reserved=sorted(job.reserved),
        queue={**policy_form(job.policy), **gate_form(job)},
        cron={
            cron.schedule.name: cron_form(job, cron, records)
            for cron in sorted(job.crons, key=lambda one: one.schedule.name)
        },
    )


def _fields(fields: Iterable[Field], records: _Records) -> Form:
    return {field.name: field_form(field, records) for field in _sorted(fields)}


def policy_form(policy: Policy) -> Form:
    """A queue table with every option, the defaults as well."""
    backoff = policy.backoff
    return _given(
        stream=policy.stream,
        group=policy.group,
        starting_id=policy.starting_id,
        timeout=policy.timeout and seconds_text(policy.timeout),
        claim_after=seconds_text(policy.claim_after),
        expires_after=policy.expires_after and seconds_text(policy.expires_after),
        max_retries=policy.max_retries,
        backoff={
            "kind": backoff.kind,
            "base": seconds_text(backoff.base),
            "max": seconds_text(backoff.max),
            "jitter": backoff.jitter,
        },
    )


def gate_form(job: Job) -> Form:
    """The policies of a queue, by the names of fields, with every rule."""
    gate, names = job.gate, {field.key: field.name for field in job.fields}
    if gate is None:
        return {}
    unique, limit, rate = gate.unique, gate.concurrency, gate.rate
    debounce, priority = gate.debounce, gate.priority

    def named(keys: Iterable[str]) -> list[str]:
        return [names[key] for key in keys]

    return _given(
        unique=unique and {"fields": named(unique.fields), "again": unique.again},
        concurrency=limit
        and _given(per=named(limit.per), limit=limit.limit, ordered=limit.ordered),
        rate=rate
        and _given(
            per=named(rate.per),
            limit=rate.limit,
            every=seconds_text(rate.every),
            burst=rate.burst,
            cost=names[rate.cost] if rate.cost else None,
        ),
        fair=gate.fair and named(gate.fair.per),
        debounce=debounce
        and _given(
            fields=named(debounce.fields),
            wait=seconds_text(debounce.wait),
            longest=seconds_text(debounce.longest) if debounce.longest else None,
        ),
        priority=priority
        and _given(
            field=names[priority.field] if priority.field else None,
            order=[*priority.order],
        ),
    )


def cron_form(job: Job, cron: Cron, records: _Records = MappingProxyType({})) -> Form:
    """A schedule's table with every rule, the defaults as well."""
    schedule = cron.schedule
    types = {field.name: field for field in job.fields}
    return _given(
        at=schedule.at or None,
        every=seconds_text(schedule.every) if schedule.every else None,
        tz=schedule.tz,
        missed=schedule.missed,
        overlap=schedule.overlap,
        **{
            "with": {
                name: _field_default(types[name], value, records)
                for name, value in sorted(cron.arguments.items())
            }
        },
    )


def field_form(field: Field, records: _Records = MappingProxyType({})) -> Form:
    """A field's table, without what changes neither wire nor code.

    Args:
        field: of a job or record.
        records: those that a default may hold; without them it is left as it is.
    """
    kind, default, mapper = base(field.type), field.default, field.mapper
    return _given(
        type=type_text(field.type),
        tag=next((one.tag for one in unions_in(kind) if one.tag != TAG), None),
        one_of=[*kind.values] if isinstance(kind, OneOf) else None,
        default=(
            _field_default(field, default.value, records)
            if isinstance(default, Value)
            else None
        ),
        factory=_function(default.function) if isinstance(default, Factory) else None,
        key=field.key if field.key != field.name else None,
        aliases=[*field.aliases],
        mapper=mapper
        and _given(
            serialize=mapper.serialize and _function(mapper.serialize),
            deserialize=mapper.deserialize and _function(mapper.deserialize),
        ),
        encoding=field.encoding,
        **_bounds(kind, field),
        **_items(kind),
        secret=field.secret or None,
        label=field.label or None,
    )


def _bounds(kind: Type, bounds: Bounds) -> Form:
    """What a value keeps to, as options."""
    given = {
        option.name: getattr(bounds, option.name)
        for option in dataclasses.fields(Bounds)
    }
    if kind == Scalar("duration"):
        for name in RANGE:
            if given[name] is not None:
                given[name] = duration_text(int(given[name]))
    return _given(**given)


def _items(kind: Type) -> Form:
    """What the items of a list or dict keep to."""
    match kind:
        case ListOf(item, each) | DictOf(item, each):
            inner = base(item)
            form = _given(
                one_of=[*inner.values] if isinstance(inner, OneOf) else None,
                **_bounds(inner, each),
                **_items(inner),
            )
            return {"items" if isinstance(kind, ListOf) else "values": form}
        case _:
            return {}


def type_text(kind: Type) -> str:
    """Spell a type as a schema does; of a `one_of`, the type of its values."""
    match kind:
        case Scalar(name) | EnumRef(name) | RecordRef(name):
            return name
        case ListOf(item):
            return f"list[{type_text(item)}]"
        case DictOf(value):
            return f"dict[str, {type_text(value)}]"
        case UnionOf(members):
            return " | ".join(name for _, name in members)
        case OneOf(values):
            return "str" if isinstance(values[0], str) else "int"
        case External(module, name):
            return f"{module}:{name}"
        case Optional(item):
            return f"{type_text(item)}?"


def _field_default(field: Field, value: object, records: _Records) -> object:
    """The same of a field, whose bytes have the text of its own encoding."""
    if base(field.type) == Scalar("bytes"):
        content = wire.decode_base64(str(value).encode())
        match field.encoding:
            case "hex":
                return wire.encode_hex(content).decode()
            case "raw":
                return content.decode()
            case _:
                pass
    return _default(field.type, value, records)


def _default(kind: Type, value: object, records: _Records) -> object:
    """A default as TOML would say it: a duration is milliseconds in the model."""
    match kind:
        case Scalar("duration"):
            return duration_text(int(str(value)))
        case Optional(item):
            return _default(item, value, records)
        case ListOf(item) if is_list(value):
            return [_default(item, one, records) for one in value]
        case DictOf(item) if is_table(value):
            return {key: _default(item, one, records) for key, one in value.items()}
        case RecordRef(name) if is_table(value) and name in records:
            fields = {field.name: field for field in records[name].fields}
            return {
                # The tag of a union is no field.
                key: _field_default(fields[key], one, records) if key in fields else one
                for key, one in value.items()
            }
        case UnionOf(members, tag) if is_table(value):
            record = RecordRef(dict(members)[str(value[tag])])
            return _default(record, value, records)
        case _:
            return value


def _function(function: Function) -> str:
    return f"{function.module}:{function.name}"


def _sorted(named: Iterable[_N]) -> list[_N]:
    return sorted(named, key=lambda one: one.name)


def _given(**options: object) -> Form:
    """The options without those that are absent or empty, but for a default."""
    return {
        name: value
        for name, value in options.items()
        if value is not None and (name == "default" or value not in ([], {}))
    }
