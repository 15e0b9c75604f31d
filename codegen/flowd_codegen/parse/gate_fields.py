"""Which fields of a job may be a key, a cost or a level for the gate of its queue."""

from __future__ import annotations

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
)
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import Field
from flowd_codegen.parse.scope import Scope

__all__ = ["cost_refusal", "key_refusal", "level_choices"]


def key_refusal(field: Field) -> tuple[str, str] | None:
    """Why a field is no part of a key, and what to do; None for one that may be.

    A key is the text of an entry, so each value needs one text, in every entry.
    """
    name = field.name
    if isinstance(field.type, Optional):
        message = f"`{name}` may be None, and a job without it has no key"
        return message, "make it required, or take another field"
    if field.default is not None:
        message = f"`{name}` has a default, and an entry without it has no key"
        return message, "make it required, or take another field"
    if field.mapper and field.mapper.serialize:
        return None
    match field.type:
        case Scalar("float"):
            message = f"`{name}` is a float, which is no exact key"
            return message, "take an integer or a `str`"
        case Scalar("decimal"):
            message = f"`{name}` is a decimal: `1.5` and `1.50` would be two keys"
            return message, "take an integer or a `str`"
        case Scalar("datetime") if field.encoding != "unix_ms":
            message = f"`{name}` is a datetime: one moment has a text for each offset"
            return message, 'write `encoding = "unix_ms"` in the field'
        case Scalar("json") | ListOf() | DictOf() | RecordRef() | UnionOf():
            message = f"`{name}` holds JSON, and a key is made of plain values"
            return message, "put what identifies it into a field of its own"
        case _:
            return None


def cost_refusal(field: Field) -> tuple[str, str] | None:
    """Why a field is no cost, and what to do; None for one that is."""
    name, kind = field.name, field.type
    if isinstance(kind, Optional) or field.default is not None:
        message = f"`{name}` may be absent, and a job needs its cost"
        return message, "make it required"
    if field.secret:
        message = f"`{name}` is secret, and a cost would be shown"
        return message, "take a field that may be shown"
    least = _least(kind)
    if least is None or (field.mapper and field.mapper.serialize):
        message = f"`{name}` is no integer, and a cost is a whole number"
        return message, "take an integer"
    bounds = (field.min, field.above)
    given = [float(bound) for bound in bounds if isinstance(bound, int | float)]
    if max([least, *given]) < 0:
        message = f"`{name}` may be below 0, which costs nothing"
        return message, "give the field `min = 0`"
    return None


def _least(kind: Type) -> float | None:
    """The smallest value of a type of integers; None for another type."""
    match kind:
        case Scalar("int"):
            return float("-inf")
        case Scalar(name) if name in INTEGERS:
            return INTEGERS[name][0]
        case OneOf(values):
            return min((one for one in values if isinstance(one, int)), default=None)
        case _:
            return None


def level_choices(field: Field, scope: Scope) -> tuple[str, ...]:
    """The texts of a field with few values; none for another."""
    match field.type:
        case OneOf(values):
            return tuple(map(str, values))
        case EnumRef(name) if name in scope.enums:
            enum = scope.enums[name]
            return tuple(text for one, text in enum.members if one != enum.unknown)
        case _:
            return ()
