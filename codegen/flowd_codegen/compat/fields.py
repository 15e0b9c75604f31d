"""Compares the fields of one job or record with what they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from flowd_codegen.compat.pair import Breaks, DeclarationPair, Direction, is_optional
from flowd_codegen.compat.readability import MISREAD
from flowd_codegen.compat.schema_change import SchemaChange, shown
from flowd_codegen.compat.types import retyped, type_changes
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.canonical import field_form
from flowd_codegen.model.kinds import RecordRef, UnionOf
from flowd_codegen.model.schema import Field
from flowd_codegen.model.walk import bare, innermost

__all__ = ["field_changes", "pair_fields"]

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


def pair_fields(pair: DeclarationPair) -> dict[str, Field]:
    """The old field of each new one that was there before, by the new one's name."""
    old, new = pair.old, pair.new
    left = list(old.fields)
    found: dict[str, Field] = {}

    def take(field: Field, before: Field | None) -> None:
        if before:
            found[field.name] = before
            left.remove(before)

    # In another record no field has a new name: each is known by its own.
    for matches in _MATCHES[:1] if pair.is_another else _MATCHES:
        for field in new.fields:
            if field.name not in found:
                take(field, next((one for one in left if matches(one, field)), None))
    added = [field for field in new.fields if field.name not in found]
    removed = [field for field in left if field.key not in new.reserved]
    one_each = len(added) == len(removed) == 1 and not pair.is_another
    if one_each and bare(added[0].type) == bare(removed[0].type):
        # One came and one went: it was renamed, unless its key is reserved now.
        take(added[0], removed[0])
    return found


def field_changes(pair: DeclarationPair) -> Iterator[SchemaChange]:
    """What was changed: in the order of the new fields, then what was removed."""
    pairs = pair_fields(pair)
    for field in pair.new.fields:
        old = pairs.get(field.name)
        yield from _reused(pair, field)
        yield from (_added(pair, field) if old is None else _changed(pair, old, field))
    kept = {old.name for old in pairs.values()}
    for field in pair.old.fields:
        if field.name not in kept:
            yield from _removed(pair, field)
    yield from _misread(pair, pairs)


def _added(pair: DeclarationPair, field: Field) -> Iterator[SchemaChange]:
    if breaks := pair.forward.missing(field):
        what = "is new and required"
        yield pair.change(Rule.FIELD_ADDED_REQUIRED, field, what, breaks=breaks)


def _removed(pair: DeclarationPair, field: Field) -> Iterator[SchemaChange]:
    breaks = pair.backward.missing(field)
    reserved = field.key in pair.new.reserved
    header = pair.after.header(pair.new)
    taken = [one.name for one in pair.new.fields if field.key in _keys(one)]
    label = advice = ""
    if taken:
        label, advice = f"`{taken[0]}` has its key", _OWN_KEY
    elif reserved:
        advice = "change your code; nothing else is to be done"
    elif header:
        label = f'`reserved = ["{field.key}"]` is missing in {header}'
    yield pair.removal(
        Rule.FIELD_REMOVED_REQUIRED if breaks else Rule.FIELD_REMOVED,
        field,
        "is gone",
        breaks={**breaks, "source": f"the attribute `{field.attribute}` is gone"},
        compatible_severity=None if reserved else "warning",
        label=label,
        # A required field is removed in two steps, whatever its key is.
        advice="" if breaks else advice,
    )
    if not pair.is_hidden(field) and (
        field.secret or pair.before.holds_secret(field.type)
    ):
        yield pair.removal(
            Rule.FIELD_SECRET_REMOVED,
            field,
            "was secret, and is gone",
            breaks={},
            compatible_severity="warning",
            label=_SHOWN_IN_JSON if pair.in_json else _SHOWN_RAW,
            advice=_DRAIN,
        )


_OWN_KEY: Final = "give each field a key that no other field has had"

_SHOWN_RAW: Final = (
    "of what is queued, commands show the size of its text, and `--raw` the text"
)
_SHOWN_IN_JSON: Final = (
    "its text stays in what is queued, and is shown with the field around it"
)
_DRAIN: Final = (
    "drain the stream before you remove it; or keep the field, optional and `secret`,"
    " until no queued message and no dead letter has it"
)


def _changed(pair: DeclarationPair, old: Field, new: Field) -> Iterator[SchemaChange]:
    yield from _key(pair, old, new)
    yield from _none(pair, old, new)
    yield from type_changes(pair, old, new)
    yield from _default(pair, old, new)
    if _is_shown(pair, old, new):
        held = "" if old.secret else "held a secret field, and "
        what = f"{held}is not secret any more"
        label = "logs, errors and commands show its values"
        yield pair.change(
            Rule.FIELD_SECRET_REMOVED,
            new,
            what,
            compatible_severity="warning",
            label=label,
        )
    if old.attribute != new.attribute:
        breaks: Breaks = {"source": f"the attribute was `{old.attribute}`"}
        what = "has another name"
        yield pair.change(Rule.SOURCE_RENAMED, new, what, breaks=breaks)


def _is_shown(pair: DeclarationPair, old: Field, new: Field) -> bool:
    """Whether values were secret and are not: the field's, or those of a record in it.

    What became of a record's own fields is said of the record that stands in its place.
    """
    if new.secret or old.secret:
        return not new.secret
    if pair.after.holds_secret(new.type):
        return False
    match innermost(old.type, new.type):
        case RecordRef(), RecordRef() if not (new.mapper and new.mapper.is_complete):
            return False
        case UnionOf(members), UnionOf(others):
            tags = dict(others)
            gone = [RecordRef(name) for tag, name in members if tag not in tags]
            return any(map(pair.before.holds_secret, gone))
        case _:
            return pair.before.holds_secret(old.type)


def _key(pair: DeclarationPair, old: Field, new: Field) -> Iterator[SchemaChange]:
    breaks: Breaks = {}
    if not pair.forward.reads_key_of(old, new):
        breaks |= pair.forward.missing(new) or _silent_loss(pair.forward, new)
    if not pair.backward.reads_key_of(new, old):
        breaks |= pair.backward.missing(old) or _silent_loss(pair.backward, old)
    if breaks:
        what = f"is `{new.key}` on the wire, and was `{old.key}`"
        yield pair.change(Rule.FIELD_KEY_CHANGED, new, what, "key", breaks=breaks)
    read = {*_keys(new), *pair.new.reserved}
    for alias in old.aliases:
        if alias not in read:
            what = f"is not read under `{alias}` any more"
            yield pair.change(
                Rule.FIELD_ALIAS_REMOVED,
                new,
                what,
                "aliases",
                compatible_severity="warning",
            )


def _silent_loss(direction: Direction, read: Field) -> Breaks:
    """Empty if another field's value is read there, which is reported at that field."""
    return {} if any(direction.fields_read_as(read)) else {direction.aspect: _LOST}


def _none(pair: DeclarationPair, old: Field, new: Field) -> Iterator[SchemaChange]:
    """What becomes of None: refused, or read as the default, which no error says."""
    was, now = is_optional(old), is_optional(new)
    if was == now:
        return
    if was:
        rule, what = Rule.FIELD_NOW_REQUIRED, "was optional, is required"
        null, empty = pair.forward.null(old, new), pair.backward.empty_text(new, old)
        reads_key = pair.forward.reads_key_of(old, new)
        label = "None is read as the default"
    else:
        rule, what = Rule.FIELD_NOW_OPTIONAL, "was required, is optional"
        null, empty = pair.backward.null(new, old), pair.forward.empty_text(old, new)
        reads_key = pair.backward.reads_key_of(new, old)
        label = "old workers read their default for None"
    breaks = null | empty
    # Where the key is not read, what becomes of every value is said of the key.
    silent = not breaks and reads_key
    if silent and pair.in_json:
        # Null is written, and a `json` reads it as None.
        return
    yield pair.change(
        rule,
        new,
        what,
        "type",
        breaks={**breaks, "source": retyped(old.type, new.type)},
        compatible_severity="warning" if silent else None,
        label=_EMPTY if empty else label if silent else "",
    )


def _default(pair: DeclarationPair, old: Field, new: Field) -> Iterator[SchemaChange]:
    was, now = field_form(old), field_form(new)
    removed = new.default is None
    if old.default is None or (removed and is_optional(new)):
        return
    (option,) = {"default", "factory"} & was.keys()
    before = shown(was[option])
    # As text: 1 and true are equal in Python.
    if option in now and shown(now[option]) == before:
        return
    yield pair.change(
        Rule.FIELD_DEFAULT_CHANGED,
        new,
        "has no default any more" if removed else "has another default",
        *({"default", "factory"} & now.keys()),
        compatible_severity="warning",
        label="" if old.secret or new.secret else f"it was {before}",
    )


def _reused(pair: DeclarationPair, field: Field) -> Iterator[SchemaChange]:
    for key in _keys(field):
        if key in pair.old.reserved:
            option = "key" if key == field.key else "aliases"
            what = f"has the key `{key}`, which was reserved"
            breaks: Breaks = {"messages": MISREAD, "workers": MISREAD}
            yield pair.change(Rule.RESERVED_REUSED, field, what, option, breaks=breaks)


def _misread(
    pair: DeclarationPair, pairs: Mapping[str, Field]
) -> Iterator[SchemaChange]:
    """A key that was looked for as one field, and is now as another one.

    It need not be written by either schema: older messages that still wait have it.
    """
    owners = {key: field for field in pair.old.fields for key in _keys(field)}
    successors = {before.name: name for name, before in pairs.items()}
    for field in pair.new.fields:
        shared: dict[str, list[str]] = {}
        for key in _keys(field):
            old = owners.get(key)
            if old and successors.get(old.name) != field.name:
                shared.setdefault(old.name, []).append(key)
        for keys in shared.values():
            # The key that the old schema writes, if it is one of them.
            key = next((one for one in keys if owners[one].key == one), keys[0])
            yield _taken(pair, field, owners[key], key)


def _keys(field: Field) -> tuple[str, ...]:
    return field.key, *field.aliases


def _taken(pair: DeclarationPair, new: Field, old: Field, key: str) -> SchemaChange:
    breaks = pair.forward.taken(old, new, key)
    if new in pair.backward.fields_read_as(old):
        breaks |= pair.backward.taken(new, old, new.key)
    also = "" if key == new.key else "also "
    was = "the field" if key == old.key else "also read as"
    what = f"is {also}read from `{key}`, which was {was} {old.name}"
    option = "key" if key == new.key else "aliases"
    return pair.change(Rule.FIELD_KEY_TAKEN, new, what, option, breaks=breaks)
