"""The plan of a field: its declaration, and the lines that write and read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from flowd.wire.depth import FILLED
from flowd.wire.document import DEEPEST
from flowd_codegen.model.describe import with_deprecation
from flowd_codegen.model.kinds import (
    DictOf,
    EnumRef,
    ListOf,
    OneOf,
    Optional,
    RecordRef,
    Scalar,
    UnionOf,
    base,
)
from flowd_codegen.model.naming import snake_case
from flowd_codegen.model.schema import Factory, Field, Value
from flowd_codegen.model.walk import choices_in, names_in, unions_in
from flowd_codegen.python.checks import Calls, Checks
from flowd_codegen.python.codec import Codec, EntryCodec, JsonCodec
from flowd_codegen.python.source import bracket, docstring
from flowd_codegen.python.types import (
    TypePrinter,
    choice_key,
    expression,
    is_container,
    plain_expression,
)

__all__ = ["FieldPlan", "plan_job_field", "plan_record_field"]

_BODY: Final = 4
_TRY: Final = 12
_CONTAINERS: Final = (ListOf, DictOf, RecordRef, UnionOf)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPlan:
    """Python source for one field; lines after a first one carry their indent.

    Attributes:
        declaration: in the class body.
        doc: the string below it, or empty.
        key: the wire name as a literal.
        find: the literal, or with aliases the call that finds which one is there.
        write, read: the statement of each method.
        setter: the name of what sets the attribute of a new object.
        fill: the statement that does.
        constants: what the module needs in front of the class.
    """

    declaration: str
    doc: str
    key: str
    find: str
    write: str
    read: str
    setter: str
    fill: str
    constants: tuple[str, ...]


def plan_job_field(field: Field, owner: str, printer: TypePrinter) -> FieldPlan:
    """A field of a job: one field of a stream entry, absent for None."""
    # The whole of an entry's field is checked once, not each record in it.
    is_deep = printer.declared.levels(field.type) > DEEPEST
    named = _Constants(field, owner, printer, is_deep=is_deep)
    is_choice = isinstance(named.kind, OneOf)
    constant = named.table() if is_choice else named.shape(_CONTAINERS)
    codec = EntryCodec(printer, field, constant, named.checks())
    attribute = f"self.{field.attribute}"
    write = codec.writing(base(field.type), attribute)
    written = f"fields[key] = {write}"
    if isinstance(field.type, Optional):
        written = f"if {attribute} is not None:\n{' ' * (_TRY + 4)}{written}"
    return _plan(codec, written, named)


def plan_record_field(field: Field, owner: str, printer: TypePrinter) -> FieldPlan:
    """A field of a record: one key of a JSON object, null for None."""
    named = _Constants(field, owner, printer)
    shape = named.shape((EnumRef, OneOf, *_CONTAINERS))
    codec = JsonCodec(printer, field, shape, named.checks())
    attribute = f"self.{field.attribute}"
    write = codec.writing(base(field.type), attribute)
    if isinstance(field.type, Optional):
        write = f"{write} if {attribute} is not None else None"
    return _plan(codec, f"items[key] = {write}", named)


class _Constants:
    """The module's constants for one field: choices, a JSON shape, bounds, a setter."""

    def __init__(
        self, field: Field, owner: str, printer: TypePrinter, *, is_deep: bool = False
    ) -> None:
        mapper = field.mapper
        self.needed = not (mapper and mapper.is_complete)
        self.kind = base(field.type)
        self.lines: list[str] = []
        self.choices = ""
        self._printer = printer
        self._field = field
        self._is_deep = is_deep
        place = f"{snake_case(owner)}_{field.name}"
        self._name = f"_{place}".upper()
        self.setter = printer.imports.reserve(f"_set_{place}")

    def table(self) -> str:
        """The table of a `one_of`, from wire text to value; returns its name."""
        choices = choices_in(self.kind)
        if choices and self.needed and not self.choices:
            pairs = [
                f"{choice_key(value)}: {plain_expression(value)}"
                for value in choices.values
            ]
            name = self._name if choices == self.kind else f"{self._name}_ITEM"
            kind = f"[dict[bytes, {self._printer.annotation(choices)}]]"
            self.choices = self._constant(name, bracket("{", pairs), kind)
        return self.choices

    def checks(self) -> Calls:
        """The checks of the field's value, except None."""
        found = Checks(self._printer, partial(self._end, self._name))
        return found.of(self.kind, self._field, self._field.encoding)

    def union(self) -> str:
        """The shape of the union in a type; returns its name."""
        union = next(unions_in(self.kind), None)
        if union is None:
            return ""
        name = self._name if union == self.kind else f"{self._name}_ITEM"
        kind = f"{self._printer.wire('Shape')}[{self._printer.annotation(union)}]"
        # From a dict a checker infers only what all of its values have in common.
        shape = self._printer.union(union)
        if union == self.kind:
            shape = self._outermost(shape)
        return self._constant(name, shape, f"[{kind}]")

    def shape(self, kinds: tuple[type, ...]) -> str:
        """The JSON shape of a type that is one of `kinds`; returns its name."""
        if not (isinstance(self.kind, kinds) and self.needed):
            return ""
        inner = self.union() or self.table()
        if isinstance(self.kind, UnionOf):
            return inner
        items = Checks(self._printer, partial(self._end, f"{self._name}_ITEM"))
        encoding = self._field.encoding
        shape = self._printer.shape(self.kind, encoding, inner, items.item)
        name = f"{self._name}_JSON" if isinstance(self.kind, OneOf) else self._name
        return self._constant(name, self._outermost(shape))

    def _outermost(self, shape: str) -> str:
        if not self._is_deep:
            return shape
        filled = self._printer.declared.default_levels
        more = (str(filled),) if filled > FILLED else ()
        return bracket(f"{self._printer.wire('depth_checked')}(", (shape, *more))

    def _end(self, name: str, option: str, value: str) -> str:
        return self._constant(f"{name}_{option}", value)

    def _constant(self, name: str, value: str, kind: str = "") -> str:
        name = self._printer.imports.reserve(name)
        final = self._printer.imports.name("typing", "Final")
        self.lines.append(f"{name}: {final}{kind} = {value}")
        return name


def _plan(codec: Codec, written: str, named: _Constants) -> FieldPlan:
    field, printer = codec.field, codec.printer
    keys = tuple(codec.key(name) for name in (field.key, *field.aliases))
    find = keys[0]
    if field.aliases:
        find = bracket(f"{printer.wire('first_key')}(", (codec.mapping, *keys))
    doc = with_deprecation(field.doc, field.deprecated)
    return FieldPlan(
        declaration=_declaration(field, printer),
        doc=docstring(doc, _BODY) if doc else "",
        key=keys[0],
        find=find,
        write=written,
        read=_read(codec, named.choices),
        setter=named.setter,
        fill=f"{named.setter}(made, _{field.attribute})",
        constants=tuple(named.lines),
    )


def _read(codec: Codec, choices: str) -> str:
    field, printer = codec.field, codec.printer
    mapped = field.mapper is not None and field.mapper.deserialize is not None
    # What the user's own functions return is checked against it.
    target = f"_{field.attribute}: {printer.annotation(field.type)}"
    raw = f"{codec.mapping}[key]"
    present = f"key in {codec.mapping}"
    missing: str | None = None
    match field.type, field.default:
        case Optional(), _:
            # For None with a mapper Rust writes an empty text.
            present = f"{codec.mapping}.get(key)" if mapped else codec.present
            missing = "None"
        case Scalar("json"), Value(value) if not mapped:
            raw = f"{codec.mapping}.get(key, {codec.json(value)})"
        case OneOf(), Value(str() | int() as value) if choices:
            missing = f"{choices}[{choice_key(value)}]"
        case _, Value(value):
            missing = expression(field.type, value, printer)
        case _, Factory(function):
            missing = f"{printer.function(function)}()"
        case _:
            pass
    code = codec.reading(base(field.type), raw)
    if missing is not None:
        code = f"{code} if {present} else {missing}"
    return f"{target} = {code}"


def _is_later(field: Field, printer: TypePrinter) -> bool:
    """Whether the type names a class that may be behind the one that it is a field of."""
    return any(name in printer.declared.circular for name in names_in(field.type))


def _declaration(field: Field, printer: TypePrinter) -> str:
    start = f"{field.attribute}: {printer.declared_type(field.type)}"
    options: list[str] = []
    match field.type, field.default:
        case Optional(), _:
            options = ["default=None"]
        case ListOf() | DictOf(), Value(value) if not value:
            empty = printer.annotation(field.type)
            if _is_later(field, printer):
                empty = f"lambda: {empty}()"
            options = [f"default_factory={empty}"]
        case _, Value(value) if is_container(value):
            default = expression(field.type, value, printer)
            if field.type == Scalar("json"):
                # An argument is what mypy infers as the type it is meant to be.
                default = bracket(f"{printer.wire('JSON')}.load(", (default,))
            # Each object gets its own.
            is_call = default.endswith("()") and default[:-2].isidentifier()
            if is_call and not _is_later(field, printer):
                options = [f"default_factory={default.removesuffix('()')}"]
            else:
                options = [f"default_factory=lambda: {default}"]
        case _, Value(value):
            options = [f"default={expression(field.type, value, printer)}"]
        case _, Factory(function):
            options = [f"default_factory={printer.function(function)}"]
        case _:
            pass
    if field.secret:
        options.append("repr=False")
    match options:
        case []:
            return start
        case [str() as only] if only.startswith("default="):
            return f"{start} = {only.removeprefix('default=')}"
        case _:
            call = printer.imports.name("dataclasses", "field")
            return f"{start} = {bracket(f'{call}(', options)}"
