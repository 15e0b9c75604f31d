"""The fields of a job class as a form shows them: type, choices, words, and default.

All of it is for people. Nothing here decides what is valid: the class does.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from flowd.model.job import Job, JobSpec

__all__ = ["FieldKind", "FormField", "form_of"]

FieldKind: TypeAlias = Literal["text", "number", "choice", "time", "json", "bytes"]
"""What a person has to type; `json` is a document, `choice` one of some texts."""

_HINTS: Final[Mapping[str, str]] = {
    "datetime": "as 2031-05-01T08:00:00Z",
    "unix_ms": "milliseconds since 1970",
    "date": "as 2031-05-01",
    "duration": "as 1.5s, 10m or 2h",
    "uuid": "32 hexadecimal digits, with dashes",
    "base64": "base64",
    "hex": "hexadecimal",
    "raw": "bytes",
    "decimal": "as 12.50",
}
_NUMBERS: Final = re.compile(r"[ui](8|16|32|64)|int|float|decimal|unix_ms")
_TIMES: Final = ("datetime", "date", "duration")
_BYTES: Final = ("base64", "hex", "raw")
_TEXTS: Final = ("", "str", "uuid", "mapper")


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One field of a job, as a person fills it in."""

    name: str
    """Its wire name."""

    kind: FieldKind
    type: str
    """As the schema spells it, for example `u64?`; empty if the class does not say it."""

    hint: str
    """How a value is written; empty if the type says it."""

    doc: str
    """What the schema says of it."""

    choices: Sequence[str]
    """The values that it may have on the wire; empty for others."""

    open: bool
    """Whether it may have other values too."""

    secret: bool
    required: bool
    """Whether an entry without it is refused."""

    default: str
    """What it is if the entry does not have it, as Python shows it; empty if it is
    required, optional, or secret."""


@lru_cache(256)
def form_of(job_class: type[Job]) -> tuple[FormField, ...]:
    """The fields of a generated class in declared order."""
    assert dataclasses.is_dataclass(job_class)
    spec = job_class.SPEC
    attributes = dict(zip(spec.fields, dataclasses.fields(job_class), strict=True))
    if not spec.types:
        # A class of an older flowd-gen says no more than this.
        optional = (name for name in spec.fields if _has_default(attributes[name]))
        types = ("",) * len(spec.fields)
        spec = dataclasses.replace(spec, types=types, optional=tuple(optional))
    return tuple(
        _form_field(spec, name, spelt, attributes[name])
        for name, spelt in zip(spec.fields, spec.types, strict=True)
    )


def _form_field(
    spec: JobSpec, name: str, spelt: str, attribute: dataclasses.Field[object]
) -> FormField:
    choices = spec.choices.get(name, ())
    written = _written(spelt, spec.encodings.get(name, ""))
    return FormField(
        name=name,
        kind="choice" if choices else _kind(written),
        type=spelt,
        hint="" if choices else _HINTS.get(written, ""),
        doc=spec.docs.get(name, ""),
        choices=choices,
        open=name in spec.open,
        secret=name in spec.secrets,
        required=name not in spec.optional,
        default="" if name in spec.secrets else _default(attribute),
    )


def _written(spelt: str, encoding: str) -> str:
    """How the value is written: an encoding, or the type whose own text it is."""
    kind = spelt.removesuffix("?")
    return encoding or ("base64" if kind == "bytes" else kind)


def _kind(written: str) -> FieldKind:
    if _NUMBERS.fullmatch(written):
        return "number"
    if written in _TIMES:
        return "time"
    if written in _BYTES:
        return "bytes"
    # Lists, dicts, records, unions and `json` are documents.
    return "text" if written in _TEXTS else "json"


def _has_default(attribute: dataclasses.Field[object]) -> bool:
    nothing = dataclasses.MISSING
    return not attribute.default is attribute.default_factory is nothing


def _default(attribute: dataclasses.Field[object]) -> str:
    """What the field is if it is left out; empty for None, and if it is required."""
    made = attribute.default
    if attribute.default_factory is not dataclasses.MISSING:
        made = attribute.default_factory()
    if made is dataclasses.MISSING or made is None:
        return ""
    return f"{made.value}" if isinstance(made, enum.Enum) else repr(made)
