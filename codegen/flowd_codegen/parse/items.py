"""The limits of the items of a list (`items`), and of the values of a dict (`values`)."""

from __future__ import annotations

from typing import Final

from flowd_codegen.diagnostics.report import Code
from flowd_codegen.model.bounds import LENGTHS, RANGE
from flowd_codegen.model.kinds import DictOf, ListOf, Optional, Type
from flowd_codegen.parse.choices import parse_one_of
from flowd_codegen.parse.constraints import parse_constraints
from flowd_codegen.parse.table import Table

__all__ = ["ITEM_OPTIONS", "with_items"]

ITEM_OPTIONS: Final = (
    *("one_of", *RANGE, "places", *LENGTHS),
    *("pattern", "items", "values"),
)
"""The keys of an `items` or `values` table."""


def with_items(options: Table, found: Type) -> Type:
    """The type with the limits of its items; faults are reported.

    Args:
        options: of a field, or of the `items` of a list of lists.
        found: its type.
    """
    match found:
        case Optional(inner):
            return Optional(with_items(options, inner))
        case ListOf(item):
            _refuse(options, "values", "dicts")
            inside, item = _item(options, "items", item)
            return ListOf(item, parse_constraints(inside, item))
        case DictOf(item):
            _refuse(options, "items", "lists")
            inside, item = _item(options, "values", item)
            return DictOf(item, parse_constraints(inside, item))
        case _:
            _refuse(options, "items", "lists")
            _refuse(options, "values", "dicts")
            return found


def _item(options: Table, key: str, item: Type) -> tuple[Table, Type]:
    """The table under the key, and the type of the items."""
    if options.short or key not in options.values:
        return Table({}, options.location, options.report), item
    inside = options.table(key, "{ max_len = 20 }")
    inside.refuse_others(ITEM_OPTIONS, f"option of `{key}`")
    if "mapper" in options.values:
        message = f"`{key}` together with a mapper"
        label = "the mapper reads and writes them"
        options.report(Code.CONSTRAINT_MISFIT, options.at(key).key(), message, label)
    if "one_of" in inside.values:
        item = parse_one_of(inside, item) or item
    return inside, with_items(inside, item)


def _refuse(options: Table, key: str, kinds: str) -> None:
    if key in options.values:
        options.report(
            Code.CONSTRAINT_MISFIT,
            options.at(key).key(),
            f"`{key}` does not fit this type",
            f"it is for {kinds}",
        )
