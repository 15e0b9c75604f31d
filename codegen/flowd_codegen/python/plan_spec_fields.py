"""What `SPEC` says of the fields, for people and tools: types, choices and words.

A form or a table of fields needs no more than this. It is plain data of few words, so that the
import of a module stays as fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowd_codegen.model.canonical import type_text
from flowd_codegen.model.declared import Declared
from flowd_codegen.model.describe import with_deprecation
from flowd_codegen.model.kinds import EnumRef, OneOf, Optional, Scalar, base
from flowd_codegen.model.schema import Field, Job
from flowd_codegen.python.source import bracket, text_literal

__all__ = ["described"]


def described(job: Job, declared: Declared) -> Iterator[str]:
    """The arguments of `JobSpec` that describe the fields; those that are empty are left out.

    Args:
        job: or an older version of one.
        declared: the enums, whose texts are choices.
    """
    if job.fields:
        yield f"types={_texts([type_text(field.type) for field in job.fields])}"
    if optional := [field.key for field in job.fields if _is_optional(field)]:
        yield f"optional={_texts(optional)}"
    encodings = {field.key: _encoding(field) for field in job.fields}
    if given := {key: text_literal(text) for key, text in encodings.items() if text}:
        yield f"encodings={_mapping(given)}"
    choices = {field.key: _choices(field, declared) for field in job.fields}
    if found := {key: _texts(texts) for key, texts in choices.items() if texts}:
        yield f"choices={_mapping(found)}"
    if open_ := [field.key for field in job.fields if _is_open(field, declared)]:
        yield f"open={_texts(open_)}"
    docs = {
        field.key: with_deprecation(field.doc, field.deprecated) for field in job.fields
    }
    # Text of blanks alone is a doc as well, as it is below the field.
    if words := {
        key: text_literal(" ".join(doc.split())) for key, doc in docs.items() if doc
    }:
        yield f"docs={_mapping(words)}"


def _is_optional(field: Field) -> bool:
    return isinstance(field.type, Optional) or field.default is not None


def _encoding(field: Field) -> str:
    return "mapper" if field.mapper else field.encoding or ""


def _choices(field: Field, declared: Declared) -> tuple[str, ...]:
    """The texts that may be written; a mapper has texts of its own."""
    if field.mapper:
        return ()
    match base(field.type):
        case Scalar("bool"):
            return ("1", "0") if field.encoding == "01" else ("true", "false")
        case OneOf(values):
            return tuple(map(str, values))
        case EnumRef(name):
            enum = declared.enums[name]
            # What is unknown is only read.
            return tuple(
                text for member, text in enum.members if member != enum.unknown
            )
        case _:
            return ()


def _is_open(field: Field, declared: Declared) -> bool:
    match base(field.type):
        case EnumRef(name) if not field.mapper:
            return bool(declared.enums[name].unknown)
        case _:
            return False


def _texts(texts: list[str] | tuple[str, ...]) -> str:
    return bracket("(", tuple(map(text_literal, texts)))


def _mapping(values: Mapping[str, str]) -> str:
    return bracket(
        "{", [f"{text_literal(key)}: {code}" for key, code in values.items()]
    )
