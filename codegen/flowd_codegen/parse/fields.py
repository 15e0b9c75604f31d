"""Fields: `[job.X.fields]` and `[record.X.fields]` as model fields.

A default is kept as written; `check_defaults` checks it once every type is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final, TypeAlias

from flowd_codegen.diagnostics.foreign import OPTIONS
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.diagnostics.suggest import suggest
from flowd_codegen.model.bounds import LENGTHS, RANGE
from flowd_codegen.model.kinds import Optional, Scalar, Type, base
from flowd_codegen.model.naming import attribute, check_name
from flowd_codegen.model.schema import Encoding, Factory, Field, Mapper, Value
from flowd_codegen.parse.choices import parse_one_of
from flowd_codegen.parse.constraints import limit_that_fits, parse_constraints
from flowd_codegen.parse.inline import example_of_type, report_fields
from flowd_codegen.parse.items import with_items
from flowd_codegen.parse.labels import read_label
from flowd_codegen.parse.mappers import field_mapper, read_function
from flowd_codegen.parse.misplaced import home_of, report_misplaced
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table, Toml
from flowd_codegen.parse.types import parse_type
from flowd_codegen.parse.unions import retagged
from flowd_codegen.parse.wire_keys import WireKeys

__all__ = [
    "FIELD_OPTIONS",
    "IN_JOB",
    "IN_RECORD",
    "MAX_FIELDS",
    "Encodings",
    "parse_fields",
]


Encodings: TypeAlias = Mapping[str, tuple[Encoding, ...]]
"""The encodings that types may have, by their names."""

MAX_FIELDS: Final = 1000
"""How many fields a job or record may have."""

FIELD_OPTIONS: Final = (
    *("type", "tag", "default", "factory", "doc", "deprecated", "key", "aliases"),
    *("mapper", "encoding", "one_of", *RANGE, "places", *LENGTHS),
    *("pattern", "items", "values", "secret"),
    "label",
)
"""The keys of a field's table."""

_OPTIONAL: Final = (Code.UNKNOWN_KEY, 'an optional type ends in `?`: `type = "str?"`')
_SIDE: Final = (
    Code.UNKNOWN_KEY,
    "it goes into `mapper = { serialize = …, deserialize = … }`",
)
_REFUSED: Final = {
    "optional": _OPTIONAL,
    "nullable": _OPTIONAL,
    "required": (Code.UNKNOWN_KEY, "a field is required unless its type ends in `?`"),
    "serialize": _SIDE,
    "deserialize": _SIDE,
    **{word: (Code.UNKNOWN_KEY, advice) for word, advice in OPTIONS.items()},
}
IN_JOB: Final[Encodings] = {
    "bool": ("text", "01"),
    "bytes": ("base64", "hex", "raw"),
    "datetime": ("rfc3339", "unix_ms"),
}
"""The encodings of a field of a job, by its type; the first is the type's own."""

IN_RECORD: Final[Encodings] = {
    "bytes": ("base64", "hex"),
    "datetime": ("rfc3339", "unix_ms"),
}
"""The same for a field of a record."""


def parse_fields(
    owner: Table,
    keys: WireKeys,
    scope: Scope,
    encodings: Encodings,
    others: Mapping[str, SourceLocation],
) -> tuple[Field, ...]:
    """Read a table's own fields in declared order; faults are reported.

    Args:
        owner: `[job.X]`, `[record.X]` or `[group.X]`.
        keys: takes the wire keys.
        scope: the names that types and mappers may have.
        encodings: those that a type may have there.
        others: attributes that come from groups.
    """
    table = owner.table("fields", '{ to = "str" }')
    count = len(table.values) + len(others)
    if count > MAX_FIELDS:
        table.report(
            Code.TOO_MANY_FIELDS,
            table.location.key(),
            f"{count:,} fields, where at most {MAX_FIELDS:,} are allowed",
            "put some of them into a `[record.…]`",
        )
    _check_attributes(table, others)
    fields = (
        _field(options, name, keys, scope, encodings)
        for name, value in table.values.items()
        if (options := _options(name, value, table, scope))
    )
    return tuple(field for field in fields if field)


def _check_attributes(table: Table, others: Mapping[str, SourceLocation]) -> None:
    attributes = {**others}
    for name in table.values:
        location = table.at(name).key()
        check_name(name, "field", location, table.report)
        other = attributes.setdefault(attribute(name), location)
        if other is not location:
            table.report(
                Code.ATTRIBUTE_TWICE,
                location,
                f"two fields would be `{attribute(name)}` in Python",
                "rename one; `key` keeps its name on the wire",
                also=(other, "the other one"),
            )


def _options(name: str, value: Toml, table: Table, scope: Scope) -> Table | None:
    """The options of a field, whose short spelling is only the type."""
    match value:
        case str():
            return Table({"type": value}, table.at(name), table.report, short=True)
        case dict():
            options = Table(value, table.at(name), table.report)
            if report_fields(name, options, scope, of_list=False):
                return None
            options.refuse_others(FIELD_OPTIONS, "field option", _refused(options))
            return options
        case [dict(items)] if report_fields(
            name, Table(items, table.at(name), table.report), scope, of_list=True
        ):
            return None
        case _:
            wanted = "a type or a table of options"
            label = home_of(table.at(name))
            example = example_of_type(value, table, scope)
            table.wrong_kind(name, value, wanted, example, label)
            return None


def _refused(options: Table) -> Mapping[str, tuple[Code, str]]:
    """Advice for words of other tools that mean a limit: which, the type says."""
    kind = options.values.get("type")
    refused = {**_REFUSED}
    for word in options.values:
        near = None if word in FIELD_OPTIONS else suggest(word, FIELD_OPTIONS)
        if near and isinstance(kind, str) and (advice := limit_that_fits(near, kind)):
            refused[word] = (Code.UNKNOWN_KEY, advice)
    return refused


def _field(
    options: Table, name: str, keys: WireKeys, scope: Scope, encodings: Encodings
) -> Field | None:
    key, aliases = keys.take(name, options)
    found = _type(options, name, scope)
    if found is None:
        return None
    mapper = field_mapper(options, found, scope)
    encoding = _encoding(options, found, mapper, encodings)
    bounds = parse_constraints(options, found, encoding)
    return Field(
        name=name,
        attribute=attribute(name),
        key=key,
        type=found,
        aliases=aliases,
        default=_default(options, found),
        mapper=mapper,
        encoding=encoding,
        **{one.name: getattr(bounds, one.name) for one in dataclasses.fields(bounds)},
        secret=options.flag("secret"),
        label=read_label(options, found, mapper),
        doc=options.text("doc") or "",
        deprecated=options.text_or_flag("deprecated"),
    )


def _type(options: Table, name: str, scope: Scope) -> Type | None:
    found = _spelt_type(options, name, scope)
    return with_items(options, retagged(found, options)) if found else None


def _spelt_type(options: Table, name: str, scope: Scope) -> Type | None:
    text = options.text("type")
    if text is not None:
        trial, location = Report(), options.at("type")
        found = parse_type(text, location, scope, trial)
        report_misplaced(text, options.location, location, trial, options.report)
        if found is not None and "one_of" in options.values:
            return parse_one_of(options, found)
        return found
    if "type" in options.values:
        return None
    if "one_of" in options.values:
        return parse_one_of(options, None)
    options.report(
        Code.MISSING_KEY,
        options.location.key(),
        f"{quoted(name)} has no type",
        'add `type = "str"`',
    )
    return None


def _default(options: Table, found: Type) -> Value | Factory | None:
    factory = read_function(options, "factory")
    given = [key for key in ("default", "factory") if key in options.values]
    if isinstance(found, Optional):
        for key in given:
            options.report(
                Code.DEFAULT_ON_OPTIONAL,
                options.at(key).key(),
                f"`{key}` on an optional type, which is None when absent",
                f"remove `{key}`, or the `?` of the type",
            )
        return None
    if len(given) == 2:
        options.report(
            Code.DEFAULT_TWICE,
            options.at("factory").key(),
            "`default` and `factory` exclude each other",
            "keep one",
            also=(options.at("default").key(), "the other one"),
        )
    if "default" in options.values:
        return Value(options.values["default"])
    return Factory(factory) if factory else None


def _encoding(
    options: Table, found: Type, mapper: Mapper | None, encodings: Encodings
) -> Encoding | None:
    encoding = options.text("encoding")
    if encoding is None:
        return None
    inner = base(found)
    fitting = encodings.get(inner.name if isinstance(inner, Scalar) else "", ())
    if mapper and mapper.is_complete:
        message, label = (
            "`encoding` together with a mapper",
            "the mapper writes the text",
        )
    elif not fitting:
        message = "`encoding` does not fit this type"
        label = f"it is for {', '.join(encodings)}"
    else:
        for known in fitting:
            if known == encoding:
                # A type's own is the same as none, spelled out.
                return None if known == fitting[0] else known
        message = f"unknown encoding {quoted(encoding)}"
        label = f"choose from {', '.join(fitting)}"
    options.report(Code.ENCODING, options.at("encoding"), message, label)
    return None
