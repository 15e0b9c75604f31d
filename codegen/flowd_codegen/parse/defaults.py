"""Defaults: a TOML value checked against the type, bounds and choices of its field."""

from __future__ import annotations

from dataclasses import replace

from flowd import wire
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.diagnostics.suggest import did_you_mean, suggest
from flowd_codegen.model.bounds import broken
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
from flowd_codegen.model.scalars import native_value
from flowd_codegen.model.schema import Encoding, Field, Value
from flowd_codegen.parse.backtracking import matches
from flowd_codegen.parse.scalars import InvalidValue, read_scalar, wrong
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table, Toml

__all__ = ["check_defaults", "check_value"]


def check_defaults(
    fields: tuple[Field, ...], table: Table, scope: Scope, group: str = ""
) -> tuple[Field, ...]:
    """Check each default and convert it to the form of `schema.Value`.

    Args:
        fields: with their defaults as written.
        table: `[job.X.fields]` or `[record.X.fields]`, for the places.
        scope: with all enums and records.
        group: the table's own group; fields of other groups are checked already.
    """
    checker = _DefaultChecker(scope, table.report)
    checked: list[Field] = []
    for field in fields:
        if field.group != group:
            theirs = scope.groups[field.group].fields
            same = next(one for one in theirs if one.name == field.name)
            checked.append(replace(field, default=same.default))
            continue
        given = table.values[field.name]
        if isinstance(given, dict) and isinstance(field.default, Value):
            location = table.at(field.name).child("default")
            value = checker.field(given["default"], field, location)
            checked.append(replace(field, default=Value(value)))
        else:
            checked.append(field)
    return tuple(checked)


def check_value(
    value: Toml, field: Field, location: SourceLocation, scope: Scope, report: Report
) -> object:
    """Judge a value that a field is given, as a default is; faults are reported.

    Returns:
        It, in the form of `schema.Value`.
    """
    return _DefaultChecker(scope, report, "the value").field(value, field, location)


class _DefaultChecker:
    def __init__(self, scope: Scope, report: Report, what: str = "the default") -> None:
        self.scope = scope
        self.report = report
        self.what = what

    def field(self, value: Toml, field: Field, location: SourceLocation) -> object:
        """The value in its final form; what it is after a reported fault is no matter."""
        try:
            found = self.value(_in_base64(value, field, location), field.type, location)
        except InvalidValue as invalid:
            message = f"{self.what} does not fit: {invalid}"
            self.report(Code.DEFAULT_MISFIT, invalid.location, message, invalid.label)
            return value
        self.bounds(found, base(field.type), field, location, field.encoding)
        return found

    def bounds(
        self,
        value: object,
        kind: Type,
        bounds: Bounds,
        location: SourceLocation,
        encoding: Encoding | None = None,
    ) -> None:
        native = native_value(kind.name, value) if isinstance(kind, Scalar) else value
        if against := broken(native, kind, bounds, encoding):
            message = f"{self.what} is against `{against[0]}` of its own field"
            self.report(Code.DEFAULT_OUT_OF_BOUNDS, location, message)
        elif isinstance(value, str) and bounds.pattern is not None:
            self.pattern(bounds.pattern, value, location)

    def pattern(self, pattern: str, default: str, location: SourceLocation) -> None:
        match matches(pattern, default):
            case True:
                return
            case False:
                message = f"{self.what} is against `pattern` of its own field"
            case None:
                message = f"`pattern` takes more than two seconds for {self.what}"
        self.report(Code.DEFAULT_OUT_OF_BOUNDS, location, message)

    def value(self, value: Toml, found: Type, location: SourceLocation) -> object:
        match found:
            case Scalar(name):
                return read_scalar(value, name, location, self.report)
            case Optional(item):
                return self.value(value, item, location)
            case ListOf(item, each):
                if not isinstance(value, list):
                    raise wrong(value, "an array", location)
                return [
                    self.item(one, item, each, location.child(index))
                    for index, one in enumerate(value)
                ]
            case DictOf(item, each):
                if not isinstance(value, dict):
                    raise wrong(value, "a table", location)
                return {
                    key: self.item(one, item, each, location.child(key))
                    for key, one in value.items()
                }
            case EnumRef(name):
                return self.member(value, name, location)
            case RecordRef(name):
                return self.record(value, name, location)
            case UnionOf():
                return self.union(value, found, location)
            case OneOf(choices):
                # In Python True equals 1.
                if isinstance(value, bool) or value not in choices:
                    label = f"choose from {', '.join(map(_literal, choices[:20]))}"
                    raise InvalidValue(location, "it is none of `one_of`", label)
                return value
            case External():
                label = 'write `factory = "module:function"` instead'
                raise InvalidValue(
                    location, "TOML cannot spell a class of your own", label
                )

    def item(
        self, value: Toml, kind: Type, each: Bounds, location: SourceLocation
    ) -> object:
        found = self.value(value, kind, location)
        self.bounds(found, base(kind), each, location)
        return found

    def member(self, value: Toml, name: str, location: SourceLocation) -> object:
        enum = self.scope.enums.get(name)
        if not isinstance(value, str):
            if enum is None:
                return value  # what is wrong with the enum is reported there
            raise wrong(value, f"a value of `{name}`", location)
        texts = [text for _, text in enum.members] if enum else []
        if texts and value not in texts:
            near = suggest(value, texts)
            label = (
                f"did you mean {quoted(near)}?"
                if near
                else f"choose from {', '.join(map(_literal, texts[:20]))}"
            )
            raise InvalidValue(
                location, f"{quoted(value)} is no value of `{name}`", label
            )
        if enum and (enum.unknown, value) in enum.members:
            message = f"{quoted(value)} stands for what `{name}` does not know"
            raise InvalidValue(location, message, "it is only read, never written")
        return value

    def union(self, value: Toml, union: UnionOf, location: SourceLocation) -> object:
        if not isinstance(value, dict):
            raise wrong(value, "a table", location)
        members = dict(union.members)
        tag = value.get(union.tag)
        label = f"choose from {', '.join(map(_literal, [*members][:20]))}"
        if tag is None:
            message = f"it has no {quoted(union.tag)}, which says what it is"
            raise InvalidValue(location, message, label)
        if not isinstance(tag, str) or tag not in members:
            message = f"its {quoted(union.tag)} is none of the union's"
            raise InvalidValue(location.child(union.tag), message, label)
        fields = {key: one for key, one in value.items() if key != union.tag}
        return {union.tag: tag, **self.record(fields, members[tag], location)}

    def record(
        self, value: Toml, name: str, location: SourceLocation
    ) -> dict[str, object]:
        if not isinstance(value, dict):
            raise wrong(value, f"a table of `{name}`", location)
        record = self.scope.records.get(name)
        fields = {field.name: field for field in record.fields} if record else {}
        for key in value:
            if record and key not in fields:
                label = did_you_mean(key, fields)
                message = f"`{name}` has no field {quoted(key)}"
                raise InvalidValue(location.child(key).key(), message, label)
        for field in fields.values():
            optional = isinstance(field.type, Optional)
            if field.name not in value and not optional and field.default is None:
                raise InvalidValue(location, f"`{name}` needs `{field.name}`")
        return {
            key: self.field(one, fields[key], location.child(key))
            for key, one in value.items()
            if key in fields
        }


def _in_base64(value: Toml, field: Field, location: SourceLocation) -> Toml:
    """A default of bytes as the model has it; it is written as the field's own text."""
    if base(field.type) != Scalar("bytes") or not isinstance(value, str):
        return value
    try:
        match field.encoding:
            case "hex":
                return wire.encode_base64(wire.decode_hex(value.encode())).decode()
            case "raw":
                return wire.encode_base64(value.encode()).decode()
            case _:
                return value
    except wire.CodecError as error:
        raise InvalidValue(location, str(error)) from error


def _literal(choice: str | int) -> str:
    return quoted(choice) if isinstance(choice, str) else str(choice)
