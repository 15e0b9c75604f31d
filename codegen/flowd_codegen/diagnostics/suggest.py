"""Suggestions for unknown words: misspellings, and terms of other tools."""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

__all__ = ["did_you_mean", "suggest", "translate_type"]

_MAX_LENGTH: Final = 100
_SYNONYM_CUTOFF: Final = 0.82

_KEYS: Final = {
    "alias": "aliases",
    "additional_properties": "values",
    "choices": "one_of",
    "claimafter": "claim_after",
    "codec": "encoding",
    "from": "deserialize",
    "to": "serialize",
    "dump": "serialize",
    "load": "deserialize",
    "encode": "serialize",
    "decode": "deserialize",
    "encoder": "serialize",
    "decoder": "deserialize",
    "comment": "doc",
    "consumer_group": "group",
    "decimal_places": "places",
    "default_factory": "factory",
    "delay": "base",
    "description": "doc",
    "enum": "one_of",
    "exclusive_max": "below",
    "exclusive_maximum": "below",
    "exclusive_min": "above",
    "exclusive_minimum": "above",
    "exclusivemaximum": "below",
    "exclusiveminimum": "above",
    "format": "encoding",
    "ge": "min",
    "gt": "above",
    "help": "doc",
    "item": "items",
    "le": "max",
    "lt": "below",
    "lease": "claim_after",
    "length": "max_len",
    "less_than": "below",
    "literal": "one_of",
    "greater_than": "above",
    "max_attempts": "max_retries",
    "max_delay": "max",
    "max_length": "max_len",
    "maxlength": "max_len",
    "max_items": "max_len",
    "maxitems": "max_len",
    "max_size": "max_len",
    "max_bytes": "max_len",
    "max_count": "max_len",
    "max_digits": "places",
    "maximum": "max",
    "min_idle": "claim_after",
    "min_idle_time": "claim_after",
    "min_length": "min_len",
    "minlength": "min_len",
    "min_items": "min_len",
    "minitems": "min_len",
    "min_size": "min_len",
    "min_bytes": "min_len",
    "min_count": "min_len",
    "max_value": "max",
    "min_value": "min",
    "minimum": "min",
    "name": "key",
    "oneof": "one_of",
    "private": "secret",
    "queue_name": "stream",
    "regex": "pattern",
    "rename": "key",
    "retries": "max_retries",
    "retry": "max_retries",
    "attempts": "max_retries",
    "max_tries": "max_retries",
    "zone": "tz",
    "time_zone": "tz",
    "timezone": "tz",
    "sensitive": "secret",
    "start": "starting_id",
    "start_id": "starting_id",
    "strategy": "kind",
    "time_limit": "timeout",
    "topic": "stream",
    "visibility_timeout": "claim_after",
    "wire": "key",
    "wire_key": "key",
}

_SCALARS: Final = {
    "any": "json",
    "binary": "bytes",
    "blob": "bytes",
    "boolean": "bool",
    "byte": "u8",
    "char": "str",
    "date_time": "datetime",
    "double": "float",
    "f32": "float",
    "f64": "float",
    "float32": "float",
    "float64": "float",
    "guid": "uuid",
    "i128": "int",
    "instant": "datetime",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "int8": "i8",
    "integer": "int",
    "interval": "duration",
    "isize": "i64",
    "long": "i64",
    "number": "float",
    "numeric": "decimal",
    "object": "json",
    "short": "i16",
    "string": "str",
    "text": "str",
    "timedelta": "duration",
    "timestamp": "datetime",
    "timestamptz": "datetime",
    "bigint": "i64",
    "bigserial": "i64",
    "bytea": "bytes",
    "jsonb": "json",
    "money": "decimal",
    "real": "float",
    "serial": "i32",
    "smallint": "i16",
    "sint32": "i32",
    "sint64": "i64",
    "fixed32": "u32",
    "fixed64": "u64",
    "tinyint": "i8",
    "u128": "int",
    "uint": "u64",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
    "uint8": "u8",
    "usize": "u64",
    "value": "json",
    "varchar": "str",
}


_CONTAINERS: Final = {
    "array": "list",
    "dictionary": "dict",
    "frozenset": "list",
    "hashmap": "dict",
    "list": "list",
    "map": "dict",
    "mapping": "dict",
    "record": "dict",
    "sequence": "list",
    "set": "list",
    "tuple": "list",
    "vec": "list",
    "dict": "dict",
}

_NO_PARENTHESES: Final = str.maketrans("", "", "()")

_WORD: Final = re.compile(r"(?<![\w.:])([A-Za-z][\w-]*)(?![\w.:-])(\s*\[)?")
_OPTIONAL: Final = re.compile(r"(?:typing\.)?Option(?:al)?\[([^\[\]]+)\]")
_OPTIONAL_WHOLE: Final = re.compile(r"(?:typing\.)?Option(?:al)?\[(.+)\]")
_UNION: Final = re.compile(r"(?:typing\.)?Union\[([^\[\]]+)\]")
_OR_NONE: Final = re.compile(r"(?:\s*\||\s+or)\s*(?:None|null)$")
_NONE_OR: Final = re.compile(r"^(?:None|null)\s*\|\s*(.+)$")
_LABELLED: Final = re.compile(
    r"^(repeated|optional|required|maybe|nullable|(?:list|array|set|vector) of)\s+(\w+)$",
    re.IGNORECASE,
)
_IN_OTHER: Final = re.compile(
    r"^(list|array|vec|set|sequence)\s*[({]([^(){}]+)[)}]$", re.IGNORECASE
)
_QUESTION: Final = re.compile(r"^\?(\w[\w\[\], ]*)$")
_ITEMS: Final = re.compile(r"^\[([\w ]+)\]$")
_LISTED: Final = re.compile(r"^[A-Z]\w*(?:\s*(?:,|/|;|\|\||\bor\b)\s*[A-Z]\w*)+\??$")
_SEPARATOR: Final = re.compile(r"\s*(?:,|/|;|\|\||\bor\b)\s*")
_EVEN: Final = re.compile(r"\b[Tt]uple\[([^\[\],]+),\s*\.\.\.\]")
_SIZE: Final = re.compile(
    r"^((?:dec|decimal|numeric|number|int|integer|float|double))\s*\(\d+(?:\s*,\s*\d+)?\)$",
    re.IGNORECASE,
)
_UNSIGNED: Final = re.compile(
    r"^(?:(?:un)?signed (?:int(?:eger)?)|int(?:eger)? unsigned)$"
)
_ZONE: Final = re.compile(r"^timestamp with(?:out)? time zone$", re.IGNORECASE)
_MODULE: Final = re.compile(
    r"(?<![\w.:])(?:typing|datetime|uuid|decimal|builtins|collections\.abc|google\.protobuf|t|dt)\."
)
_ARRAY: Final = re.compile(r"([\w.:]+\??)\[\]")


def _labelled(match: re.Match[str]) -> str:
    """A field of protobuf: `repeated string`."""
    label, kind = match[1].lower(), match[2]
    if label in ("optional", "maybe", "nullable"):
        return f"{kind}?"
    return kind if label == "required" else f"list[{kind}]"


_FORMS: Final = (
    (_MODULE, ""),
    (_EVEN, r"list[\1]"),
    (_NONE_OR, r"\1?"),
    (_LABELLED, _labelled),
    (_IN_OTHER, r"list[\2]"),
    (_QUESTION, r"\1?"),
    (_ITEMS, r"list[\1]"),
    (_SIZE, r"\1"),
    (_UNSIGNED, "u32"),
    (_ZONE, "datetime"),
)
"""Forms of a type in other languages, and what is read instead."""


def suggest(word: str, known: Collection[str]) -> str | None:
    """The known key that was probably meant, by likeness or by another tool's name."""
    return _closest(word, known, _KEYS, cutoff=0.6)


def did_you_mean(word: str, known: Collection[str], otherwise: str = "") -> str:
    """The label of an unknown word: the known one that was probably meant, if any.

    Args:
        word: as written.
        known: the words there are.
        otherwise: the label where none of them was meant.
    """
    near = suggest(word, known)
    return f"did you mean `{near}`?" if near else otherwise


def translate_type(
    text: str, scalars: Collection[str], names: Collection[str]
) -> str | None:
    """A type of another language in flowd's spelling: `Optional[string]` is `str?`.

    The answer may still be no type; None when there was nothing to change.
    """
    if len(text) > _MAX_LENGTH:
        return None

    def word(match: re.Match[str]) -> str:
        found, bracket = match[1], match[2]
        if found in names or found in scalars:
            return match[0]
        if bracket:
            return f"{_CONTAINERS.get(found.lower(), found)}["
        return _scalar(found, scalars) or found

    spelling = text.strip().replace("<", "[").replace(">", "]")
    for pattern, other in _FORMS:
        spelling = pattern.sub(other, spelling)
    if _LISTED.match(spelling):
        spelling = _SEPARATOR.sub(" | ", spelling)
    spelling = _UNION.sub(lambda found: found[1].replace(",", " |"), spelling)
    spelling = spelling.translate(_NO_PARENTHESES)
    spelling = _OR_NONE.sub("?", spelling)
    spelling = _ARRAY.sub(r"list[\1]", spelling)
    if whole := _OPTIONAL_WHOLE.fullmatch(spelling):
        spelling = f"{whole[1]}?"
    spelling = _OPTIONAL.sub(r"\1?", spelling)
    spelling = _WORD.sub(word, spelling)
    return spelling if spelling != text else None


def _scalar(word: str, scalars: Collection[str]) -> str | None:
    # A capital means a name of the schema's own, and anything is like a short word.
    if word[0].isupper() or len(word) < 4:
        exact = _SCALARS.get(word.lower(), word.lower())
        return exact if exact in scalars else None
    return _closest(word, scalars, _SCALARS, cutoff=0.75)


def _closest(
    word: str, known: Collection[str], synonyms: dict[str, str], *, cutoff: float
) -> str | None:
    # A 1 MB key is not a typing mistake, and comparing it takes minutes.
    if len(word) > _MAX_LENGTH:
        return None
    plain = word.replace("-", "_").lower()
    own = {name.lower(): name for name in known}
    words = own | {other: name for other, name in synonyms.items() if name in own}
    if plain in words:
        return words[plain]
    # What is only like another tool's word is hardly meant.
    for some, least in ((own, cutoff), (words, max(cutoff, _SYNONYM_CUTOFF))):
        if near := get_close_matches(plain, some, n=1, cutoff=least):
            return words[near[0]]
    return None
