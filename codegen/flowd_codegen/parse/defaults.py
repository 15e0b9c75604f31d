"""Defaults: a TOML value judged by the type, bounds and choices of its field."""

from __future__ import annotations

import math
import sys
from collections.abc import Sized
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from flowd import wire
from flowd_codegen.diagnostics.location import Place
from flowd_codegen.diagnostics.report import Code, Report, quoted
from flowd_codegen.diagnostics.suggest import nearest
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import (
    DictOf,
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
from flowd_codegen.parse.default_texts import (
    TEXTS,
    Misfit,
    decimal_text,
    in_base64,
    own_text,
)
from flowd_codegen.parse.queue import read_duration
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import Table, Toml, example_of, kind_of

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
            found = self.value(in_base64(value, field, place), field.type, place)
        except Misfit as misfit:
            message = f"the default does not fit: {misfit}"
            self.report(Code.DEFAULT_MISFIT, misfit.place, message, misfit.label)
            return value
        if broken := _broken_bound(found, field):
            message = f"the default is against `{broken}` of its own field"
            self.report(Code.DEFAULT_OUT_OF_BOUNDS, place, message)
        elif isinstance(found, str) and field.pattern is not None:
            self.pattern(field.pattern, found, place)
        return found

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
                return self.scalar(value, name, place)
            case Optional(item):
                return self.value(value, item, place)
            case ListOf(item):
                if not isinstance(value, list):
                    raise _wrong(value, "an array", place)
                return [
                    self.value(one, item, place.child(index))
                    for index, one in enumerate(value)
                ]
            case DictOf(item):
                if not isinstance(value, dict):
                    raise _wrong(value, "a table", place)
                return {
                    key: self.value(one, item, place.child(key))
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

    def scalar(self, value: Toml, name: str, place: Place) -> object:
        match name, value:
            case "str", str():
                return value
            case "bool", bool():
                return value
            case "float", int() | float() if not isinstance(value, bool):
                return self.finite(value, place)
            case "decimal", int() if not isinstance(value, bool):
                return str(value)
            case "decimal", str():
                return decimal_text(value, place)
            case "datetime", datetime() if value.tzinfo:
                return wire.encode_datetime(value).decode()
            case "datetime", datetime():
                label = f"write `{value.isoformat()}Z` for UTC"
                raise Misfit(place, "it has no offset", label)
            case "date", date() if not isinstance(value, datetime):
                return wire.encode_date(value).decode()
            case "duration", _:
                # A text that is no duration is reported as one, in the usual words.
                milliseconds = read_duration(value, place, self.report)
                return own_text(str(milliseconds or 0), name, place)
            case "json", _:
                return self.json(value, place)
            case _, int() if not isinstance(value, bool):
                low, high = INTEGERS.get(name, (-math.inf, math.inf))
                if name not in ("int", *INTEGERS):
                    raise _wrong(value, _WANTED[name], place)
                if not low <= value <= high:
                    raise Misfit(place, f"it is not in {low} to {high}")
                return value
            case _, str() if name in TEXTS:
                return own_text(value, name, place)
            case _:
                raise _wrong(value, _WANTED.get(name, "an integer"), place)

    def json(self, value: Toml, place: Place) -> object:
        match value:
            case list():
                for index, one in enumerate(value):
                    self.json(one, place.child(index))
            case dict():
                for key, one in value.items():
                    self.json(one, place.child(key))
            case float():
                self.finite(value, place)
            case str() | int():
                pass
            case _:
                raise _wrong(value, "a JSON value", place)
        return value

    def finite(self, value: float, place: Place) -> float:
        # An integer may be beyond every float.
        if not abs(value) <= sys.float_info.max:
            raise Misfit(place, "it is not finite", "use `factory` for such a number")
        return float(value)

    def member(self, value: Toml, name: str, place: Place) -> object:
        enum = self.scope.enums.get(name)
        if not isinstance(value, str):
            if enum is None:
                return value  # what is wrong with the enum is reported there
            raise _wrong(value, f"a value of `{name}`", place)
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
            raise _wrong(value, "a table", place)
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
            raise _wrong(value, f"a table of `{name}`", place)
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


_WANTED: Final = {
    "str": "a string",
    "bool": "a boolean",
    "float": "a number",
    "decimal": 'a string such as `"9.90"`',
    "uuid": "a string",
    "bytes": "a string of base64",
    "datetime": "a date and time with an offset",
    "date": "a date",
}


def _literal(choice: str | int) -> str:
    return quoted(choice) if isinstance(choice, str) else str(choice)


def _wrong(value: Toml, wanted: str, place: Place) -> Misfit:
    text = example_of(value, wanted)
    if wanted == "a string" and isinstance(value, int | float):
        text = f'"{value}"'
    message = f"it is {kind_of(value)}, not {wanted}"
    return Misfit(place, message, f"write {quoted(text)}" if text else "")


def _broken_bound(value: object, field: Field) -> str | None:
    """The name of a constraint that the value breaks."""
    inner = base(field.type)
    if isinstance(inner, Scalar) and isinstance(value, str):
        if inner.name == "decimal":
            value = Decimal(value)
        elif inner.name == "bytes":
            value = wire.decode_base64(value.encode())
    if isinstance(value, int | float | Decimal):
        for name, low, high in (("min", field.min, None), ("max", None, field.max)):
            try:
                wire.bounded(value, min=low, max=high)
            except wire.CodecError:
                return name
    if isinstance(value, Sized):
        if field.min_len is not None and len(value) < field.min_len:
            return "min_len"
        if field.max_len is not None and len(value) > field.max_len:
            return "max_len"
    return None
