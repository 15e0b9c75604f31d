"""What one schema writes and another does not read, and with which words it refuses.

The words are not guessed: a value that can be written is given to the codec that would
read it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final, Self, TypeAlias

from flowd import wire
from flowd.wire import CodecError
from flowd_codegen.compat.same_text import every_text, json_of, texts_of
from flowd_codegen.model.kinds import (
    Bounds,
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
from flowd_codegen.model.limits import Limits
from flowd_codegen.model.scalars import scalar
from flowd_codegen.model.schema import Encoding, Enum, Field

__all__ = [
    "MISREAD",
    "UNKNOWN",
    "Choices",
    "Readability",
    "choice_refusal",
    "choices_of",
    "written_choices",
    "written_texts",
]

MISREAD: Final = "read as another value, and no error says so"
"""What happens where the reader takes the writer's text for its own."""

UNKNOWN: Final = "refused or misread, as the mappers will have it"
"""What happens where the user's own functions decide."""

Choices: TypeAlias = tuple[str, ...] | tuple[int, ...]
"""The values of an enum or `one_of`."""

_Codec: TypeAlias = tuple[Callable[[bytes], object], Callable[[wire.Json], object]]

_SAMPLES: Final[dict[str, wire.Json]] = {
    "str": "text",
    "bytes": "/w==",
    "bool": True,
    "01": "1",
    "float": 0.5,
    "decimal": "1.50",
    "uuid": "2f1c4d5e-0000-4000-8000-000000000000",
    "datetime": "2026-01-31T12:00:00+00:00",
    "date": "2026-01-31",
    "duration": 1500,
    "json": {"a": [None]},
    "hex": "ff",
    "raw": "\x7f",
    "unix_ms": 1500,
}


class _AnyRecord:
    """A member of a union that reads every object: only its tag is looked at."""

    def to_json(self) -> dict[str, wire.Json]:
        """Nothing is ever written."""
        return {}

    @classmethod
    def from_json(cls, value: wire.Json) -> Self:
        """Read every object."""
        wire.items_of(value)
        return cls()


_JSON: Final = Scalar("json")
_LIST: Final = wire.list_of(wire.JSON)
_OBJECT: Final = wire.dict_of(wire.JSON)


def choices_of(kind: Type, enums: Mapping[str, Enum]) -> Choices | None:
    """The values of an enum or `one_of`; None for a type without a list of them."""
    match kind:
        case OneOf(values):
            return values
        case EnumRef(name):
            return tuple(text for _, text in enums[name].members)
        case _:
            return None


def written_texts(enum: Enum) -> tuple[str, ...]:
    """The texts that are written: not that of the member for unknown ones."""
    return tuple(text for member, text in enum.members if member != enum.unknown)


def written_choices(kind: Type, enums: Mapping[str, Enum]) -> Choices | None:
    """The values that are written of an enum or `one_of`."""
    if isinstance(kind, EnumRef):
        return written_texts(enums[kind.name])
    return choices_of(kind, enums)


def choice_refusal(old: Choices, new: Choices) -> CodecError | None:
    """Why one of the old values is not read any more."""
    return Readability({}, {}, in_json=False).types(OneOf(old), OneOf(new))


@dataclass(frozen=True, slots=True)
class Readability:
    """One schema writes, another reads.

    Records that both sides hold in the same place, and enums of one name, are taken to
    agree: each such pair is compared once, for itself.

    Attributes:
        writer: the enums of the one that writes, by name.
        reader: the enums of the one that reads.
        in_json: the fields are members of a JSON object.
    """

    writer: Mapping[str, Enum]
    reader: Mapping[str, Enum]
    in_json: bool

    def refusal(self, old: Field, new: Field) -> CodecError | None:
        """Why `new` does not read some value that `old` writes; None when it reads all.

        None, the value, is another matter.
        """
        kind, other = base(old.type), base(new.type)
        written, wanted = Limits.of_field(kind, old), Limits.of_field(other, new)
        if old.mapper != new.mapper or (new.mapper and kind != other):
            return CodecError(UNKNOWN)
        if new.mapper:
            return wanted.refusal(written)
        return self._refusal(kind, other, written, wanted, in_json=self.in_json)

    def types(self, old: Type, new: Type) -> CodecError | None:
        """The same for types that no field adds limits to."""
        written, wanted = Limits.of(old), Limits.of(new)
        return self._refusal(old, new, written, wanted, in_json=self.in_json)

    def null(self, field: Field) -> CodecError | None:
        """Why a field inside JSON does not read null."""
        mapped = field.mapper and field.mapper.deserialize
        return self._null(Scalar("str") if mapped else field.type, field.encoding)

    def _null(self, kind: Type, encoding: Encoding | None = None) -> CodecError | None:
        if isinstance(kind, Optional):
            return None
        wanted = Limits.of(kind, encoding=encoding)
        return self._read(kind, None, wanted, in_json=True)

    def _refusal(
        self, old: Type, new: Type, written: Limits, wanted: Limits, *, in_json: bool
    ) -> CodecError | None:
        match old, new:
            case (ListOf(inner, each), ListOf(other, every)) | (
                DictOf(inner, each),
                DictOf(other, every),
            ):
                refused = self._item(inner, other, each, every)
                return (
                    wire.inside("[0]", refused) if refused else wanted.refusal(written)
                )
            case (RecordRef(), RecordRef()):
                return None
            case (EnumRef(name), EnumRef(same)) if name == same:
                return None
            case (UnionOf(_, tag), UnionOf(members)):
                for member_tag, _ in old.members:
                    if tag != new.tag or member_tag not in dict(members):
                        return self._read(
                            new, {tag: member_tag}, wanted, in_json=in_json
                        )
                return None
            case _:
                pass
        samples = self._samples(old, new, written, wanted, in_json=in_json)
        if samples is None:
            own = written_choices(old, self.writer)
            sample = own[0] if own else _sample(old, new, written)
            return self._read(new, sample, wanted, in_json=in_json) or CodecError(
                MISREAD
            )
        for sample in samples:
            if refused := self._read(new, sample, wanted, in_json=in_json):
                return refused
        if samples and isinstance(new, EnumRef) and self.reader[new.name].unknown:
            return CodecError(MISREAD)
        if old == new:
            return wanted.refusal(written)
        own = written_choices(old, self.writer)
        known = every_text(old, own, written, in_json=in_json)
        undecided = new == Scalar("str") and known is None
        # Some texts that were tried match it, and no more is known.
        return (
            CodecError(f"does not match {wanted.pattern}")
            if undecided and wanted.pattern
            else None
        )

    def _item(
        self, old: Type, new: Type, each: Bounds, every: Bounds
    ) -> CodecError | None:
        if isinstance(old, Optional) and (refused := self._null(new)):
            return refused
        kind, other = base(old), base(new)
        written, wanted = Limits.of(kind, each), Limits.of(other, every)
        return self._refusal(kind, other, written, wanted, in_json=True)

    def _samples(
        self, old: Type, new: Type, written: Limits, wanted: Limits, *, in_json: bool
    ) -> Sequence[wire.Json] | None:
        """Values to try, when all others are read; None when that is not known."""
        own = written_choices(old, self.writer)
        choices = choices_of(new, self.reader)
        texts = every_text(old, own, written, in_json=in_json)
        if choices is not None:
            if texts is not None and isinstance(choices[0], str):
                return [one for one in texts if one not in choices]
            return _not_among(choices, old, own, written)
        if new == Scalar("str") and texts is not None:
            return texts
        if wanted.reads(written, in_json=in_json):
            return wanted.samples_outside(written)
        if new == Scalar("str") and old != new:
            return texts_of(old, written, in_json=in_json)
        if _is_open(new, wanted) and old != new and (new == _JSON or _is_object(old)):
            return json_of(old, written, in_json=in_json)
        same = written.encoding == wanted.encoding or old == Scalar("bool")
        return [] if old == new and same else None

    def _read(
        self, kind: Type, value: wire.Json, wanted: Limits, *, in_json: bool
    ) -> CodecError | None:
        """Why a type does not read a value inside JSON, or its text as a field."""
        read, load = self._codec(kind, wanted)
        text = value if isinstance(value, str) else json.dumps(value)
        try:
            wanted.check(load(value) if in_json else read(text.encode()))
        except CodecError as error:
            return error
        return None

    def _codec(self, kind: Type, wanted: Limits) -> _Codec:
        """What reads a field of the type, and what reads it inside JSON."""
        choices = choices_of(kind, self.reader) or ()
        texts = {str(one).encode(): one for one in choices}
        match kind:
            case OneOf():
                return (
                    partial(wire.decode_one_of, choices=texts),
                    wire.one_of(texts).load,
                )
            case EnumRef(name) if self.reader[name].unknown:
                return bytes.decode, wire.STR.load
            case EnumRef():
                read = partial(wire.decode_one_of, choices=texts)
                return read, lambda value: read(str(wire.STR.load(value)).encode())
            case Scalar(name) if name != "json":
                row = scalar(name, wanted.encoding)
                return row.read, row.load
            case UnionOf(members, tag):
                known = dict.fromkeys(
                    (member_tag for member_tag, _ in members), _AnyRecord
                )
                shape = wire.union_of(tag, known)
                return partial(wire.decode_json, shape=shape), shape.load
            case ListOf():
                return partial(wire.decode_json, shape=_LIST), _LIST.load
            case DictOf() | RecordRef():
                return partial(wire.decode_json, shape=_OBJECT), _OBJECT.load
            case _:
                return partial(wire.decode_json, shape=wire.JSON), wire.JSON.load


def _not_among(
    choices: Choices, old: Type, own: Choices | None, written: Limits
) -> Sequence[wire.Json] | None:
    """Values of a type that are not among `choices`; None when it is of another kind."""
    if own is not None and isinstance(own[0], type(choices[0])):
        return [one for one in own if one not in choices]
    if written.number == "int" and isinstance(choices[0], int):
        if written.high < written.low + len(choices):
            inside = range(int(written.low), int(written.high) + 1)
            return [one for one in inside if one not in choices]
        start = written.low if written.low > -math.inf else written.high - len(choices)
        if start == math.inf:
            start = 0
        return [next(n for n in count(int(start)) if n not in choices)]
    if old == Scalar("str") and isinstance(choices[0], str):
        return ["x" * (max(map(len, map(str, choices))) + 1)]
    return None


def _is_object(kind: Type) -> bool:
    return isinstance(kind, DictOf | RecordRef | UnionOf)


def _is_open(kind: Type, wanted: Limits) -> bool:
    """Whether a type reads any JSON, or any object."""
    sized = wanted.min_len > 0 or wanted.max_len < math.inf
    return kind == _JSON or (kind == DictOf(_JSON) and not sized)


def _sample(kind: Type, other: Type, written: Limits) -> wire.Json:
    """Some value of a type, as JSON has it; of `json` one that `other` may refuse."""
    match kind:
        case Scalar("json") if _is_object(other):
            return []
        case _ if written.number == "int":
            return int(min(max(7, written.low), written.high))
        case Scalar(name):
            return _SAMPLES.get(written.encoding or name, _SAMPLES.get(name, 7))
        case ListOf():
            return []
        case _:
            return {}
