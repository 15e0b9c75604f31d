"""What a type is made of: the names, unions and choices in it."""

from __future__ import annotations

from collections.abc import Iterator

from flowd_codegen.model.kinds import (
    DictOf,
    EnumRef,
    ListOf,
    OneOf,
    Optional,
    RecordRef,
    Type,
    UnionOf,
    base,
)

__all__ = ["bare", "choices_in", "innermost", "names_in", "unions_in"]


def bare(kind: Type) -> Type:
    """The type without what the items of its lists and dicts keep to."""
    match kind:
        case ListOf(item):
            return ListOf(bare(item))
        case DictOf(value):
            return DictOf(bare(value))
        case Optional(item):
            return Optional(bare(item))
        case _:
            return kind


def choices_in(kind: Type) -> OneOf | None:
    """The `one_of` that a type is, or that its items are; there is one at most."""
    match kind:
        case OneOf():
            return kind
        case ListOf(item) | DictOf(item) | Optional(item):
            return choices_in(item)
        case _:
            return None


def innermost(one: Type, other: Type) -> tuple[Type, Type]:
    """What two types hold at the same place: without `?`, and lists or dicts of both."""
    match base(one), base(other):
        case (ListOf(item), ListOf(same)) | (DictOf(item), DictOf(same)):
            return innermost(item, same)
        case pair:
            return pair


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
