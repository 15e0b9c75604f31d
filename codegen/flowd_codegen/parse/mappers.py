"""The user's own code in a schema: references `module:name`, and mappers that consist of them.

Nothing here imports user code.
"""

from __future__ import annotations

import keyword
from typing import Final

from flowd_codegen.diagnostics.report import Code, quoted
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.model.kinds import DictOf, External, ListOf, Optional, Type, base
from flowd_codegen.model.naming import FIELD_NAME, MODULE_PART
from flowd_codegen.model.schema import Function, Mapper
from flowd_codegen.parse.scope import Scope
from flowd_codegen.parse.table import EXTRA, Table

__all__ = ["SIDES", "field_mapper", "parse_mapper", "read_function", "split_reference"]


SIDES: Final = ("serialize", "deserialize")
"""The keys of a mapper."""


def split_reference(text: str) -> tuple[str, str] | None:
    """Split `shop.geo:Point.parse` at its colon; None where Python could not import it."""
    module, colon, name = text.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if colon and all(
        MODULE_PART.fullmatch(part) and not keyword.iskeyword(part) for part in parts
    ):
        return module, name
    return None


def read_function(table: Table, key: str) -> Function | None:
    """Read `key = "module:function"`; None when absent or, reported, malformed."""
    text = table.text(key)
    if text is None:
        return None
    found = split_reference(text)
    if found is None:
        module, _, name = text.rpartition(".")
        advice = f"{module}:{name}" if ":" not in text else ""
        table.report(
            Code.REFERENCE,
            table.at(key),
            f"{quoted(text)} does not name a function",
            (
                f'write `{key} = "{advice}"`'
                if split_reference(advice)
                else "write `module:function`, as in `shop.mappers:ser_tags`"
            ),
        )
        return None
    return Function(*found)


def parse_mapper(table: Table) -> Mapper:
    """Read a pair of functions; at least one must be there."""
    table.refuse_others(SIDES, "mapper option")
    # A side that is misspelt is reported already.
    if not any(not EXTRA.match(key) for key in table.values):
        table.report(
            Code.MISSING_KEY,
            table.location.key(),
            "a mapper needs `serialize`, `deserialize` or both",
            "they name functions: `shop.mappers:ser_tags`",
        )
    return Mapper(*(read_function(table, side) for side in SIDES))


def field_mapper(options: Table, found: Type, scope: Scope) -> Mapper | None:
    """Read a field's `mapper`, which a type of the user's own must have in full."""
    mapper, complete = _mapper(options, scope)
    outside = _external(found)
    if outside is None or not complete:
        return mapper
    if mapper is None or not mapper.is_complete:
        there = "mapper" in options.values
        options.report(
            Code.MAPPER_NEEDED,
            options.at("mapper" if there else "type"),
            f"`{outside.module}:{outside.name}` has no text of its own",
            (
                "this mapper lacks a side"
                if there
                else "give a `mapper` with `serialize` and `deserialize`"
            ),
        )
    return mapper


def _mapper(options: Table, scope: Scope) -> tuple[Mapper | None, bool]:
    """The mapper, and False when there is one that could not be read."""
    value = options.values.get("mapper")
    match value:
        case None:
            return None, True
        case str():
            scope.used_mappers.add(value)
            if known := scope.mappers.get(value):
                return known[0], True
            if scope.complete:
                names = sorted(filter(FIELD_NAME.fullmatch, scope.mappers))
                label = "declare `[mapper.…]`"
                if split_reference(value):
                    label = f'write `mapper = {{ serialize = "{value}", … }}`'
                options.report(
                    Code.UNKNOWN_MAPPER,
                    options.at("mapper"),
                    f"unknown mapper {quoted(value)}",
                    did_you_mean(value, names, label),
                    f"mappers in scope: {', '.join(names[:20]) or 'none'}",
                )
            return None, False
        case dict():
            before = len(options.report.faults)
            mapper = parse_mapper(options.table("mapper"))
            return mapper, len(options.report.faults) == before
        case _:
            options.wrong_kind("mapper", value, "a mapper's name or a table")
            return None, False


def _external(found: Type) -> External | None:
    match base(found):
        case External() as outside:
            return outside
        case ListOf(item) | DictOf(item) | Optional(item):
            return _external(item)
        case _:
            return None
