"""The text of a key's fields as jobs write it, and whether the fields can have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from flowd import wire
from flowd.errors import DecodeError
from flowd.model.job import Job, JobSpec

__all__ = ["wire_texts"]

_Rewrite: TypeAlias = Callable[[bytes], bytes]

_KINDS: Final[Mapping[str, _Rewrite]] = {
    "str": lambda raw: raw.decode().encode(),
    "bool": lambda raw: wire.encode_bool(wire.decode_bool(raw)),
    "01": lambda raw: wire.encode_bool01(wire.decode_bool01(raw)),
    "u8": lambda raw: wire.encode_u8(wire.decode_u8(raw)),
    "u16": lambda raw: wire.encode_u16(wire.decode_u16(raw)),
    "u32": lambda raw: wire.encode_u32(wire.decode_u32(raw)),
    "u64": lambda raw: wire.encode_u64(wire.decode_u64(raw)),
    "i8": lambda raw: wire.encode_i8(wire.decode_i8(raw)),
    "i16": lambda raw: wire.encode_i16(wire.decode_i16(raw)),
    "i32": lambda raw: wire.encode_i32(wire.decode_i32(raw)),
    "i64": lambda raw: wire.encode_i64(wire.decode_i64(raw)),
    "int": lambda raw: wire.encode_int(wire.decode_int(raw)),
    "float": lambda raw: wire.encode_float(wire.decode_float(raw)),
    "decimal": lambda raw: wire.encode_decimal(wire.decode_decimal(raw)),
    "uuid": lambda raw: wire.encode_uuid(wire.decode_uuid(raw)),
    "date": lambda raw: wire.encode_date(wire.decode_date(raw)),
    "datetime": lambda raw: wire.encode_datetime(wire.decode_datetime(raw)),
    "unix_ms": lambda raw: wire.encode_unix_ms(wire.decode_unix_ms(raw)),
    "duration": lambda raw: wire.encode_duration(wire.decode_duration(raw)),
    "hex": lambda raw: wire.encode_hex(wire.decode_hex(raw)),
    "base64": lambda raw: wire.encode_base64(wire.decode_base64(raw)),
}
"""How a value is read and written again, by its encoding or else its type."""


def wire_texts(job_class: type[Job], fields: Mapping[str, str]) -> dict[str, str]:
    """The fields of a key in the text that a job of the class would write.

    A key is compared by that text: `07` of an integer is `7`. Texts of documents, of
    mappers, and of a class of an older flowd-gen are left as they are.

    Args:
        job_class: what the jobs are.
        fields: texts by wire name; those that the class does not have are left too.

    Raises:
        DecodeError: no job can have that value.
    """
    spec = job_class.SPEC
    types = dict(zip(spec.fields, spec.types, strict=False))
    return {
        name: _written(spec, name, types.get(name, ""), text)
        for name, text in fields.items()
    }


def _written(spec: JobSpec, name: str, spelt: str, text: str) -> str:
    choices = spec.choices.get(name, ())
    if choices and text not in choices and name not in spec.open:
        known = f"expected one of {', '.join(choices)}"
        raise DecodeError(spec.name, name, known, repr(text[:100]))
    kind = spelt.removesuffix("?")
    rewrite = _KINDS.get(
        spec.encodings.get(name, "base64" if kind == "bytes" else kind)
    )
    if choices or rewrite is None:
        return text
    raw = text.encode()
    try:
        return rewrite(raw).decode()
    except ValueError as error:
        failure = spec.decode_error(name.encode(), {name.encode(): raw}, error)
    # Outside of the `except`: its error, as the context, might show a secret.
    raise failure
