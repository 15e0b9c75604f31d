"""Fields, their types and their limits as a JSON Schema."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from typing import Final

from flowd.wire import Json
from flowd_codegen.export.json_rules import encoding_rules, field_rules
from flowd_codegen.export.json_table import Rules, about, ref, table, tag, text
from flowd_codegen.model.naming import CLASS_NAME, MODULE_PART
from flowd_codegen.parse.fields import FIELD_OPTIONS
from flowd_codegen.parse.items import ITEM_OPTIONS
from flowd_codegen.parse.types import SCALARS

__all__ = ["field", "field_type", "function", "items", "options"]

_PART: Final = (
    rf"(?!(?:{'|'.join(keyword.kwlist)})(?![A-Za-z0-9_])){MODULE_PART.pattern}"
)
_PATH: Final = rf"{_PART}(?:\.{_PART})*"
_LIST: Final = r"list\s*\["
_DICT: Final = r"dict\s*\[\s*str\s*,"
_OPENING: Final = rf"(?:(?:{_LIST}|{_DICT})\s*)"
_UNION: Final = rf"{CLASS_NAME.pattern}(?:\s*\|\s*{CLASS_NAME.pattern})*"
_CLOSING: Final = r"(?:\s*\]\s*\??)"
# Whether brackets close as often as they open is more than a pattern can say.
_TYPE: Final = (
    rf"\s*{_OPENING}*(?:{'|'.join(SCALARS)}|{_UNION}|{_PATH}:{_PATH})"
    rf"\s*\??{_CLOSING}*\s*"
)


def field(encodings: Mapping[str, Iterable[str]]) -> dict[str, Json]:
    """A field: only its type, or a table of options."""
    rules = encoding_rules(encodings)
    return {"anyOf": [ref("type"), {"allOf": [ref("options"), *rules]}]}


def field_type() -> dict[str, Json]:
    """The type of a field, as text."""
    known: list[Json] = [*SCALARS, *(f"{name}?" for name in SCALARS)]
    return {
        "description": "A built-in type, `list[…]`, `dict[str, …]`, the name of an enum"
        " or record, `Card | Sepa` for one of several records, or `module:Class`, which needs a mapper. `?` behind it: may be"
        " None, and is absent then.",
        "type": "string",
        "anyOf": [{"enum": known}, {"pattern": rf"^{_TYPE}$"}],
    }


def function() -> dict[str, Json]:
    """A function of the user's own, as text."""
    return {"type": "string", "pattern": rf"^{_PATH}:{_PATH}$"}


def options() -> dict[str, Json]:
    """A field with options."""
    return {
        **table("A field with options.", FIELD_OPTIONS, _options()),
        "anyOf": [{"required": ["type"]}, {"required": ["one_of"]}],
        "not": {"required": ["default", "factory"]},
        "allOf": field_rules(),
    }


def items() -> dict[str, Json]:
    """The limits of an item of a list, or of a value of a dict."""
    return table("What items keep to.", ITEM_OPTIONS, _limits())


def _options() -> dict[str, Rules]:
    return {
        **about("field"),
        **_limits(),
        "type": ref("type", "The field's type; may be omitted with `one_of`."),
        "tag": tag("The key that identifies the record in a union; `type` without it."),
        "default": {
            "description": "A value of the type, always written: changing it never"
            " changes jobs in the queue."
        },
        "factory": ref(
            "function", '`"module:function"`, called without arguments for a default.'
        ),
        "doc": text("The string under the attribute."),
        "key": ref("key", "The wire key, where it is not the field's name."),
        "aliases": {
            "description": "Older wire keys that are still read, in this order.",
            "type": "array",
            "items": ref("key"),
        },
        "mapper": {
            "description": "The name of a `[mapper.…]`, or a pair of functions.",
            "anyOf": [{"type": "string"}, ref("mapper")],
        },
        "encoding": text("Another text for `bool`, `bytes` or `datetime`."),
        "secret": {
            "description": "Keeps the value out of `repr`, logs, errors and terminals.",
            "type": "boolean",
        },
        "label": {
            "description": "Makes its value, of an enum, a label of the job's metrics.",
            "type": "boolean",
        },
    }


def _limits() -> dict[str, Rules]:
    """What a value of a field, or of an item, keeps to."""
    length: dict[str, Json] = {"type": "integer", "minimum": 0}
    end: dict[str, Json] = {"type": ["number", "string"]}
    return {
        "one_of": {
            "description": "The strings or integers that are allowed.",
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "anyOf": [
                {"items": {"type": "string"}},
                {"items": {"type": "integer"}},
            ],
        },
        "min": {"description": "The smallest value allowed.", **end},
        "max": {"description": "The largest value allowed.", **end},
        "above": {"description": "All values are larger than this.", **end},
        "below": {"description": "All values are smaller than this.", **end},
        "places": {
            "description": "Most digits of a decimal behind the point.",
            **length,
        },
        "min_len": {"description": "The fewest characters, bytes or items.", **length},
        "max_len": {"description": "The most characters, bytes or items.", **length},
        "pattern": text("A Python regular expression that matches the whole text."),
        "items": ref("items", "What each item of a list keeps to."),
        "values": ref("items", "What each value of a dict keeps to."),
    }
