"""Types and defaults of the model as Python source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from flowd import wire
from flowd_codegen.model.bounds import Native
from flowd_codegen.model.declared import Declared
from flowd_codegen.model.kinds import (
    Bounds,
    DictOf,
    EnumRef,
    External,
    ListOf,
    OneOf,
    Optional,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
    base,
)
from flowd_codegen.model.scalars import SCALARS, scalar
from flowd_codegen.model.schema import (
    Encoding,
    Function,
    is_list,
    is_table,
)
from flowd_codegen.python.source import (
    Imports,
    bracket,
    bytes_literal,
    text_literal,
)

__all__ = [
    "TypePrinter",
    "choice_key",
    "expression",
    "is_container",
    "native_expression",
    "plain_expression",
]


class TypePrinter:
    """Spells types for one module, importing what they need there."""

    def __init__(
        self, module: tuple[str, ...], declared: Declared, imports: Imports
    ) -> None:
        self.declared = declared
        self.imports = imports
        self._module = module

    def wire(self, name: str) -> str:
        """Something of `flowd.wire`."""
        return f"{self.imports.name('flowd', 'wire')}.{name}"

    def function(self, function: Function) -> str:
        """The user's own function."""
        return self.imports.name(function.module, function.name)

    def declared_class(self, name: str) -> str:
        """An enum or record, of this module or a sibling."""
        home = self.declared.homes[name]
        if home == self._module:
            return name
        return self.imports.name(_relative(self._module, home), name)

    def unknown(self, enum: str) -> str:
        """The member that an enum reads other texts as; empty if it refuses them."""
        member = self.declared.enums[enum].unknown
        return member and f"{self.declared_class(enum)}.{member}"

    def declared_type(self, kind: Type) -> str:
        """The type as the annotation of an attribute, where other libraries read it."""
        if isinstance(kind, UnionOf):
            word = self.imports.name("typing", "Annotated")
            texts = (f"{name}={text_literal(text)}" for text, name in kind.members)
            tag = (text_literal(kind.tag), *texts)
            tagged = bracket(f"{self.wire('Tagged')}(", tag)
            return bracket(f"{word}[", (self.annotation(kind), tagged))
        return self._annotation(kind, self.declared_type)

    def annotation(self, kind: Type) -> str:
        """The type as an annotation."""
        return self._annotation(kind, self.annotation)

    def _annotation(self, kind: Type, inner: Callable[[Type], str]) -> str:
        match kind:
            case Scalar("json") | Optional(Scalar("json")):
                # None is among its values, and `|` knows no alias that is a string.
                return self.wire("Json")
            case Scalar(name):
                row = SCALARS[name]
                if row.module:
                    return self.imports.name(row.module, row.annotation)
                return row.annotation
            case ListOf(item):
                return f"list[{inner(item)}]"
            case DictOf(value):
                return f"dict[str, {inner(value)}]"
            case EnumRef(name) | RecordRef(name):
                return self.declared_class(name)
            case UnionOf(members):
                return " | ".join(self.declared_class(name) for _, name in members)
            case OneOf(values):
                word = self.imports.name("typing", "Literal")
                return f"{word}[{', '.join(map(plain_expression, values))}]"
            case External(module, name):
                return self.imports.name(module, name)
            case Optional(item):
                return f"{inner(item)} | None"

    def shape(
        self,
        kind: Type,
        encoding: Encoding | None = None,
        constant: str = "",
        judged: Callable[
            [str, Type, Bounds], str
        ] = lambda shape, _kind, _bounds: shape,
    ) -> str:
        """The type inside JSON.

        Args:
            kind: the type.
            encoding: of the field, for a scalar that is no item of anything.
            constant: the name of what its `one_of` or union is, if it has one.
            judged: adds checks to the shape of an item.
        """
        match kind:
            case Scalar("json") | Optional(Scalar("json")):
                return self.wire("JSON")
            case Scalar(name):
                return self.wire(scalar(name, encoding).shape)
            case ListOf(item, each) | DictOf(item, each):
                inner = self.shape(base(item), None, constant, judged)
                inner = judged(inner, base(item), each)
                if isinstance(item, Optional) and item.item != Scalar("json"):
                    inner = self._shape_of("optional", inner)
                builder = "list_of" if isinstance(kind, ListOf) else "dict_of"
                return self._shape_of(builder, inner)
            case EnumRef(name):
                if unknown := self.unknown(name):
                    return self._shape_of("open_enum_of", unknown)
                return self._shape_of("enum_of", self.declared_class(name))
            case RecordRef(name):
                return self._shape_of("record_of", self.declared_class(name))
            case UnionOf():
                return constant
            case Optional(item):
                inner = self.shape(item, encoding, constant, judged)
                return self._shape_of("optional", inner)
            case OneOf():
                return self._shape_of("one_of", constant)
            case External():
                raise AssertionError(f"{kind} has no text without a mapper")

    def union(self, union: UnionOf) -> str:
        """What makes the shape of a union."""
        kinds = [
            f"{text_literal(text)}: {self.declared_class(name)}"
            for text, name in union.members
        ]
        arguments = (text_literal(union.tag), bracket("{", kinds))
        return bracket(f"{self.wire('union_of')}(", arguments)

    def _shape_of(self, builder: str, inner: str) -> str:
        return bracket(f"{self.wire(builder)}(", (inner,))


def choice_key(choice: str | int) -> str:
    """One of a `one_of` as wire text, as Python source."""
    return bytes_literal(str(choice).encode())


def _relative(here: tuple[str, ...], there: tuple[str, ...]) -> str:
    """The way from one module to a sibling, as a relative import writes it."""
    package = here[:-1]
    shared = 0
    while shared < min(len(package), len(there) - 1) and (
        package[shared] == there[shared]
    ):
        shared += 1
    dots = "." * (1 + len(package) - shared)
    return dots + ".".join(there[shared:])


def is_container(value: object) -> bool:
    """Whether a default is built of other values, so that it must not be shared."""
    return isinstance(value, list | dict)


def expression(kind: Type, value: object, printer: TypePrinter) -> str:
    """The default, in the form that `schema.Value` has, as a Python expression."""
    match kind:
        case Optional(item):
            return expression(item, value, printer)
        case EnumRef(name):
            members = printer.declared.enums[name].members
            member = next(member for member, text in members if text == value)
            return f"{printer.declared_class(name)}.{member}"
        case ListOf() | DictOf() if not value:
            return f"{printer.annotation(kind)}()"
        case ListOf(item) if is_list(value):
            return bracket("[", tuple(expression(item, one, printer) for one in value))
        case DictOf(item) if is_table(value):
            pairs = {key: expression(item, one, printer) for key, one in value.items()}
            return bracket("{", _pairs(pairs))
        case RecordRef(name) if is_table(value):
            arguments = tuple(
                f"{field.attribute}={expression(field.type, value[field.name], printer)}"
                for field in printer.declared.records[name].fields
                if field.name in value
            )
            return bracket(f"{printer.declared_class(name)}(", arguments)
        case UnionOf(members, tag) if is_table(value):
            record = dict(members)[str(value[tag])]
            return expression(RecordRef(record), value, printer)
        case Scalar(name) if name in _PARSED:
            return _PARSED[name](str(value), printer)
        case _:
            return plain_expression(value)


def native_expression(value: Native, printer: TypePrinter) -> str:
    """A bound as a Python expression."""
    match value:
        case datetime():
            return _datetime(value.isoformat(), printer)
        case date():
            return _date(value.isoformat(), printer)
        case timedelta():
            return _duration(wire.encode_duration(value).decode(), printer)
        case Decimal():
            return _decimal(str(value), printer)
        case _:
            return repr(value)


def plain_expression(value: object) -> str:
    """A text, number or flag, and arrays and tables of them, as a Python expression."""
    if isinstance(value, str):
        return text_literal(value)
    if is_list(value):
        return bracket("[", tuple(plain_expression(item) for item in value))
    if is_table(value):
        return bracket(
            "{", _pairs({key: plain_expression(one) for key, one in value.items()})
        )
    return repr(value)


def _pairs(pairs: Mapping[str, str]) -> list[str]:
    return [f"{text_literal(key)}: {one}" for key, one in pairs.items()]


def _decimal(text: str, printer: TypePrinter) -> str:
    return f'{printer.imports.name("decimal", "Decimal")}("{text}")'


def _uuid(text: str, printer: TypePrinter) -> str:
    return f'{printer.imports.name("uuid", "UUID")}("{text}")'


def _date(text: str, printer: TypePrinter) -> str:
    day = wire.decode_date(text.encode())
    name = printer.imports.name("datetime", "date")
    return f"{name}({day.year}, {day.month}, {day.day})"


def _datetime(text: str, printer: TypePrinter) -> str:
    return f'{printer.imports.name("datetime", "datetime")}.fromisoformat("{text}")'


def _duration(text: str, printer: TypePrinter) -> str:
    milliseconds = int(text)
    name = printer.imports.name("datetime", "timedelta")
    if milliseconds % 1000:
        return f"{name}(milliseconds={milliseconds})"
    return f"{name}(seconds={milliseconds // 1000})"


def _bytes(text: str, _: TypePrinter) -> str:
    return bytes_literal(wire.decode_base64(text.encode()))


_PARSED: Final[dict[str, Callable[[str, TypePrinter], str]]] = {
    "bytes": _bytes,
    "date": _date,
    "datetime": _datetime,
    "decimal": _decimal,
    "duration": _duration,
    "uuid": _uuid,
}
