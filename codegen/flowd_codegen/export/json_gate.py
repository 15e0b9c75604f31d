"""The policies of a queue as a JSON Schema."""

from __future__ import annotations

from typing import Final

from flowd.wire import Json
from flowd_codegen.export.json_table import Rules, ref, table
from flowd_codegen.parse.gate import AGAIN, GATE_OPTIONS, MOST_LEVELS, POLICY_OPTIONS

__all__ = ["policies"]

_LIMIT: Final[Rules] = {
    "description": "How many.",
    "type": "integer",
    "minimum": 1,
    "maximum": 1_000_000_000,
}


def policies() -> dict[str, Rules]:
    """Each policy that a queue may have, by its key."""
    return {name: _RULES[name] for name in GATE_OPTIONS}


def _names(description: str, least: int = 1) -> dict[str, Json]:
    return {
        "description": description,
        "type": "array",
        "items": {"type": "string"},
        "minItems": least,
        "uniqueItems": True,
    }


def _policy(
    name: str, about: str, required: list[str], rules: dict[str, Rules]
) -> dict[str, Json]:
    needed: list[Json] = [*required]
    return {**table(about, POLICY_OPTIONS[name], rules), "required": needed}


_PER: Final = _names("The fields that make a key; without them, the whole queue.", 0)

_RULES: Final[dict[str, Rules]] = {
    "unique": {
        "description": "One job of a key at a time, from its enqueue to its end.",
        "anyOf": [
            _names("The fields that make the key."),
            _policy(
                "unique",
                "The key, and what becomes of another job.",
                ["fields"],
                {
                    "fields": _names("The fields that make the key."),
                    "again": {
                        "description": "Drop another job, or run the last one afterwards.",
                        "enum": [*AGAIN],
                        "default": "drop",
                    },
                },
            ),
        ],
    },
    "concurrency": {
        **_policy(
            "concurrency",
            "So many jobs of a key run at once, in all workers together.",
            [],
            {
                "per": _PER,
                "limit": _LIMIT,
                "ordered": {
                    "description": "One after the other in the order of enqueue.",
                    "type": "boolean",
                    "default": False,
                },
            },
        ),
        "anyOf": [
            {"required": ["limit"]},
            {"required": ["ordered"], "properties": {"ordered": {"const": True}}},
        ],
    },
    "rate": _policy(
        "rate",
        "So many jobs of a key start in a time.",
        ["limit", "every"],
        {
            "per": _PER,
            "limit": _LIMIT,
            "every": ref("duration", "The time."),
            "burst": {**_LIMIT, "description": "How many may start at once."},
            "cost": {
                "description": "An integer field: for how many a job counts.",
                "type": "string",
            },
        },
    ),
    "fair": _names("Jobs of different keys take turns; the fields that make the key."),
    "debounce": _policy(
        "debounce",
        "A job waits until no other one of its key has come for a while.",
        ["fields", "wait"],
        {
            "fields": _names("The fields that make the key."),
            "wait": ref("duration", "How long after the last one."),
            "longest": ref("duration", "How long after the first one, at most."),
        },
    ),
    "priority": {
        "dependentRequired": {"field": ["order"]},
        **_policy(
            "priority",
            "Jobs of a higher level go first.",
            [],
            {
                "field": {
                    "description": "Of an enum or `one_of`; without it, the level is given"
                    " at the call.",
                    "type": "string",
                },
                "order": {
                    "description": "The levels, the highest first.",
                    "type": "array",
                    "items": {"type": ["string", "integer"]},
                    "minItems": 2,
                    "maxItems": MOST_LEVELS,
                    "uniqueItems": True,
                },
            },
        ),
    },
}
