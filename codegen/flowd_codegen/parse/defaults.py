"""Defaults: a TOML value judged by the type, bounds and choices of its field."""

from __future__ import annotations

from dataclasses import replace

from flowd import wire
from flowd_codegen.diagnostics.location import Place
from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.diagnostics.suggest import nearest
from flowd_codegen.model.bounds import broken, is_ranged, native
from flowd_codegen.model.schema import (
    Bounds,
    DictOf,
    Encoding,
    EnumRef,
    External,
    Field,
    ListOf,
    OneOf,
    Optional,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
    Value,
    base,
)
from flowd_codegen.parse.backtracking import matches
from flowd_codegen.parse.scalars import Misfit, read_scalar, wrong
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table, Toml

__all__ = ["check_defaults"]


def check_defaults(
    fields: tuple[Field, ...], table: Table, scope: Scope, group: str = ""
) -> tuple[Field, ...]:
    """Judge each default and put it into the form of `schema.Value`.

    Args:
        fields: with their defaults as written.
        table: `[job.X.fields]` or `[record.X.fields]`, for the places.
        scope: with all enums and records.
        group: of which the table is, whose fields are judged once for all.
    """
    judge = _Judge(scope, table.report)
    checked: list[Field] = []
    for field in fields:
        if field.group != group:
            theirs = scope.groups[field.group].fields
            checked.append(next(one for one in theirs if one.name == field.name))
            continue
        given = table.values[field.name]
        if isinstance(given, dict) and isinstance(field.default, Value):
            place = table.at(field.name).child("default")
            value = judge.field(given["default"], field, place)
            checked.append(replace(field, default=Value(value)))
        else:
            checked.append(field)
    return tuple(checked)


class _Judge:
    def __init__(self, scope: Scope, report: Report) -> None:
        self.scope = scope
        self.report = report

    def field(self, value: Toml, field: Field, place: Place) -> object:
        """The value in its final form; what it is after a reported fault is no matter."""
        try:
            found = self.value(_in_base64(value, field, place), field.type, place)
        except Misfit as misfit:
            message = f"the default does not fit: {misfit}"
            self.report(Code.DEFAULT_MISFIT, misfit.place, message, misfit.label)
            return value
        self.bounds(found, base(field.type), field, place, field.encoding)
        return found

    def bounds(
        self,
        value: object,
        kind: Type,
        bounds: Bounds,
        place: Place,
        encoding: Encoding | None = None,
    ) -> None:
        if against := broken(_native(kind, value), kind, bounds, encoding):
            message = f"the default is against `{against[0]}` of its own field"
            self.report(Code.DEFAULT_OUT_OF_BOUNDS, place, message)
        elif isinstance(value, str) and bounds.pattern is not None:
            self.pattern(bounds.pattern, value, place)

    def pattern(self, pattern: str, default: str, place: Place) -> None:
        match matches(pattern, default):
            case True:
                return
            case False:
                message = "the default is against `pattern` of its own field"
            case None:
                message = "`pattern` takes more than two seconds for the default"
        self.report(Code.DEFAULT_OUT_OF_BOUNDS, place, message)

    def value(self, value: Toml, found: Type, place: Place) -> object:
        match found:
            case Scalar(name):
                return read_scalar(value, name, place, self.report)
            case Optional(item):
                return self.value(value, item, place)
            case ListOf(item, each):
                if not isinstance(value, list):
                    raise wrong(value, "an array", place)
                return [
                    self.item(one, item, each, place.child(index))
                    for index, one in enumerate(value)
                ]
            case DictOf(item, each):
                if not isinstance(value, dict):
                    raise wrong(value, "a table", place)
                return {
                    key: self.item(one, item, each, place.child(key))
                    for key, one in value.items()
                }
            case EnumRef(name):
                return self.member(value, name, place)
            case RecordRef(name):
                return self.record(value, name, place)
            case UnionOf():
                return self.union(value, found, place)
            case OneOf(choices):
                # In Python True equals 1.
                if isinstance(value, bool) or value not in choices:
                    label = f"choose from {', '.join(map(_literal, choices[:20]))}"
                    raise Misfit(place, "it is none of `one_of`", label)
                return value
            case External():
                label = 'write `factory = "module:function"` instead'
                raise Misfit(place, "TOML cannot spell a class of your own", label)

    def item(self, value: Toml, kind: Type, each: Bounds, place: Place) -> object:
        found = self.value(value, kind, place)
        self.bounds(found, base(kind), each, place)
        return found

    def member(self, value: Toml, name: str, place: Place) -> object:
        enum = self.scope.enums.get(name)
        if not isinstance(value, str):
            if enum is None:
                return value  # what is wrong with the enum is reported there
            raise wrong(value, f"a value of `{name}`", place)
        texts = [text for _, text in enum.members] if enum else []
        if texts and value not in texts:
            near = nearest(value, texts)
            label = (
                f"did you mean {quoted(near)}?"
                if near
                else f"choose from {', '.join(map(_literal, texts[:20]))}"
            )
            raise Misfit(place, f"{quoted(value)} is no value of `{name}`", label)
        if enum and (enum.unknown, value) in enum.members:
            message = f"{quoted(value)} stands for what `{name}` does not know"
            raise Misfit(place, message, "it is only read, never written")
        return value

    def union(self, value: Toml, union: UnionOf, place: Place) -> object:
        if not isinstance(value, dict):
            raise wrong(value, "a table", place)
        members = dict(union.members)
        tag = value.get(union.tag)
        label = f"choose from {', '.join(map(_literal, [*members][:20]))}"
        if tag is None:
            message = f"it has no {quoted(union.tag)}, which says what it is"
            raise Misfit(place, message, label)
        if not isinstance(tag, str) or tag not in members:
            message = f"its {quoted(union.tag)} is none of the union's"
            raise Misfit(place.child(union.tag), message, label)
        fields = {key: one for key, one in value.items() if key != union.tag}
        return {union.tag: tag, **self.record(fields, members[tag], place)}

    def record(self, value: Toml, name: str, place: Place) -> dict[str, object]:
        if not isinstance(value, dict):
            raise wrong(value, f"a table of `{name}`", place)
        record = self.scope.records.get(name)
        fields = {field.name: field for field in record.fields} if record else {}
        for key in value:
            if record and key not in fields:
                near = nearest(key, fields)
                label = f"did you mean `{near}`?" if near else ""
                message = f"`{name}` has no field {quoted(key)}"
                raise Misfit(place.child(key).key(), message, label)
        for field in fields.values():
            optional = isinstance(field.type, Optional)
            if field.name not in value and not optional and field.default is None:
                raise Misfit(place, f"`{name}` needs `{field.name}`")
        return {
            key: self.field(one, fields[key], place.child(key))
            for key, one in value.items()
            if key in fields
        }


def _in_base64(value: Toml, field: Field, place: Place) -> Toml:
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
        raise Misfit(place, str(error)) from error


def _literal(choice: str | int) -> str:
    return quoted(choice) if isinstance(choice, str) else str(choice)


def _native(kind: Type, value: object) -> object:
    """A value in the model's form as Python has it."""
    match kind, value:
        case Scalar("bytes"), str():
            return wire.decode_base64(value.encode())
        case Scalar(name), str() if name != "str" and is_ranged(kind):
            return native(kind, value)
        case _:
            return value
