"""Compares what stands beside the fields: names, reservations, values, queue options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, Literal

from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.finding import Finding
from flowd_codegen.compat.jobs import left_on
from flowd_codegen.compat.pair import Breaks
from flowd_codegen.compat.readability import MISREAD, choice_refusal
from flowd_codegen.compat.types import choice_verdicts
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.canonical import policy_form
from flowd_codegen.model.schema import Enum, Job, Record

__all__ = ["class_findings", "enum_findings", "queue_findings", "taken_texts"]

_SHARED: Final = "new workers wait with StreamShared while the old group is there"


def class_findings(
    before: Contract,
    after: Contract,
    old: Job | Record | Enum,
    new: Job | Record | Enum,
) -> Iterator[Finding]:
    """What was changed in names and reservations."""
    home, was = after.module(new.name), before.module(old.name)
    moved = f"{was} moved to {home}" if home != was else ""
    renamed = f"the class was `{old.name}`" if new.name != old.name else ""
    if text := ", ".join(filter(None, (renamed, moved))):
        yield Finding(
            rule=Rule.SOURCE_RENAMED,
            owner=new,
            location=after.at(new),
            message=f"{new.name} is imported in another way",
            breaks={"source": text},
        )
    if isinstance(new, Enum):
        used = {text for _, text in new.members}
    else:
        used = {key for field in new.fields for key in (field.key, *field.aliases)}
    for key in old.reserved:
        if key not in new.reserved and key not in used:
            yield Finding(
                rule=Rule.RESERVED_REMOVED,
                owner=new,
                location=after.at(new, "reserved"),
                message=f"{new.name} does not reserve `{key}` any more",
                mild="warning",
            )


def enum_findings(
    before: Contract, after: Contract, old: Enum, new: Enum
) -> Iterator[Finding]:
    """What was changed in an enum."""
    yield from class_findings(before, after, old, new)
    members = {text: member for member, text in new.members}
    texts = tuple(text for _, text in old.members)
    messages: Breaks = {"messages": str(choice_refusal(texts, tuple(members)))}
    workers: Breaks = {"workers": str(choice_refusal(tuple(members), texts))}
    readers = {Rule.ENUM_VALUE_ADDED: old, Rule.ENUM_VALUE_REMOVED: new}
    location = after.at(new, "values")
    for rule, what, breaks in choice_verdicts(texts, [*members], messages, workers):
        # Who reads any text breaks on none.
        unknown = readers[rule].unknown
        added = rule == Rule.ENUM_VALUE_ADDED
        yield Finding(
            rule=rule,
            owner=new,
            location=location,
            message=f"{new.name} {what}",
            breaks={} if unknown else breaks,
            mild=("note" if added else "warning") if unknown else None,
            label=(
                f"{'old' if added else 'new'} workers read it as `{unknown}`"
                if unknown
                else ""
            ),
        )
    for text in members:
        if text in old.reserved:
            yield Finding(
                rule=Rule.RESERVED_REUSED,
                owner=new,
                location=location,
                message=f"{new.name} has the value `{text}`, which was reserved",
                breaks={"messages": MISREAD, "workers": MISREAD},
            )
    yield from taken_texts(before, after, old, new)
    taken = {text for _, text, _ in _taken(old, new)}
    for member, text in old.members:
        if text not in taken and members.get(text, member) != member:
            yield Finding(
                rule=Rule.SOURCE_RENAMED,
                owner=new,
                location=location,
                message=f"the member {new.name}.{members[text]} has another name",
                breaks={"source": f"it was `{old.name}.{member}`"},
            )


def taken_texts(
    _: Contract, after: Contract, old: Enum, new: Enum
) -> Iterator[Finding]:
    """Members of an enum, or of the one in its place, with the text of another one."""
    for member, text, other in _taken(old, new):
        shown = json.dumps(text, ensure_ascii=False)
        yield Finding(
            rule=Rule.ENUM_VALUE_TAKEN,
            owner=new,
            location=after.at(new, "values"),
            message=f"{new.name}.{other} is {shown}, which was {old.name}.{member}",
            breaks={"messages": MISREAD, "workers": MISREAD},
        )


def _taken(old: Enum, new: Enum) -> Iterator[tuple[str, str, str]]:
    """Each text that one member had and another has: member, text, other member.

    A name that both enums know means the same in both, whatever its text. Where one name
    came for another, a member was renamed.
    """
    members = {text: member for member, text in new.members}
    was, now = {name for name, _ in old.members}, set(members.values())
    for member, text in old.members:
        other = members.get(text, member)
        if other != member and (other in was or member in now):
            yield member, text, other


def queue_findings(after: Contract, old: Job, new: Job) -> Iterator[Finding]:
    """What was changed in a job's queue table."""
    was, now = policy_form(old.policy), policy_form(new.policy)
    for option in was | now:
        if was.get(option) == now.get(option):
            continue
        mild: Literal["warning", "note"] = "note"
        rule, text = Rule.QUEUE_POLICY_CHANGED, ""
        match option:
            case "stream":
                rule = Rule.QUEUE_STREAM_CHANGED
                text = left_on(old.policy.stream, after)
            case "group":
                rule, text = Rule.QUEUE_GROUP_CHANGED, _SHARED
            case "claim_after":
                rule, mild = Rule.QUEUE_LEASE_CHANGED, "warning"
            case _:
                pass
        yield Finding(
            rule=rule,
            owner=new,
            location=after.at(new, "queue", option),
            message=f"{new.name} has another `{option}`",
            breaks={"queue": text} if text else {},
            mild=None if text else mild,
            label=f"it was {json.dumps(was[option])}" if option in was else "it is new",
        )
