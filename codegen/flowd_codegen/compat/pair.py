"""A job or record before and after, and the two directions between them.

One direction is from old programs to new ones, which read what is queued. The other is from
new programs to old ones, which run until the deploy is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeAlias

from flowd import wire
from flowd.errors import DecodeError
from flowd.wire import CodecError
from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.readability import MISREAD, UNKNOWN, Readability
from flowd_codegen.compat.schema_change import SchemaChange
from flowd_codegen.diagnostics.rules import Aspect, Rule
from flowd_codegen.model.kinds import Optional, RecordRef, base
from flowd_codegen.model.schema import Field, Job, Record
from flowd_codegen.model.walk import bare

__all__ = ["Breaks", "DeclarationPair", "Direction", "is_optional"]

Breaks: TypeAlias = dict[Aspect, str]
"""What a change breaks, each with how that looks."""

_MISSING: Final = "required field is missing"
_MISSING_KEY: Final = "required key is missing"


def is_optional(field: Field) -> bool:
    """Whether the field may be None."""
    return isinstance(field.type, Optional)


@dataclass(frozen=True)
class Direction:
    """One side writes, the other side reads.

    Attributes:
        aspect: what breaks if reading fails.
        writer: a job or record.
        reader: the same of the other schema.
        values: compares types.
    """

    aspect: Literal["messages", "workers"]
    writer: Job | Record
    reader: Job | Record
    values: Readability

    def reads_key_of(self, written: Field, read: Field) -> bool:
        """Whether a field is looked for under the key that it was written under."""
        return written.key in (read.key, *read.aliases)

    def missing(self, read: Field) -> Breaks:
        """What becomes of a field that is not there; nothing breaks with a default."""
        if is_optional(read) or read.default is not None:
            return {}
        if any(map(self._is_always_written, self.fields_read_as(read))):
            # What is there is another field's value.
            return {}
        reason = _MISSING_KEY if self.values.in_json else _MISSING
        return self._breaks(read.key, CodecError(reason))

    def null(self, written: Field, read: Field) -> Breaks:
        """What becomes of None: it is absent in an entry, and null inside JSON."""
        if not (is_optional(written) and self.reads_key_of(written, read)):
            return {}
        if is_optional(read):
            return {}
        if not self.values.in_json:
            return self.missing(read)
        return self._breaks(written.key, self.values.null(read))

    def empty_text(self, written: Field, read: Field) -> Breaks:
        """What becomes of a mapper's empty text: only an optional field is None then."""
        mapper = read.mapper
        if is_optional(written) or not (
            is_optional(read) and self.reads_key_of(written, read)
        ):
            return {}
        # It is unknown how two different mappers read it.
        if mapper and mapper.deserialize and mapper == written.mapper:
            return {self.aspect: MISREAD}
        return {}

    def value(self, written: Field, read: Field) -> Breaks:
        """What becomes of the values, None aside."""
        if not self.reads_key_of(written, read):
            return {}
        return self._breaks(written.key, self.values.refusal(written, read))

    def fields_read_as(self, read: Field) -> Iterator[Field]:
        """The fields of the writer that may be read as this one, the first first."""
        written = {field.key: field for field in self.writer.fields}
        for key in (read.key, *read.aliases):
            if field := written.get(key):
                yield field
                if self._is_always_written(field):
                    # No later key is looked at.
                    return

    def taken(self, written: Field, read: Field, key: str) -> Breaks:
        """What becomes of a value that is read as another field, under a key of both."""
        refusal = self.values.refusal(written, read)
        if refusal is None or bare(base(written.type)) == bare(base(read.type)):
            return {self.aspect: MISREAD}
        return self._breaks(key, refusal)

    def _is_always_written(self, field: Field) -> bool:
        return self.values.in_json or not is_optional(field)

    def _breaks(self, key: str, refusal: CodecError | None) -> Breaks:
        if refusal is None:
            return {}
        if refusal.reason in (MISREAD, UNKNOWN):
            return {self.aspect: refusal.reason}
        if self.values.in_json:
            return {self.aspect: str(wire.inside(f".{key}", refusal))}
        return {self.aspect: str(DecodeError(self.reader.name, key, str(refusal)))}


@dataclass(frozen=True)
class DeclarationPair:
    """A job or record in two schemas.

    Attributes:
        before: the old schema.
        after: the new one.
        old: a job or record of `before`.
        new: the same of `after`, perhaps under another name.
    """

    before: Contract
    after: Contract
    old: Job | Record
    new: Job | Record

    @cached_property
    def forward(self) -> Direction:
        """What is queued, to new workers."""
        enums = self.before.enums, self.after.enums
        return Direction(
            "messages", self.old, self.new, Readability(*enums, self.in_json)
        )

    @cached_property
    def backward(self) -> Direction:
        """What new programs write, to old workers."""
        enums = self.after.enums, self.before.enums
        return Direction(
            "workers", self.new, self.old, Readability(*enums, self.in_json)
        )

    @cached_property
    def is_another(self) -> bool:
        """Whether the new record is another than the old one, and not the same renamed.

        Both schemas know both; so each of its fields is what it was in its own record.
        """
        names = self.old.name, self.new.name
        known = self.before.knows(*names) and self.after.knows(*names)
        return self.in_json and self.old.name != self.new.name and known

    @property
    def in_json(self) -> bool:
        """Whether they are objects inside JSON, where None is null."""
        return isinstance(self.new, Record)

    def is_hidden(self, field: Field) -> bool:
        """Whether the text of an old field is secret still, in an older version perhaps."""
        if isinstance(self.new, Job):
            return field.key in self.after.secrets(self.new)
        return self.after.holds_secret(RecordRef(self.new.name))

    def change(
        self,
        rule: Rule,
        field: Field,
        what: str,
        *options: str,
        breaks: Breaks | None = None,
        compatible_severity: Literal["warning", "note"] | None = None,
        label: str = "",
    ) -> SchemaChange:
        """A finding at a new field, or at the option of it that was changed.

        Args:
            rule: which.
            field: the new one.
            what: what was changed; the field's name goes before it.
            *options: where the caret stands if the field has one of them.
            breaks: what it breaks.
            compatible_severity: what it is where it breaks nothing.
            label: printed after the caret.
        """
        return SchemaChange(
            rule=rule,
            owner=self.new,
            location=self.after.option(self.new, field.name, *options),
            message=f"{self.new.name}.{field.name} {what}",
            breaks=breaks or {},
            compatible_severity=compatible_severity,
            label=label,
        )

    def removal(
        self,
        rule: Rule,
        field: Field,
        what: str,
        *,
        breaks: Breaks,
        compatible_severity: Literal["warning"] | None,
        label: str,
        advice: str,
    ) -> SchemaChange:
        """A finding about an old field that is not there any more."""
        location = self.before.location(self.old, "fields", field.name)
        return SchemaChange(
            rule=rule,
            owner=self.new,
            location=self.after.at(self.new, "fields"),
            message=f"{self.new.name}.{field.name} {what}",
            breaks=breaks,
            compatible_severity=compatible_severity,
            label=label,
            advice=advice,
            old_location=location and location.key(),
        )
