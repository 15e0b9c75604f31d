"""Names in Rust: which wire keys, classes and enum members it takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["field_name", "is_class_name", "variant_names"]

_NAME: Final = re.compile(r"(r#)?([A-Za-z][A-Za-z0-9_]*)")
_KEYWORDS: Final = frozenset(
    (
        *("as", "async", "await", "break", "const", "continue", "crate"),
        *("dyn", "else", "enum", "extern", "false", "fn", "for"),
        *("gen", "if", "impl", "in", "let", "loop", "match"),
        *("mod", "move", "mut", "pub", "ref", "return", "self"),
        *("static", "struct", "super", "trait", "true", "type", "unsafe"),
        *("use", "where", "while", "abstract", "become", "box", "do"),
        *("final", "macro", "override", "priv", "try", "typeof", "unsized"),
        *("virtual", "yield", "Self"),
    )
)
# No `r#` makes names of these.
_NEVER: Final = frozenset(["crate", "self", "super", "Self"])
# What the derive writes into the module without a path.
_DERIVE: Final = frozenset(["From", "Option", "Result", "String", "TryFrom", "Vec"])


def field_name(key: str) -> tuple[str, str]:
    """The name of the field that is written under a wire key.

    Returns:
        The name, and advice where there can be none.
    """
    found = _NAME.fullmatch(key)
    if found is None or found[2] in _NEVER:
        return key, "the derive has no rename; choose a `key` that is a Rust name"
    if found[1] is None and key in _KEYWORDS:
        return key, f'write `key = "r#{key}"`, which is what the derive writes'
    return key, ""


def is_class_name(name: str) -> bool:
    """Whether a struct or enum may have the name."""
    return name not in _KEYWORDS and name not in _DERIVE


def variant_names(members: Sequence[str]) -> list[str]:
    """`FIRST_CLASS` as `FirstClass`; as they are where two would meet in one name."""
    names = ["".join(map(str.capitalize, member.split("_"))) for member in members]
    fine = len({*names}) == len(names) and not _KEYWORDS & {*names}
    return names if fine else [*members]
