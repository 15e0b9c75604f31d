"""`one_of`: the texts or integers that a value may be."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from flowd_codegen.diagnostics.report import Code
from flowd_codegen.model.kinds import (
    DictOf,
    EnumRef,
    ListOf,
    OneOf,
    Optional,
    Scalar,
    Type,
    base,
)
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.parse.table import Table, Toml, written

__all__ = ["parse_one_of"]

_MOST_SHOWN: Final = 6


def parse_one_of(options: Table, found: Type | None) -> Type | None:
    """Read `one_of`, whose values must be of the type when one is given."""
    location = options.at("one_of")
    values = options.values["one_of"]
    if not isinstance(values, list):
        options.wrong_kind("one_of", values, "an array")
        return None
    texts = [value for value in values if isinstance(value, str)]
    numbers = [
        value
        for value in values
        if isinstance(value, int) and not isinstance(value, bool)
    ]
    if not values or len(values) not in (len(texts), len(numbers)):
        options.report(
            Code.ONE_OF,
            location,
            "`one_of` holds strings or integers, one kind and at least one",
            'write it like `one_of = ["en", "de"]`',
        )
        return None
    if found is not None and _refuse_choices(options, base(found), values):
        return None
    choices = OneOf(tuple(texts)) if texts else OneOf(tuple(numbers))
    distinct: tuple[str | int, ...] = choices.values
    seen: set[str | int] = set()
    for index, choice in enumerate(distinct):
        if choice in seen:
            message = "this value is there already"
            options.report(Code.ONE_OF, location.child(index), message)
        seen.add(choice)
    if found is None:
        return choices
    _check_choices(options, base(found), choices)
    return Optional(choices) if isinstance(found, Optional) else choices


def _refuse_choices(options: Table, inner: Type, values: Sequence[Toml]) -> bool:
    """Report `one_of` of a type that has no choices; returns whether it did."""
    shown = ", ".join(
        written(value) if isinstance(value, str) else str(value)
        for value in values[:_MOST_SHOWN]
    )
    shown += ", …" * (len(values) > _MOST_SHOWN)
    match inner:
        case Scalar("str" | "int"):
            return False
        case Scalar(name) if name in INTEGERS:
            return False
        case ListOf():
            label = f"write `items = {{ one_of = [{shown}] }}`, of each item"
        case DictOf():
            label = f"write `values = {{ one_of = [{shown}] }}`, of each value"
        case Scalar("bool"):
            label = "leave it out: a boolean has two values"
        case EnumRef():
            label = "leave it out: the values are those of the enum"
        case Scalar():
            label = "leave `type` out: what is one of some texts or integers is no more"
        case _:
            label = "it is for texts and integers: leave it out"
    key = options.at("one_of").key()
    options.report(Code.ONE_OF, key, "`one_of` does not fit this type", label)
    return True


def _check_choices(options: Table, inner: Type, choices: OneOf) -> None:
    name = inner.name if isinstance(inner, Scalar) else ""
    low, high = INTEGERS.get(name, (-math.inf, math.inf))
    for index, choice in enumerate(choices.values):
        at = options.at("one_of").child(index)
        if isinstance(choice, str) != (name == "str"):
            message = f"this value is no `{name}`"
            text = written(str(choice)) if name == "str" else _digits(choice)
            label = f"write `{text}`" if text else "leave `type` out: `one_of` says it"
            options.report(Code.ONE_OF, at, message, label)
        elif isinstance(choice, int) and not low <= choice <= high:
            message = f"this value is outside of `{name}`"
            options.report(Code.ONE_OF, at, message, f"`{name}` is {low} to {high}")


def _digits(choice: object) -> str:
    return str(choice) if re.fullmatch(r"0|-?[1-9][0-9]*", str(choice)) else ""
