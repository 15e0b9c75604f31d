"""The Rust type that writes and reads, through the derive, the text of a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flowd_codegen.model.canonical import type_text
from flowd_codegen.model.kinds import EnumRef, OneOf, Scalar, base
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import Field
from flowd_codegen.model.walk import unions_in

__all__ = ["RustType", "rust_type"]

_LOW, _HIGH = INTEGERS["i64"]


@dataclass(frozen=True, slots=True)
class RustType:
    """A type, without its `Option`.

    Attributes:
        name: in Rust.
        note: what is in it, where the type does not say it.
        refusal: why there is none.
        advice: what to do about that.
    """

    name: str
    note: str = ""
    refusal: str = ""
    advice: str = ""


_SCALARS: Final = {
    "str": RustType("String"),
    "float": RustType("f64"),
    # The derive writes a bool as `true` and reads only `1` and `0`.
    "bool": RustType("String", "`true` or `false`."),
    "bytes": RustType("String", "Base64, padded."),
    "decimal": RustType("String", "A decimal without exponent: `1.50`."),
    "uuid": RustType("String", "A UUID: 36 characters, small letters."),
    "datetime": RustType("String", "RFC 3339 with an offset."),
    "date": RustType("String", "`2026-01-31`."),
    "duration": RustType("i64", "Milliseconds."),
    "json": RustType("String", "JSON."),
    **{name: RustType(name) for name in INTEGERS},
}
_ENCODED: Final = {
    "01": RustType("u8", "`1` for true, `0` for false."),
    "hex": RustType("String", "Bytes in hexadecimal digits."),
    "unix_ms": RustType("i64", "Milliseconds since 1970."),
    "raw": RustType(
        "",
        refusal='the derive writes text, and bytes with `encoding = "raw"` are none',
        advice="leave `encoding` out for base64, or take `hex`",
    ),
}


def rust_type(field: Field) -> RustType:
    """The type of a field."""
    kind = base(field.type)
    if field.mapper:
        function = field.mapper.serialize or field.mapper.deserialize
        assert function is not None
        return RustType(
            "String", f"Text of the mapper {function.module}:{function.name}."
        )
    match kind:
        case Scalar("int"):
            if _fits(field.min, field.max):
                return RustType("i64")
            return RustType("String", "An integer of any size, in decimal digits.")
        case Scalar(name):
            return _ENCODED.get(field.encoding or "", _SCALARS[name])
        case EnumRef(name):
            return RustType(name)
        case OneOf(values) if all(
            isinstance(v, int) and _LOW <= v <= _HIGH for v in values
        ):
            return RustType("i64")
        case OneOf():
            return RustType("String")
        case _ if unions := [*unions_in(kind)]:
            tag = "".join(f'#[serde(tag = "{one.tag}")]' for one in unions[:1])
            note = f"JSON: `{type_text(kind)}`, an enum with `{tag}`."
            return RustType("String", note)
        case _:
            return RustType("String", f"JSON: `{type_text(kind)}`.")


def _fits(*values: str | float | None) -> bool:
    """Whether all are integers of an `i64`."""
    return all(isinstance(value, int) and _LOW <= value <= _HIGH for value in values)
