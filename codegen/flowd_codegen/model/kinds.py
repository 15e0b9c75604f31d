"""The types that a field may have, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "ANY",
    "Bound",
    "Bounds",
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
]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A built-in type: `str bytes bool float decimal uuid datetime date duration json
    int u8 u16 u32 u64 i8 i16 i32 i64`.
    """

    name: str


Bound: TypeAlias = int | float | str
"""A number, or the wire text of a decimal, date, datetime (RFC 3339) or duration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The limits of a field's values, or of the items of a list or dict, except None."""

    min: Bound | None = None
    max: Bound | None = None
    above: Bound | None = None
    """As `min`, without the bound itself; never together with `min`."""

    below: Bound | None = None
    """The same of `max`."""

    places: int | None = None
    """Most digits of a decimal behind the point, but for zeros at its end."""

    min_len: int | None = None
    max_len: int | None = None
    pattern: str | None = None
    """A Python regular expression that compiles; the whole text must match."""


ANY: Final = Bounds()
"""No bounds."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """`list[item]`, JSON on the wire; each item that is not None keeps to `each`."""

    item: Type
    each: Bounds = ANY


@dataclass(frozen=True, slots=True)
class DictOf:
    """`dict[str, value]`, JSON on the wire; each value that is not None as in a list."""

    value: Type
    each: Bounds = ANY


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
    """`Card | Sepa`: records, distinguished by the text under one key of the object.

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
