"""Compares what a field holds with what it held: type, choices, limits, codec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from flowd_codegen.compat.pair import Breaks, DeclarationPair
from flowd_codegen.compat.readability import MISREAD, choices_of, written_choices
from flowd_codegen.compat.schema_change import SchemaChange, shown
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.bounds import LENGTHS, RANGE
from flowd_codegen.model.canonical import field_form
from flowd_codegen.model.kinds import (
    DictOf,
    EnumRef,
    ListOf,
    OneOf,
    Optional,
    Scalar,
    Type,
    UnionOf,
    base,
)
from flowd_codegen.model.limits import Limits
from flowd_codegen.model.scalars import SCALARS
from flowd_codegen.model.schema import Enum, Field
from flowd_codegen.model.walk import bare, innermost

__all__ = ["listed", "read_only", "retyped", "type_changes"]

_TypeChange: TypeAlias = tuple[Rule, str, Breaks]

_VALUES: Final = (
    *("type", "tag", "one_of", "mapper", "encoding"),
    *(*RANGE, "places", *LENGTHS, "pattern", "items", "values"),
)
"""The options that say what a field holds."""


def type_changes(
    pair: DeclarationPair, old: Field, new: Field
) -> Iterator[SchemaChange]:
    """What was changed in what the field holds, None aside."""
    was, now = field_form(old), field_form(new)
    changed = [name for name in _VALUES if was.get(name) != now.get(name)]
    label = ", ".join(
        (f"`{name}` was {shown(was[name])}" if name in was else f"`{name}` is new")
        for name in changed
    )
    for rule, what, breaks in _type_changes(pair, old, new):
        yield pair.change(
            rule,
            new,
            what,
            *changed,
            breaks=breaks,
            # Only a bool has two texts that are read alike.
            compatible_severity=None if breaks else "warning",
            label=label,
        )


def _type_changes(
    pair: DeclarationPair, old: Field, new: Field
) -> Iterator[_TypeChange]:
    messages = pair.forward.value(old, new)
    workers = pair.backward.value(new, old)
    kind, other = base(old.type), base(new.type)
    choices = choices_of(kind, pair.before.enums)
    others = choices_of(other, pair.after.enums)
    encodings = (
        Limits.of_field(kind, old).encoding,
        Limits.of_field(other, new).encoding,
    )
    unions = _unions(kind, other)
    retagged = unions is not None and unions[0].tag != unions[1].tag
    if (
        old.mapper != new.mapper
        or retagged
        or (kind == other and encodings[0] != encodings[1])
    ):
        yield Rule.FIELD_CODEC_CHANGED, "has another text", messages | workers
    elif choices and others and type(choices[0]) is type(others[0]):
        # An enum is compared with itself once, wherever it is used.
        if kind != other or isinstance(kind, OneOf):
            yield from _choice_changes(choices, others, messages, workers)
    elif unions:
        yield from _reused_tags(pair, *unions)
        yield from _union_changes(*unions, messages, workers)
    elif bare(kind) != bare(other) and messages and workers:
        yield Rule.FIELD_TYPE_CHANGED, "has another type", messages | workers
    else:
        if messages:
            yield Rule.FIELD_NARROWED, "takes less than before", messages
        if workers:
            yield Rule.FIELD_TYPE_WIDENED, "takes more than before", workers
    yield from _sealed(pair, kind, other)
    yield from _reservations(pair, kind, other)
    if not (messages or workers) and _python(kind) != _python(other):
        yield (
            Rule.SOURCE_RETYPED,
            "has another Python type",
            {"source": retyped(kind, other)},
        )


def _sealed(pair: DeclarationPair, old: Type, new: Type) -> Iterator[_TypeChange]:
    """A value that an open enum in the place of other choices can only read."""
    match innermost(old, new):
        case (OneOf() | EnumRef() as was, EnumRef(name)) if was != EnumRef(name):
            enum = pair.after.enums[name]
            text = dict(enum.members).get(enum.unknown)
            written = written_choices(was, pair.before.enums) or ()
            if text is not None and text in written:
                breaks: Breaks = {"source": read_only(enum)}
                what = f"reads {listed([text])} as `{enum.unknown}`"
                yield Rule.ENUM_UNKNOWN_CHANGED, what, breaks
        case _:
            pass


def _reservations(pair: DeclarationPair, old: Type, new: Type) -> Iterator[_TypeChange]:
    """What becomes of the values that an enum reserved where others stand in its place."""
    match innermost(old, new):
        case (EnumRef(name), EnumRef() | OneOf() as now) if now != EnumRef(name):
            reserved = pair.before.enums[name].reserved
            taken = choices_of(now, pair.after.enums) or ()
            kept = (
                pair.after.enums[now.name].reserved if isinstance(now, EnumRef) else ()
            )
        case _:
            return
    if reused := [text for text in reserved if text in taken]:
        breaks: Breaks = {"messages": MISREAD, "workers": MISREAD}
        what = f"takes {listed(reused)}, which {name} reserved"
        yield Rule.RESERVED_REUSED, what, breaks
    # A `one_of` has no place to reserve them in.
    left = [text for text in reserved if text not in (*taken, *kept)]
    if left and isinstance(now, EnumRef):
        what = f"does not reserve {listed(left)} any more"
        yield Rule.RESERVED_REMOVED, what, {}


def read_only(enum: Enum) -> str:
    """How it looks that the member for unknown texts cannot be written."""
    return (
        f"`{enum.name}.{enum.unknown}` can only be read: writing it raises EncodeError"
    )


def _unions(old: Type, new: Type) -> tuple[UnionOf, UnionOf] | None:
    """The unions at the same place of two types."""
    match innermost(old, new):
        case (UnionOf() as was, UnionOf() as now):
            return was, now
        case _:
            return None


def _reused_tags(
    pair: DeclarationPair, old: UnionOf, new: UnionOf
) -> Iterator[_TypeChange]:
    """Each tag that one record had and another has.

    A name that both schemas know means the same in both; else the record was renamed.
    """
    members = dict(new.members)
    for tag, name in old.members:
        other = members.get(tag, name)
        known = other in pair.before.records or name in pair.after.records
        if other != name and known:
            what = f"reads {listed([tag])} as {other}, which was {name}"
            breaks: Breaks = {"messages": MISREAD, "workers": MISREAD}
            yield Rule.UNION_TAG_TAKEN, what, breaks


def _union_changes(
    old: UnionOf, new: UnionOf, messages: Breaks, workers: Breaks
) -> Iterator[_TypeChange]:
    was, now = [tag for tag, _ in old.members], [tag for tag, _ in new.members]
    if added := [tag for tag in now if tag not in was]:
        what = f"may be {listed(added)} now"
        yield Rule.UNION_MEMBER_ADDED, what, workers
    elif workers:
        yield Rule.FIELD_TYPE_WIDENED, "takes more than before", workers
    if removed := [tag for tag in was if tag not in now]:
        what = f"may not be {listed(removed)} any more"
        yield Rule.UNION_MEMBER_REMOVED, what, messages
    elif messages:
        yield Rule.FIELD_NARROWED, "takes less than before", messages


def _choice_changes(
    old: Sequence[str | int],
    new: Sequence[str | int],
    messages: Breaks,
    workers: Breaks,
) -> Iterator[_TypeChange]:
    """What was added to an enum or `one_of`, and what was removed.

    Args:
        old: the values it had.
        new: those it has.
        messages: how a value looks that is not read any more.
        workers: how a new value looks to old workers.
    """
    if added := [one for one in new if one not in old]:
        yield Rule.ENUM_VALUE_ADDED, f"takes {listed(added)} now", workers
    if removed := [one for one in old if one not in new]:
        what = f"does not take {listed(removed)} any more"
        yield Rule.ENUM_VALUE_REMOVED, what, messages


def listed(values: Sequence[str | int]) -> str:
    """Values as a schema spells them."""
    return ", ".join(map(shown, values))


def retyped(old: Type, new: Type) -> str:
    """How another Python type looks in the user's code."""
    return f"it was `{_python(old)}` and is `{_python(new)}`"


def _python(kind: Type) -> str:
    """The annotation of a type, precise enough to distinguish two."""
    match kind:
        case Scalar(name) if name in SCALARS:
            return SCALARS[name].annotation
        case ListOf(item):
            return f"list[{_python(item)}]"
        case DictOf(value):
            return f"dict[str, {_python(value)}]"
        case Optional(item):
            return f"{_python(item)} | None"
        case UnionOf(members):
            return " | ".join(sorted(name for _, name in members))
        case OneOf(values):
            return f"Literal[{', '.join(map(repr, sorted(values, key=str)))}]"
        case _:
            return kind.name
