"""Types that read what another one writes as it is: its text, or its JSON.

A `str` reads the text of a date and a `json` the list that was one. Not so where the text
alone does not say what it means: milliseconds, and bytes in one of their encodings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from flowd import wire
from flowd_codegen.model.kinds import (
    DictOf,
    EnumRef,
    ListOf,
    OneOf,
    RecordRef,
    Scalar,
    Type,
    UnionOf,
)
from flowd_codegen.model.limits import Limits
from flowd_codegen.model.number_text import number_texts

__all__ = ["every_text", "json_of", "texts_of"]

_TEXTS: Final[dict[str, tuple[str, ...]]] = {
    "uuid": ("2f1c4d5e-0000-4000-8000-000000000000",),
    "date": ("2026-01-31",),
    "datetime": ("2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00.000001-12:00"),
}
_FEW: Final = 32
_OPAQUE: Final = ("bytes", "duration")


def every_text(
    kind: Type, own: Sequence[str | int] | None, written: Limits, *, in_json: bool
) -> list[str] | None:
    """All texts that a type writes; None where they are not known, or are no strings.

    Args:
        kind: the type.
        own: the values of an enum or `one_of`.
        written: the limits of the type.
        in_json: inside JSON, where numbers and booleans are no strings.
    """
    if own is not None and (isinstance(own[0], str) or not in_json):
        return [str(one) for one in own]
    if kind == Scalar("bool") and not (in_json or written.encoding):
        return ["true", "false"]
    low, high = written.low, written.high
    is_finite = -math.inf < low and high < math.inf
    if written.number == "int" and not in_json and is_finite:
        values = range(int(low), int(high) + 1)
        return [*map(str, values)] if not values[_FEW:] else None
    return None


def texts_of(kind: Type, written: Limits, *, in_json: bool) -> list[wire.Json] | None:
    """The texts of a scalar that a `str` reads, the shortest and longest; else None."""
    if not isinstance(kind, Scalar) or written.encoding:
        return None
    if kind.name in _TEXTS:
        return [*_TEXTS[kind.name]]
    if not written.number or (in_json and written.number != "decimal"):
        # Inside JSON they are no strings.
        return None
    return [*number_texts(written)]


def json_of(kind: Type, written: Limits, *, in_json: bool) -> list[wire.Json] | None:
    """What a `json` may refuse of a type whose JSON it reads as it is; else None."""
    match kind:
        case ListOf() | DictOf() | RecordRef() | UnionOf():
            return []
        case EnumRef() | OneOf() if in_json or written.number:
            return []
        case Scalar(name) if in_json:
            return [] if name not in _OPAQUE and not written.encoding else None
        case Scalar("bool"):
            return [] if not written.encoding else None
        case Scalar() if written.number == "int":
            return []
        case _:
            return None
