"""The code that writes and reads a value: as a stream field, or inside JSON."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

from flowd_codegen.model.kinds import EnumRef, OneOf, Optional, Scalar, Type
from flowd_codegen.model.scalars import scalar
from flowd_codegen.model.schema import Field
from flowd_codegen.python.checks import Calls, limited
from flowd_codegen.python.source import bracket, bytes_literal, text_literal
from flowd_codegen.python.types import TypePrinter, plain_expression

__all__ = ["Codec", "EntryCodec", "JsonCodec"]

_STR: Final = Scalar("str")


@dataclass(frozen=True, slots=True)
class Codec(ABC):
    """Code for one field's value, which is never None here.

    Attributes:
        printer: of the module.
        field: the field.
        constant: the name of its JSON shape or table of choices, empty without one.
        checks: the checks of the value.
        mapping: the local that is written to and read from.
        present: the condition under which an optional field is not None.
    """

    printer: TypePrinter
    field: Field
    constant: str
    checks: Calls

    mapping: ClassVar[str]
    present: ClassVar[str]

    @abstractmethod
    def key(self, name: str) -> str:
        """A key of the mapping, as a literal."""

    @abstractmethod
    def json(self, value: object) -> str:
        """What means the default of a `json` field, in the mapping's own form."""

    @abstractmethod
    def encode(self, kind: Type, value: str) -> str:
        """From the Python value to what is written."""

    @abstractmethod
    def decode(self, kind: Type, raw: str) -> str:
        """From what was read to the Python value."""

    def writing(self, kind: Type, value: str) -> str:
        """Constraints, then the mapper, then the text."""
        checked = limited(value, self.checks)
        mapper = self.field.mapper
        if mapper and mapper.serialize:
            text = bracket(f"{self.printer.function(mapper.serialize)}(", (checked,))
            written = self.encode(_STR, text)
        else:
            written = self.encode(kind, checked)
        if mapper and mapper.deserialize and isinstance(self.field.type, Optional):
            return bracket(f"{self.printer.wire('filled')}(", (written,))
        return written

    def reading(self, kind: Type, raw: str) -> str:
        """The text, then the mapper, then constraints."""
        mapper = self.field.mapper.deserialize if self.field.mapper else None
        if mapper is None:
            return limited(self.decode(kind, raw), self.checks)
        text = self.decode(_STR, raw)
        return limited(
            bracket(f"{self.printer.function(mapper)}(", (text,)), self.checks
        )


class EntryCodec(Codec):
    """For a field of a job: bytes in a stream entry."""

    mapping = "fields"
    present = "key in fields"

    def key(self, name: str) -> str:
        """The wire name's bytes."""
        return bytes_literal(name.encode())

    def json(self, value: object) -> str:
        """JSON text."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return bytes_literal(text.encode())

    def encode(self, kind: Type, value: str) -> str:
        """`value.encode()`, `wire.encode_u32(value)` and so on."""
        if kind == _STR:
            return f"{value}.encode()"
        return self._call("encode", kind, value)

    def decode(self, kind: Type, raw: str) -> str:
        """`raw.decode()`, `wire.decode_u32(raw)` and so on."""
        if kind == _STR:
            return f"{raw}.decode()"
        return self._call("decode", kind, raw)

    def _call(self, verb: str, kind: Type, value: str) -> str:
        more = self.constant
        match kind:
            case Scalar("json"):
                function, more = f"{verb}_json", self.printer.wire("JSON")
            case Scalar(name):
                row = scalar(name, self.field.encoding)
                function, more = (row.encode if verb == "encode" else row.decode), ""
            case EnumRef(name) if unknown := self.printer.unknown(name):
                function, more = f"{verb}_open_enum", unknown
            case EnumRef(name):
                function, more = f"{verb}_enum", self.printer.declared_class(name)
            case OneOf():
                function = f"{verb}_one_of"
            case _:
                function = f"{verb}_json"
        arguments = (value, more) if more else (value,)
        return bracket(f"{self.printer.wire(function)}(", arguments)


class JsonCodec(Codec):
    """For a field of a record: a value of a JSON object."""

    mapping = "items"
    present = "items.get(key) is not None"

    def key(self, name: str) -> str:
        """The key's text."""
        return text_literal(name)

    def json(self, value: object) -> str:
        """A Python value."""
        return plain_expression(value)

    def encode(self, kind: Type, value: str) -> str:
        """`wire.U32.dump(value)` and so on."""
        return bracket(f"{self._shape(kind)}.dump(", (value,))

    def decode(self, kind: Type, raw: str) -> str:
        """`wire.U32.load(raw)` and so on."""
        return bracket(f"{self._shape(kind)}.load(", (raw,))

    def _shape(self, kind: Type) -> str:
        if isinstance(kind, Scalar):
            return self.printer.shape(kind, self.field.encoding)
        return self.constant
