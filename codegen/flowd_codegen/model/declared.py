"""What a whole schema declares, by name, and which of its records hold what."""

from __future__ import annotations

from functools import cached_property

from flowd_codegen.model.cycles import circles, holders, mentioned
from flowd_codegen.model.depth import default_levels, levels, record_levels
from flowd_codegen.model.kinds import Type
from flowd_codegen.model.schema import Enum, Job, Record, Schema
from flowd_codegen.model.walk import names_in

__all__ = ["Declared"]


class Declared:
    """Every enum and record of a schema, and the module that each is in."""

    def __init__(self, schema: Schema) -> None:
        self.enums: dict[str, Enum] = {}
        self.records: dict[str, Record] = {}
        self.homes: dict[str, tuple[str, ...]] = {}
        for module in schema.modules:
            self.enums |= {enum.name: enum for enum in module.enums}
            self.records |= {record.name: record for record in module.records}
            self.homes |= dict.fromkeys(module.names, module.name)

    def holds_secret(self, kind: Type) -> bool:
        """Whether a record somewhere in the type has a secret field."""
        return not self._secretive.isdisjoint(names_in(kind))

    def secret_keys(self, job: Job) -> list[str]:
        """Every wire name of a secret of a job, or of one version of it."""
        return [
            key
            for field in job.fields
            if field.secret or self.holds_secret(field.type)
            for key in (field.key, *field.aliases)
        ]

    def levels(self, kind: Type) -> float:
        """The most levels of JSON that a value has; infinite with `json` or a circle."""
        return levels(kind, self._levels)

    @cached_property
    def default_levels(self) -> int:
        """The levels of the deepest record of which no key was given."""
        return default_levels(self.records)

    @cached_property
    def circular(self) -> dict[str, int]:
        """The records that hold themselves, with the number of their circle."""
        uses = mentioned(self.records.values())
        return {
            name: number for number, group in enumerate(circles(uses)) for name in group
        }

    @cached_property
    def _levels(self) -> dict[str, float]:
        return record_levels(self.records)

    @cached_property
    def _secretive(self) -> set[str]:
        """The records with a secret field, also one of a record that they hold."""
        own = (
            record.name
            for record in self.records.values()
            if any(field.secret for field in record.fields)
        )
        return holders(self.records.values(), own)
