"""The fields of a job class as a form shows them: type, choices, words, and default.

All of it is for people. Nothing here decides what is valid: the class does.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from flowd.model.job import Job

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
_KEY: Final = re.compile(r'key(?:: bytes)? = b"([^"\n]+)"')
_CODEC: Final = re.compile(r"wire\.encode_(\w+)\(")
_FLAGS: Final = ("true", "false")


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One field of a job, as a person fills it in."""

    name: str
    """Its wire name."""

    kind: FieldKind
    type: str
    """As the class declares it, for example `str | None`."""

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
    attributes = dataclasses.fields(job_class)
    spec = job_class.SPEC
    source = _source(job_class)
    docs, codecs, hints = _docs(source), _codecs(source), _type_hints(job_class)
    return tuple(
        _form_field(
            name,
            attribute,
            codecs.get(name, ""),
            docs.get(attribute.name, ""),
            hints.get(attribute.name),
            secret=name in spec.secrets,
        )
        for name, attribute in zip(spec.fields, attributes, strict=True)
    )


def _form_field(
    name: str,
    attribute: dataclasses.Field[object],
    codec: str,
    doc: str,
    hint: object,
    *,
    secret: bool,
) -> FormField:
    choices = _choices(hint)
    kind: FieldKind = "text"
    if choices and codec != "json":
        kind = "choice"
    elif _NUMBERS.fullmatch(codec):
        kind = "number"
    elif codec in _TIMES:
        kind = "time"
    elif codec in _BYTES:
        kind = "bytes"
    elif codec == "json":
        kind = "json"
    default = attribute.default
    factory = attribute.default_factory
    required = default is dataclasses.MISSING and factory is dataclasses.MISSING
    text = ""
    if not (required or secret or default is None):
        made = factory() if factory is not dataclasses.MISSING else default
        text = f"{made.value}" if isinstance(made, enum.Enum) else repr(made)
    return FormField(
        name=name,
        kind=kind,
        type=_type_name(attribute.type, codec),
        hint=_HINTS.get(codec, ""),
        doc=doc,
        choices=choices if kind == "choice" else (),
        open=codec == "open_enum",
        secret=secret,
        required=required,
        default=text,
    )


def _type_name(declared: object, codec: str) -> str:
    """The declared type; numbers as the schema calls them, for example `u64`."""
    name = declared if isinstance(declared, str) else getattr(declared, "__name__", "")
    if re.fullmatch(r"[ui]\d+", codec):
        return re.sub(r"\bint\b", codec, name)
    return name


def _choices(hint: object) -> tuple[str, ...]:
    """The texts on the wire of an enum, a Literal or a bool, which may be optional."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [each for each in typing.get_args(hint) if each is not type(None)]
        return _choices(inner[0]) if len(inner) == 1 else ()
    if hint is bool:
        return _FLAGS
    if typing.get_origin(hint) is Literal:
        return tuple(f"{each}" for each in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(f"{each.value}" for each in hint)
    return ()


def _type_hints(job_class: type[Job]) -> Mapping[str, object]:
    try:
        return typing.get_type_hints(job_class)
    except Exception:  # a name of the user's module, or none of its source
        return {}


def _source(job_class: type[Job]) -> str:
    """The text of the generated class; empty if it is not there, as in a bundle."""
    try:
        return textwrap.dedent(inspect.getsource(job_class))
    except (OSError, TypeError):
        return ""


def _docs(source: str) -> dict[str, str]:
    """What stands below an attribute, by its name."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    body = tree.body[0].body if tree.body and _is_class(tree.body[0]) else []
    return {
        one.target.id: " ".join(two.value.value.split())
        for one, two in itertools.pairwise(body)
        if isinstance(one, ast.AnnAssign)
        and isinstance(one.target, ast.Name)
        and isinstance(two, ast.Expr)
        and isinstance(two.value, ast.Constant)
        and isinstance(two.value.value, str)
    }


def _is_class(node: ast.stmt) -> typing.TypeGuard[ast.ClassDef]:
    return isinstance(node, ast.ClassDef)


def _codecs(source: str) -> dict[str, str]:
    """How `to_fields` writes each field; it has one line `key = …` for each."""
    _, _, encoding = source.partition("def to_fields(")
    encoding = encoding.partition("def from_fields(")[0]
    return dict(_codec_of(encoding))


def _codec_of(encoding: str) -> Iterator[tuple[str, str]]:
    parts = _KEY.split(encoding)[1:]
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if found := _CODEC.search(text):
            yield name, found[1]
