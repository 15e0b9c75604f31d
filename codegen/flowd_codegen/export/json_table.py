"""What a TOML table is in JSON Schema: keys that are known, or names that are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from flowd.wire import Json
from flowd_codegen.model.naming import RESERVED_CLASSES

__all__ = [
    "EXTRA",
    "PRINTABLE",
    "Rules",
    "about",
    "named",
    "ref",
    "table",
    "tag",
    "text",
]

PRINTABLE: Final = (
    r"[^\x00-\x1F\x7F-\xA0\u2000-\u200F\u2028-\u202F\u205F-\u206F\uFEFF]+"
)
"""A text without controls, blanks but the space, and what turns its direction."""

EXTRA: Final = "^x-[a-z0-9-]+$"
"""Keys of the user's own."""

Rules: TypeAlias = Mapping[str, Json]
"""A JSON Schema, or a part of one."""


def table(
    description: str, keys: Iterable[str], rules: Mapping[str, Rules]
) -> dict[str, Json]:
    """A table that has these keys and no other."""
    return {
        "description": description,
        "type": "object",
        "properties": {key: {**rules[key]} for key in keys},
        "patternProperties": {EXTRA: {}},
        "additionalProperties": False,
    }


def named(description: str, pattern: str, value: Rules) -> dict[str, Json]:
    """A table whose keys are names that the schema chooses."""
    return {
        "description": description,
        "type": "object",
        "propertyNames": {
            "pattern": f"^{pattern}$",
            "not": {"enum": [*sorted(RESERVED_CLASSES)]},
        },
        "additionalProperties": {**value},
    }


def ref(name: str, description: str = "") -> dict[str, Json]:
    """What `$defs` has under a name."""
    target: Json = f"#/$defs/{name}"
    if not description:
        return {"$ref": target}
    # Editors for older drafts ignore a description next to `$ref`.
    return {"description": description, "allOf": [{"$ref": target}]}


def text(description: str) -> dict[str, Json]:
    """Any string."""
    return {"description": description, "type": "string"}


def about(kind: str) -> dict[str, Rules]:
    """What describes a declaration to its readers."""
    return {
        "doc": text(f"The docstring of the {kind}."),
        "deprecated": {
            "description": "`true` or a reason, for readers of the class.",
            "type": ["boolean", "string"],
        },
    }


def tag(description: str) -> dict[str, Json]:
    """A printable string: a tag, or the key of one."""
    return {**text(description), "pattern": f"^{PRINTABLE}$"}
