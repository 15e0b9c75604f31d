"""The keys and aliases that the fields of one job or record have on the wire."""

from __future__ import annotations

from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Code, quoted
from flowd_codegen.model.naming import FIELD_NAME
from flowd_codegen.parse.table import Table

__all__ = ["WireKeys"]


class WireKeys:
    """The keys and aliases of one job or record, checked as they come.

    Args:
        owner: the job's or record's table, which may reserve keys.
    """

    def __init__(self, owner: Table) -> None:
        self._report = owner.report
        self._taken: dict[str, SourceLocation] = {}
        self._reserved = {key: location for location, key in owner.texts("reserved")}
        for key, location in self._reserved.items():
            self._check_grammar(key, location)

    def reserve_all(self, group: Table) -> None:
        """Take over what a group reserves, for all that include it."""
        for location, key in group.texts("reserved"):
            self._reserved.setdefault(key, location)

    def bring(self, key: str, home: SourceLocation, entry: SourceLocation) -> None:
        """Note a key of a group's field.

        Args:
            key: the key.
            home: of the field.
            entry: of the group, where it is included.
        """
        if key in self._reserved:
            self._report(
                Code.WIRE_KEY_RESERVED,
                entry,
                f"the group has the wire key {quoted(key)}, which is reserved",
                "old entries may hold another value under it",
                also=(self._reserved[key], "reserved here"),
            )
        self._taken[key] = home

    def location(self, key: str) -> SourceLocation | None:
        """Where a key was taken first."""
        return self._taken.get(key)

    @property
    def reserved(self) -> tuple[str, ...]:
        """Keys that no field may have again, in declared order."""
        return tuple(self._reserved)

    def take(self, name: str, options: Table) -> tuple[str, tuple[str, ...]]:
        """Note the keys that a field is written and read under; faults are reported.

        Args:
            name: of the field, which is its key unless the options give one.
            options: of the field.
        """
        key = options.text("key")
        if key is not None:
            self._take(key, options.at("key"))
        elif FIELD_NAME.fullmatch(name):
            self._take(name, options.location.key())
        aliases = options.texts("aliases")
        for location, alias in aliases:
            self._take(alias, location)
        return key or name, tuple(alias for _, alias in aliases)

    def _take(self, key: str, location: SourceLocation) -> None:
        self._check_grammar(key, location)
        if key in self._reserved:
            self._report(
                Code.WIRE_KEY_RESERVED,
                location,
                f"wire key {quoted(key)} is reserved",
                "old entries may hold another value under it; choose another `key`",
                also=(self._reserved[key], "reserved here"),
            )
        elif key in self._taken:
            self._report(
                Code.WIRE_KEY_TWICE,
                location,
                f"wire key {quoted(key)} is used twice",
                also=(self._taken[key], "first here"),
            )
        self._taken.setdefault(key, location)

    def _check_grammar(self, key: str, location: SourceLocation) -> None:
        if not key or not key.isprintable():
            self._report(
                Code.WIRE_KEY,
                location,
                f"wire key {quoted(key)} must be printable text, not empty",
            )
        elif key.startswith("_"):
            self._report(
                Code.WIRE_KEY,
                location,
                f"wire key {quoted(key)} begins with `_`",
                "such keys are flowd's own",
            )
