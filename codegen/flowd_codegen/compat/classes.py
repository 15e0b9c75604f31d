"""Compares names, reservations, enum values and queue options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, Literal

from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.jobs import describe_waiting_jobs
from flowd_codegen.compat.pair import Breaks
from flowd_codegen.compat.readability import MISREAD, choice_refusal, written_texts
from flowd_codegen.compat.schema_change import SchemaChange, shown
from flowd_codegen.compat.types import listed, read_only
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.rules import Rule
from flowd_codegen.model.canonical import policy_form
from flowd_codegen.model.schema import Enum, Job, Record

__all__ = ["class_changes", "enum_changes", "queue_changes", "reused_texts"]

_SHARED: Final = "new workers wait with StreamShared while the old group is there"


def class_changes(
    before: Contract,
    after: Contract,
    old: Job | Record | Enum,
    new: Job | Record | Enum,
) -> Iterator[SchemaChange]:
    """What was changed in names and reservations."""
    home, was = after.module(new.name), before.module(old.name)
    moved = f"{was} moved to {home}" if home != was else ""
    # Where both schemas know both, one stands in the place of the other.
    is_another = before.knows(new.name) and after.knows(old.name)
    renamed = f"the class was `{old.name}`" if new.name != old.name else ""
    if is_another and renamed:
        moved = renamed = ""
    if text := ", ".join(filter(None, (renamed, moved))):
        yield SchemaChange(
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
            yield SchemaChange(
                rule=Rule.RESERVED_REMOVED,
                owner=new,
                location=after.at(new, "reserved"),
                message=f"{new.name} does not reserve `{key}` any more",
                compatible_severity="warning",
            )


def enum_changes(
    before: Contract, after: Contract, old: Enum, new: Enum
) -> Iterator[SchemaChange]:
    """What was changed in an enum."""
    yield from class_changes(before, after, old, new)
    members = {text: member for member, text in new.members}
    location = after.at(new, "values")
    yield from _values_added(location, old, new)
    yield from _values_removed(location, old, new)
    yield from _unknown_changed(after, old, new)
    for text in members:
        if text in old.reserved:
            yield SchemaChange(
                rule=Rule.RESERVED_REUSED,
                owner=new,
                location=location,
                message=f"{new.name} has the value `{text}`, which was reserved",
                breaks={"messages": MISREAD, "workers": MISREAD},
            )
    yield from reused_texts(before, after, old, new)
    taken = {text for _, text, _ in _reused(old, new)}
    for member, text in old.members:
        if text not in taken and members.get(text, member) != member:
            yield SchemaChange(
                rule=Rule.SOURCE_RENAMED,
                owner=new,
                location=location,
                message=f"the member {new.name}.{members[text]} has another name",
                breaks={"source": f"it was `{old.name}.{member}`"},
            )


def _values_added(
    location: SourceLocation, old: Enum, new: Enum
) -> Iterator[SchemaChange]:
    known = [text for _, text in old.members]
    added = [text for _, text in new.members if text not in known]
    # What stands for unknown texts is never written.
    written = [text for text in added if text in written_texts(new)]
    if not added:
        return
    breaks: Breaks = {}
    if not written:
        label = "it is only read"
    elif old.unknown:
        label = f"old workers read it as `{old.unknown}`"
    else:
        label = ""
        breaks = {"workers": str(choice_refusal(tuple(written), tuple(known)))}
    yield SchemaChange(
        rule=Rule.ENUM_VALUE_ADDED,
        owner=new,
        location=location,
        message=f"{new.name} takes {listed(added)} now",
        breaks=breaks,
        compatible_severity=None if breaks else "note",
        label=label,
    )


def _values_removed(
    location: SourceLocation, old: Enum, new: Enum
) -> Iterator[SchemaChange]:
    known = [text for _, text in new.members]
    removed = [text for _, text in old.members if text not in known]
    written = [text for text in removed if text in written_texts(old)]
    if not removed:
        return
    names = {member for member, _ in new.members}
    gone = [
        f"`{old.name}.{member}`"
        for member, text in old.members
        if text in removed and member not in names
    ]
    breaks: Breaks = {}
    if written and not new.unknown:
        breaks["messages"] = str(choice_refusal(tuple(written), tuple(known)))
    read_as_unknown = written and new.unknown
    if gone:
        breaks["source"] = f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} gone"
    yield SchemaChange(
        rule=Rule.ENUM_VALUE_REMOVED,
        owner=new,
        location=location,
        message=f"{new.name} does not take {listed(removed)} any more",
        breaks=breaks,
        compatible_severity=(
            None if "messages" in breaks else "warning" if read_as_unknown else "note"
        ),
        label=(
            f"new workers read it as `{new.unknown}`"
            if read_as_unknown
            else "" if written else "it was only read"
        ),
    )


def _unknown_changed(after: Contract, old: Enum, new: Enum) -> Iterator[SchemaChange]:
    """The member that any other text is read as, and that is never written.

    Which one it is says its text; its name is reported by another rule.
    """
    was, now = dict(old.members), dict(new.members)
    before, behind = was.get(old.unknown), now.get(new.unknown)
    if before == behind:
        return
    # Programs wrote it so far, and no type checker finds where.
    sealed = behind is not None and behind in was.values()
    if not new.unknown:
        what = "does not read unknown texts any more"
        label = f"they are refused, and were read as `{old.unknown}`"
    else:
        what = f"reads unknown texts as `{new.unknown}` now"
        label = (
            f"they were read as `{old.unknown}`" if old.unknown else "they were refused"
        )
    yield SchemaChange(
        rule=Rule.ENUM_UNKNOWN_CHANGED,
        owner=new,
        location=after.at(new, *(["unknown"] if new.unknown else [])),
        message=f"{new.name} {what}",
        breaks=({"source": read_only(new)} if sealed else {}),
        compatible_severity="warning" if sealed or old.unknown else "note",
        label=label,
    )


def reused_texts(
    _: Contract, after: Contract, old: Enum, new: Enum
) -> Iterator[SchemaChange]:
    """Members of an enum, or of the one in its place, with the text of another one."""
    for member, text, other in _reused(old, new):
        yield SchemaChange(
            rule=Rule.ENUM_VALUE_TAKEN,
            owner=new,
            location=after.at(new, "values"),
            message=f"{new.name}.{other} is {shown(text)}, which was {old.name}.{member}",
            breaks={"messages": MISREAD, "workers": MISREAD},
        )


def _reused(old: Enum, new: Enum) -> Iterator[tuple[str, str, str]]:
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


def queue_changes(after: Contract, old: Job, new: Job) -> Iterator[SchemaChange]:
    """What was changed in a job's queue table."""
    was, now = policy_form(old.policy), policy_form(new.policy)
    for option in was | now:
        if was.get(option) == now.get(option):
            continue
        compatible_severity: Literal["warning", "note"] = "note"
        rule, text = Rule.QUEUE_POLICY_CHANGED, ""
        match option:
            case "stream":
                rule = Rule.QUEUE_STREAM_CHANGED
                text = describe_waiting_jobs(old.policy.stream, after)
            case "group":
                rule, text = Rule.QUEUE_GROUP_CHANGED, _SHARED
            case "claim_after":
                rule, compatible_severity = Rule.QUEUE_LEASE_CHANGED, "warning"
            case _:
                pass
        yield SchemaChange(
            rule=rule,
            owner=new,
            location=after.at(new, "queue", option),
            message=f"{new.name} has another `{option}`",
            breaks={"queue": text} if text else {},
            compatible_severity=None if text else compatible_severity,
            label=f"it was {json.dumps(was[option])}" if option in was else "it is new",
        )
