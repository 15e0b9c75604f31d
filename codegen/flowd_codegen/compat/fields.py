"""Compares the fields of one job or record with what they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from flowd_codegen.compat.finding import Finding
from flowd_codegen.compat.pair import Breaks, Owners, Way, is_optional
from flowd_codegen.compat.readability import MISREAD
from flowd_codegen.compat.types import type_findings
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.canonical import field_form
from flowd_codegen.model.schema import Field, Job, Record
from flowd_codegen.model.walk import bare

__all__ = ["field_findings", "paired"]

_LOST: Final = "its value is lost: None or the default is read, and no error says so"

_EMPTY: Final = "where it is optional, an empty text of its mapper is read as None"

_MATCHES: Final[tuple[Callable[[Field, Field], bool], ...]] = (
    lambda old, new: old.attribute == new.attribute,
    lambda old, new: old.key == new.key,
    lambda old, new: old.key in new.aliases or new.key in old.aliases,
)
"""How a field is recognised in the other schema, the surest way first.

The name comes first: it is what the user's code means. Where the key of a field leads to
another name that both schemas know, the values of two fields are exchanged.
"""


def paired(old: Job | Record, new: Job | Record) -> dict[str, Field]:
    """The old field of each new one that was there before, by the new one's name."""
    left = list(old.fields)
    found: dict[str, Field] = {}

    def take(field: Field, before: Field | None) -> None:
        if before:
            found[field.name] = before
            left.remove(before)

    for matches in _MATCHES:
        for field in new.fields:
            if field.name not in found:
                take(field, next((one for one in left if matches(one, field)), None))
    added = [field for field in new.fields if field.name not in found]
    gone = [field for field in left if field.key not in new.reserved]
    if len(added) == len(gone) == 1 and bare(added[0].type) == bare(gone[0].type):
        # One came and one went: it was renamed, unless its key is reserved now.
        take(added[0], gone[0])
    return found


def field_findings(owners: Owners) -> Iterator[Finding]:
    """What was changed: in the order of the new fields, then what was removed."""
    pairs = paired(owners.old, owners.new)
    for field in owners.new.fields:
        old = pairs.get(field.name)
        yield from _reused(owners, field)
        yield from (
            _added(owners, field) if old is None else _changed(owners, old, field)
        )
    kept = {old.name for old in pairs.values()}
    for field in owners.old.fields:
        if field.name not in kept:
            yield _removed(owners, field)
    yield from _misread(owners, pairs)


def _added(owners: Owners, field: Field) -> Iterator[Finding]:
    if breaks := owners.forward.missing(field):
        what = "is new and required"
        yield owners.finding(Rule.FIELD_ADDED_REQUIRED, field, what, breaks=breaks)


def _removed(owners: Owners, field: Field) -> Finding:
    breaks = owners.back.missing(field)
    reserved = field.key in owners.new.reserved
    return owners.gone(
        Rule.FIELD_REMOVED_REQUIRED if breaks else Rule.FIELD_REMOVED,
        field,
        breaks={**breaks, "source": f"the attribute `{field.attribute}` is gone"},
        mild=None if reserved else "warning",
        label="" if reserved else f'`reserved = ["{field.key}"]` is missing',
    )


def _changed(owners: Owners, old: Field, new: Field) -> Iterator[Finding]:
    yield from _key(owners, old, new)
    yield from _none(owners, old, new)
    yield from type_findings(owners, old, new)
    yield from _default(owners, old, new)
    if old.secret and not new.secret:
        what = "is not secret any more"
        label = "logs, errors and commands show its values"
        yield owners.finding(
            Rule.FIELD_SECRET_REMOVED, new, what, mild="warning", label=label
        )
    if old.attribute != new.attribute:
        breaks: Breaks = {"source": f"the attribute was `{old.attribute}`"}
        what = "has another name"
        yield owners.finding(Rule.SOURCE_RENAMED, new, what, breaks=breaks)


def _key(owners: Owners, old: Field, new: Field) -> Iterator[Finding]:
    breaks: Breaks = {}
    if not owners.forward.finds(old, new):
        breaks |= owners.forward.missing(new) or _lost(owners.forward, new)
    if not owners.back.finds(new, old):
        breaks |= owners.back.missing(old) or _lost(owners.back, old)
    if breaks:
        what = f"is `{new.key}` on the wire, and was `{old.key}`"
        yield owners.finding(Rule.FIELD_KEY_CHANGED, new, what, "key", breaks=breaks)
    read = {new.key, *new.aliases, *owners.new.reserved}
    for alias in old.aliases:
        if alias not in read:
            what = f"is not read under `{alias}` any more"
            yield owners.finding(
                Rule.FIELD_ALIAS_REMOVED, new, what, "aliases", mild="warning"
            )


def _lost(way: Way, read: Field) -> Breaks:
    """Unless another field's value is read there, which is told at that one."""
    return {} if any(way.strangers(read, None)) else {way.aspect: _LOST}


def _none(owners: Owners, old: Field, new: Field) -> Iterator[Finding]:
    breaks = owners.forward.none(old, new) | owners.back.empty(new, old)
    if is_optional(old) and breaks:
        yield owners.finding(
            Rule.FIELD_NOW_REQUIRED,
            new,
            "was optional, is required",
            "type",
            breaks=breaks,
            label=_EMPTY if MISREAD in breaks.values() else "",
        )
    if is_optional(new) and not is_optional(old):
        breaks = owners.forward.empty(old, new) | owners.back.none(new, old)
        label = "" if breaks else "old workers read their default for None"
        yield owners.finding(
            Rule.FIELD_NOW_OPTIONAL,
            new,
            "was required, is optional",
            "type",
            breaks=breaks,
            mild=None if breaks else "warning",
            label=_EMPTY if MISREAD in breaks.values() else label,
        )


def _default(owners: Owners, old: Field, new: Field) -> Iterator[Finding]:
    was, now = field_form(old), field_form(new)
    gone = new.default is None
    if old.default in (None, new.default) or (gone and is_optional(new)):
        return
    (option,) = {"default", "factory"} & was.keys()
    shown = json.dumps(was[option], ensure_ascii=False)
    yield owners.finding(
        Rule.FIELD_DEFAULT_CHANGED,
        new,
        "has no default any more" if gone else "has another default",
        *({"default", "factory"} & now.keys()),
        mild="warning",
        label="" if old.secret or new.secret else f"it was {shown}",
    )


def _reused(owners: Owners, field: Field) -> Iterator[Finding]:
    for key in (field.key, *field.aliases):
        if key in owners.old.reserved:
            option = "key" if key == field.key else "aliases"
            what = f"has the key `{key}`, which was reserved"
            breaks: Breaks = {"messages": MISREAD, "workers": MISREAD}
            yield owners.finding(
                Rule.RESERVED_REUSED, field, what, option, breaks=breaks
            )


def _misread(owners: Owners, pairs: Mapping[str, Field]) -> Iterator[Finding]:
    """A key of one field under which another one is looked for."""
    successors = {
        pairs[field.name].name: field
        for field in owners.new.fields
        if field.name in pairs
    }
    taken: dict[tuple[str, str], tuple[Field, Field, Breaks]] = {}
    for field in owners.new.fields:
        for other in owners.forward.strangers(field, pairs.get(field.name)):
            breaks = owners.forward.taken(other, field)
            taken[field.name, other.name] = field, other, breaks
    for field in owners.old.fields:
        for other in owners.back.strangers(field, successors.get(field.name)):
            _, _, breaks = taken.setdefault(
                (other.name, field.name), (other, field, {})
            )
            breaks.update(owners.back.taken(other, field))
    for new, old, breaks in taken.values():
        # One of the two is looked for under the other's key, first or as an alias.
        key = old.key if "messages" in breaks else new.key
        also = "" if old.key == new.key else "also "
        what = (
            f"is {also}read from `{key}`, which was the field {old.name}"
            if "messages" in breaks
            else f"has the key `{key}`, which was {also}read as {old.name}"
        )
        option = "key" if key == new.key else "aliases"
        yield owners.finding(Rule.FIELD_KEY_TAKEN, new, what, option, breaks=breaks)
