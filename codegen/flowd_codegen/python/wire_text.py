"""Values of the model as the text that is on the wire."""

from __future__ import annotations

import json
from collections.abc import Callable

from flowd import wire
from flowd.wire import Json, Shape
from flowd_codegen.model.declared import Declared
from flowd_codegen.model.kinds import (
    DictOf,
    EnumRef,
    ListOf,
    OneOf,
    Optional,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
    base,
)
from flowd_codegen.model.scalars import native_value, scalar
from flowd_codegen.model.schema import (
    Cron,
    Encoding,
    Field,
    Job,
    Value,
    is_list,
    is_table,
)

__all__ = ["WireTexts"]


class WireTexts:
    """Writes values of one schema's types as the generated classes do."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared

    def arguments(self, job: Job, cron: Cron) -> dict[str, str]:
        """What a schedule gives a job, by wire key."""
        return {
            field.key: self.text(field, cron.arguments[field.name])
            for field in job.fields
            if field.name in cron.arguments
        }

    def scheduled(self, job: Job, cron: Cron) -> dict[str, str]:
        """The entry that a schedule enqueues, by wire key.

        What a mapper writes or a factory makes is known only when the job is read, so such
        a field is absent and gets its default there.
        """
        found = {"_v": f"{job.version}"} if (job.version or 1) > 1 else {}
        for field in job.fields:
            mapped = field.mapper is not None and field.mapper.serialize is not None
            if field.name in cron.arguments:
                found[field.key] = self.text(field, cron.arguments[field.name])
            elif isinstance(field.default, Value) and not (
                mapped or field.secret or self._declared.holds_secret(field.type)
            ):
                found[field.key] = self.text(field, field.default.value)
        return found

    def text(self, field: Field, value: object) -> str:
        """A field of a job that has this value."""
        kind = base(field.type)
        match kind:
            case Scalar(name) if name != "json":
                encode = scalar(name, field.encoding).encode
                if not encode:
                    return str(value)
                write: Callable[[object], bytes] = getattr(wire, encode)
                return write(native_value(name, value)).decode(
                    errors="backslashreplace"
                )
            case EnumRef() | OneOf():
                return str(value)
            case _:
                return self.dumped(kind, value, field.encoding)

    def dumped(self, kind: Type, value: object, encoding: Encoding | None) -> str:
        """A value as the text of JSON."""
        text = self._json(kind, value, encoding)
        return json.dumps(text, ensure_ascii=False, separators=(",", ":"))

    def _json(self, kind: Type, value: object, encoding: Encoding | None) -> Json:
        match kind:
            case Optional(item):
                return None if value is None else self._json(item, value, encoding)
            case Scalar(name) if name != "json":
                shape: Shape[object] = getattr(wire, scalar(name, encoding).shape)
                return shape.dump(native_value(name, value))
            case ListOf(item) if is_list(value):
                return [self._json(item, one, None) for one in value]
            case DictOf(item) if is_table(value):
                return {key: self._json(item, one, None) for key, one in value.items()}
            case RecordRef(name) if is_table(value):
                return self._record(name, value)
            case UnionOf(members, tag) if is_table(value):
                said = str(value[tag])
                return {tag: said, **self._record(dict(members)[said], value)}
            case _:
                return _plain(value)

    def _record(self, name: str, value: dict[str, object]) -> dict[str, Json]:
        fields = self._declared.records[name].fields
        return {field.key: self._member(field, value) for field in fields}

    def _member(self, field: Field, record: dict[str, object]) -> Json:
        if field.name in record:
            value = record[field.name]
        elif isinstance(field.default, Value):
            value = field.default.value
        else:
            return None
        return self._json(field.type, value, field.encoding)


def _plain(value: object) -> Json:
    if is_list(value):
        return [_plain(one) for one in value]
    if is_table(value):
        return {key: _plain(one) for key, one in value.items()}
    assert isinstance(value, bool | int | float | str)
    return value
