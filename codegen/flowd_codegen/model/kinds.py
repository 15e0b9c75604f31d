"""The types that a field may have, and what they are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "DictOf",
    "EnumRef",
    "External",
    "ListOf",
    "OneOf",
    "Optional",
    "RecordRef",
    "Scalar",
    "Type",
    "UnionOf",
    "base",
    "names_in",
    "unions_in",
]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A built-in type: `str bytes bool float decimal uuid datetime date duration json
    int u8 u16 u32 u64 i8 i16 i32 i64`.
    """

    name: str


@dataclass(frozen=True, slots=True)
class ListOf:
    """`list[item]`, JSON on the wire."""

    item: Type


@dataclass(frozen=True, slots=True)
class DictOf:
    """`dict[str, value]`, JSON on the wire."""

    value: Type


@dataclass(frozen=True, slots=True)
class EnumRef:
    """An `[enum.N]` of any file."""

    name: str


@dataclass(frozen=True, slots=True)
class RecordRef:
    """A `[record.N]` of any file, JSON on the wire."""

    name: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """`one_of`: a literal set of strings, or of integers."""

    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class External:
    """`module:Name`, a user's class, always with a mapper; dotted as in `Function`."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class UnionOf:
    """`Card | Sepa`: records, told apart by the text under one key of the object.

    Attributes:
        members: the text that stands for a record, and its name; as declared.
        tag: the key.
    """

    members: tuple[tuple[str, str], ...]
    tag: str


@dataclass(frozen=True, slots=True)
class Optional:
    """`type?`: None, absent on the wire (null inside JSON)."""

    item: Type


Type: TypeAlias = (
    Scalar
    | ListOf
    | DictOf
    | EnumRef
    | RecordRef
    | UnionOf
    | OneOf
    | External
    | Optional
)


def base(kind: Type) -> Type:
    """The type without its `?`."""
    return kind.item if isinstance(kind, Optional) else kind


def names_in(kind: Type) -> Iterator[str]:
    """The enums and records that a type mentions."""
    match kind:
        case EnumRef(name) | RecordRef(name):
            yield name
        case UnionOf(members):
            yield from (name for _, name in members)
        case ListOf(item) | DictOf(item) | Optional(item):
            yield from names_in(item)
        case _:
            pass


def unions_in(kind: Type) -> Iterator[UnionOf]:
    """The unions that a type is made of."""
    match kind:
        case UnionOf():
            yield kind
        case ListOf(item) | DictOf(item) | Optional(item):
            yield from unions_in(item)
        case _:
            pass
