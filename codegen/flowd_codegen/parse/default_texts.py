"""Defaults that TOML has as text: how each type reads its own, and what is said of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flowd import wire
from flowd.errors.portable import Portable
from flowd_codegen.diagnostics.location import Place
from flowd_codegen.model.schema import Field, Scalar, base
from flowd_codegen.parse.table import Toml

__all__ = ["TEXTS", "Misfit", "decimal_text", "in_base64", "own_text"]

_LONGEST_DECIMAL: Final = 1000


class Misfit(Portable):
    """The value is not of the type.

    Attributes:
        place: of the value, or of a part of it.
        label: what to write.
    """

    def __init__(self, place: Place, message: str, label: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.label = label


TEXTS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "uuid": lambda raw: wire.encode_uuid(wire.decode_uuid(raw)),
    "bytes": lambda raw: wire.encode_base64(wire.decode_base64(raw)),
    "datetime": lambda raw: wire.encode_datetime(wire.decode_datetime(raw)),
    "date": lambda raw: wire.encode_date(wire.decode_date(raw)),
    "duration": lambda raw: wire.encode_duration(wire.decode_duration(raw)),
}
"""How a default that is a text is read and written again, by type."""


_COMPUTED: Final = "what is computed has a `factory`"
_LIKE: Final = {
    "uuid": f"write all of its digits; {_COMPUTED}",
    "bytes": "write base64, or give the field an `encoding`",
    "datetime": f"write it like `2026-01-31T12:00:00Z`; {_COMPUTED}",
    "date": f"write it like `2026-01-31`; {_COMPUTED}",
    "duration": 'write it like `"30s"`',
}


def own_text(value: str, name: str, place: Place) -> str:
    """The text of a type as the wire has it; raises Misfit."""
    try:
        return TEXTS[name](value.encode()).decode()
    except wire.CodecError as error:
        raise Misfit(place, str(error), _LIKE[name]) from error


def in_base64(value: Toml, field: Field, place: Place) -> Toml:
    """A default of bytes as the model has it; it is written as the field's own text."""
    if base(field.type) != Scalar("bytes") or not isinstance(value, str):
        return value
    try:
        match field.encoding:
            case "hex":
                return wire.encode_base64(wire.decode_hex(value.encode())).decode()
            case "raw":
                return wire.encode_base64(value.encode()).decode()
            case _:
                return value
    except wire.CodecError as error:
        raise Misfit(place, str(error)) from error


def decimal_text(value: str, place: Place) -> str:
    """A decimal as the wire has it; raises Misfit."""
    try:
        number = wire.decode_decimal(value.encode())
    except wire.CodecError as error:
        raise Misfit(place, str(error), 'write it like `"9.90"`') from error
    if abs(number.adjusted()) > _LONGEST_DECIMAL:
        raise Misfit(place, f"more than {_LONGEST_DECIMAL} digits")
    return wire.encode_decimal(number).decode()
