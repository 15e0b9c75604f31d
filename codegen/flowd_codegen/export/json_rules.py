"""What the type of a field says about its other options, as rules of JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from flowd.wire import Json
from flowd_codegen.model.bounds import LENGTHS, RANGE, RANGED, TIMES
from flowd_codegen.model.duration import DURATION
from flowd_codegen.model.scalars import INTEGERS

__all__ = ["encoding_rules", "field_rules"]

_CONTAINERS: Final = (r"list\s*\[.*", r"dict\s*\[.*")
_LISTS, _DICTS = _CONTAINERS
# Some validators lose the place of what plain `false` refuses.
_NOTHING: Final[dict[str, Json]] = {"not": {}}
_TEXT: Final[dict[str, Json]] = {"type": "string"}
_WHOLE: Final[dict[str, dict[str, Json]]] = {
    "int": {"type": "integer"},
    **{
        name: {"type": "integer", "minimum": low, "maximum": high}
        for name, (low, high) in INTEGERS.items()
    },
}
_CHOICES: Final = {"str": _TEXT, **_WHOLE}
# A date stands bare in TOML; an editor takes it for its text.
_DEFAULTS: Final[dict[str, Json]] = {
    **_CHOICES,
    "bytes": {**_TEXT, "pattern": "^[A-Za-z0-9+/]*={0,2}$"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "decimal": {"type": ["string", "integer"]},
    "uuid": {**_TEXT, "pattern": "^[0-9A-Fa-f-]{36}$"},
    "datetime": {**_TEXT, "pattern": "(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$"},
    "date": {**_TEXT, "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    "duration": {**_TEXT, "pattern": f"^{DURATION.pattern}$"},
    _LISTS: {"type": "array"},
    _DICTS: {"type": "object"},
}
_ENDS: Final[dict[str, Json]] = {
    **_WHOLE,
    "float": _DEFAULTS["float"],
    "decimal": {"type": ["string", "number"]},
    **{name: _DEFAULTS[name] for name in TIMES},
}
# What is no enum; whether another name is that of one is for flowd-gen.
_NO_LABEL: Final[tuple[Json, ...]] = (
    {"required": ["one_of"]},
    {"required": ["mapper"]},
    {"properties": {"secret": {"const": True}}, "required": ["secret"]},
    {
        "properties": {"type": {"pattern": r"^\s*[a-z]|[\[|:]"}},
        "required": ["type"],
    },
)
_EITHER: Final = (("min", "above"), ("max", "below"))


def field_rules() -> list[Json]:
    """Rules for the table of any field."""
    choices: Json = {"required": ["one_of"]}
    return [
        _rule(
            choices,
            _never(
                *RANGE,
                *LENGTHS,
                "pattern",
                "encoding",
                "tag",
                "places",
                "items",
                "values",
            ),
        ),
        _rule(_spelt(r"\?\s*$"), _never("default", "factory")),
        _rule(_spelt(":"), {"required": ["mapper"], **_never("default")}),
        *(_rule(one, _only({"label": {"const": False}})) for one in _NO_LABEL),
        _rule(_other_than(*RANGED), _never(*RANGE)),
        _rule(_other_than("decimal"), _never("places")),
        _rule(_other_than(_LISTS), _never("items")),
        _rule(_other_than(_DICTS), _never("values")),
        *(_rule({"required": [*pair]}, _never(pair[1])) for pair in _EITHER),
        _rule(_other_than("str", "bytes", *_CONTAINERS), _never(*LENGTHS)),
        _rule(_other_than("str"), _never("pattern")),
        _rule(_other_than(r"[^|]*\|.*"), _never("tag")),
        _rule(_other_than(*_CHOICES), _only({"one_of": {"items": _NOTHING}})),
        *_typed("default", _DEFAULTS),
        *(rule for end in RANGE for rule in _typed(end, _ENDS)),
        *_typed("one_of", {name: {"items": one} for name, one in _CHOICES.items()}),
    ]


def encoding_rules(encodings: Mapping[str, Iterable[str]]) -> list[Json]:
    """Rules for `encoding`.

    Args:
        encodings: those that a type may have, by its name.
    """
    texts: dict[str, Json] = {
        name: {"enum": [*known]} for name, known in encodings.items()
    }
    return [
        _rule(_other_than(*encodings), _never("encoding")),
        *_typed("encoding", texts),
    ]


def _rule(condition: Json, then: Json) -> Json:
    return {"if": condition, "then": then}


def _typed(option: str, by_type: Mapping[str, Json]) -> Iterator[Json]:
    """A rule for each type on what the option may be."""
    for name, value in by_type.items():
        yield _rule(_spelt(_whole(name)), _only({option: value}))


def _spelt(pattern: str) -> Json:
    return {"properties": {"type": {"pattern": pattern}}, "required": ["type"]}


def _other_than(*types: str) -> Json:
    other: Json = {"type": "string", "not": {"pattern": _whole(*types)}}
    return {"properties": {"type": other}, "required": ["type"]}


def _whole(*types: str) -> str:
    return rf"^\s*(?:{'|'.join(types)})\s*\??\s*$"


def _only(options: Mapping[str, Json]) -> dict[str, Json]:
    return {"properties": {**options}}


def _never(*options: str) -> dict[str, Json]:
    return _only(dict.fromkeys(options, _NOTHING))
