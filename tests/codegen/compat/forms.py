"""Schemas by chance, as the tables that TOML would give, and small changes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import UTC, date, datetime
from random import Random
from typing import Final

from flowd_codegen.diagnostics.location import Source, SourceLocation
from flowd_codegen.diagnostics.report import Report, SchemaErrors
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.model.schema import Schema
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.parse.table import Table, Toml
from tests.codegen.compat.queues import (
    Form,
    changed_queue,
    fitted_queue,
    queue,
    schedules,
)

__all__ = ["Form", "changed", "form", "model"]

_NAMES: Final = ("a", "b", "c", "d", "e", "f", "g", "h")
_SHARED: Final = ("a", "s", "t")
_TEXTS: Final = ("x", "y", "z", "1", "")
_CHOICES: Final = (0, 1, 2, 300)
_VALUES: Final = ("x", "y", "z", "other one")
_PATTERNS: Final = ("[a-z]+", "[a-z0-9]*", "a*")
_SCALARS: Final = (
    *("str",) * 6,
    *("bytes", "bool", "float", "decimal", "uuid"),
    *("datetime", "date", "duration", "json", "int", *INTEGERS),
)
_ENCODINGS: Final = {
    "bool": ("text", "01"),
    "bytes": ("base64", "hex", "raw"),
    "datetime": ("rfc3339", "unix_ms"),
}
_NUMBERS: Final = ("int", "float", "decimal", *INTEGERS)


def model(form: Form) -> Schema | None:
    """The schema of a form; None when it breaks a rule of the language."""

    def load(source: Source, report: Report) -> Table:
        return Table(form, SourceLocation(source), report)

    try:
        return parse(Sources((Source("jobs.toml", "jobs.toml"),)), load=load)
    except SchemaErrors:
        return None


def form(rng: Random) -> Form:
    """A job, three records of which one may hold the others, a group, an enum, a clock."""
    found: Form = {
        "group": {"Shared": {"fields": _fields(rng, ("Kind", "Inner"), _SHARED)}},
        "enum": {"Kind": _enum(rng, 3)},
        "record": {
            "Inner": {"fields": _fields(rng, ("Kind",))},
            "Other": {"fields": _fields(rng, ("Kind",)), **_tag(rng)},
            "Outer": {"fields": _fields(rng, _IN_OUTER)},
        },
        "job": {
            "Job": {"fields": _fields(rng, _IN_JOB), **_included(rng)},
            "Clock": {"fields": {"n": _counter(rng)}, "cron": schedules(rng)},
        },
    }
    if rng.random() < 0.6:
        _table(_table(found, "job"), "Job")["queue"] = queue(rng, found)
    return found


def _counter(rng: Random) -> Form:
    """What a schedule gives: one text in two types and under two keys."""
    key: Form = {"key": "m"} if rng.random() < 0.2 else {}
    return {"type": rng.choice(("u8", "int")), "default": rng.randint(0, 1), **key}


_IN_OUTER: Final = ("Kind", "Inner", "Inner | Other")
_IN_JOB: Final = (
    *("Kind", "Inner", "Outer", "Inner | Other", "Other | Inner"),
    *("Inner | Other | Outer", "Outer | Inner"),
)
_TAGS: Final = ("Inner", "Other", "x")


def _tag(rng: Random) -> Form:
    return {"tag": rng.choice(_TAGS)} if rng.random() < 0.3 else {}


def _enum(rng: Random, most: int) -> Form:
    """An enum, which may read as one of its members what it does not know."""
    values = _members(rng, rng.randint(1, most))
    names = [str(one).upper().replace(" ", "_") for one in values]
    if len(names) > 1 and rng.random() < 0.4:
        return {"values": values, "unknown": rng.choice(names)}
    return {"values": values}


def _members(rng: Random, count: int) -> list[Toml] | Form:
    """Texts that name their members, or names that may have each other's text later."""
    texts: list[Toml] = [*rng.sample(_VALUES, count)]
    if rng.random() < 0.5:
        return texts
    return dict(zip(rng.sample(("ONE", "TWO", "X", "Y"), count), texts, strict=True))


def _included(rng: Random) -> Form:
    return {"include": ["Shared"]} if rng.random() < 0.3 else {}


def _fields(rng: Random, names: tuple[str, ...], own: tuple[str, ...] = _NAMES) -> Form:
    count = rng.randint(1, min(4, len(own)))
    return {name: _field(rng, names) for name in rng.sample(own, count)}


def _field(rng: Random, names: tuple[str, ...]) -> Form:
    if rng.random() < 0.15:
        field: Form = (
            {"type": "str", "one_of": [*rng.sample(_TEXTS, 2)]}
            if rng.random() < 0.5
            else {"type": "int", "one_of": [*rng.sample(_CHOICES, 2)]}
        )
    else:
        field = {"type": _type(rng, names)}
        _limit(rng, field)
    if rng.random() < 0.3:
        field["type"] = f"{field['type']}?"
    elif rng.random() < 0.4:
        _default(rng, field)
    elif rng.random() < 0.1:
        field["secret"] = True
    return field


def _type(rng: Random, names: tuple[str, ...], depth: int = 0) -> str:
    chance = rng.random()
    if chance < 0.35:
        return rng.choice(names)
    if chance < 0.55 and depth < 2:
        item = _type(rng, names, depth + 1) + rng.choice(("", "?"))
        return rng.choice((f"list[{item}]", f"dict[str, {item}]"))
    return rng.choice(_SCALARS)


_LIMITS: Final = (
    *("min", "max", "above", "below", "places", "min_len", "max_len"),
    *("pattern", "encoding", "items", "values"),
)
_ENDS: Final[dict[str, tuple[Toml, ...]]] = {
    **dict.fromkeys(("int", *INTEGERS), (0, 1, 2, 3, 100, 1000)),
    "float": (0, 0.5, 1, 2, 100),
    "decimal": (0, "0.1", 0.5, "1.500", 2, "100.001"),
    "duration": ("0s", "1s", "1500ms", "2s"),
    "date": (date(2020, 1, 1), date(2026, 1, 31), "2026-02-01"),
    "datetime": (
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        "2026-01-31T12:00:00.001+00:00",
    ),
}


def _ends(rng: Random, options: Form, known: Sequence[Toml]) -> None:
    """One end, or both; each may be outside itself."""
    low, high = sorted(rng.choices(range(len(known)), k=2))
    if rng.random() < 0.7:
        options[rng.choice(("min", "above"))] = known[low]
    if rng.random() < 0.7:
        options[rng.choice(("max", "below"))] = known[high]


def _limit_items(rng: Random, options: Form, kind: str) -> None:
    """What the items of a list or dict keep to, now and then."""
    key, start = ("items", "list[") if kind[:1] == "l" else ("values", "dict[str, ")
    inner = kind.removeprefix(start).removesuffix("]").removesuffix("?")
    if inner == kind or rng.random() < 0.4:
        return
    if inner == "str" and rng.random() < 0.3:
        options[key] = {"one_of": [*rng.sample(_TEXTS, rng.randint(1, 3))]}
        return
    if inner in ("int", *INTEGERS) and rng.random() < 0.3:
        options[key] = {"one_of": [*rng.sample(_CHOICES, rng.randint(1, 3))]}
        return
    item: Form = {"type": inner}
    _limit(rng, item)
    for option in ("type", "encoding"):
        item.pop(option, None)
    if item:
        options[key] = item


def _limit(rng: Random, field: Form) -> None:
    """Add, change or drop limits and encoding; some that do not fit are refused."""
    kind = str(field["type"]).removesuffix("?")
    for option in _LIMITS:
        field.pop(option, None)
    _limit_items(rng, field, kind)
    if rng.random() < 0.4:
        return
    if kind in _ENDS and (kind not in _ENCODINGS or rng.random() < 0.5):
        _ends(rng, field, _ENDS[kind])
        if kind == "decimal" and rng.random() < 0.5:
            field["places"] = rng.choice((0, 1, 2))
    elif kind in _ENCODINGS and rng.random() < 0.5:
        field["encoding"] = rng.choice(_ENCODINGS[kind])
    elif kind in ("str", "bytes") or "[" in kind:
        field |= rng.choice(({"min_len": 1}, {"max_len": 2}, {"max_len": 3}))
        if kind == "str" and rng.random() < 0.6:
            field["pattern"] = rng.choice(_PATTERNS)


def _default(rng: Random, field: Form) -> None:
    kind = str(field["type"])
    field.pop("default", None)
    values: dict[str, tuple[Toml, ...]] = {
        "str": ("", "x", "aa"),
        "bool": (True, False),
        "float": (1, 2.5),
        "decimal": ("1.5", 2),
        "duration": ("10s",),
        "json": ({"x": [1]}, 1),
        "Kind": _VALUES,
        **dict.fromkeys(("int", *INTEGERS), (0, 1, 2, 100)),
    }
    if kind.startswith("list["):
        field["default"] = []
    elif kind.startswith("dict["):
        field["default"] = {}
    elif kind in values:
        field["default"] = rng.choice(values[kind])


def changed(old: Form, rng: Random) -> Form:
    """The form after one to three changes; it may break a rule of the language."""
    new = deepcopy(old)
    for _ in range(rng.randint(1, 3)):
        kind, name, names = rng.choice(_OWNERS)
        owner = _table(_table(new, "job" if kind == "queue" else kind), name)
        if name == "Clock":
            if rng.random() < 0.7:
                owner["cron"] = {**_table(owner, "cron"), **schedules(rng)}
            else:
                owner["fields"] = {"n": _counter(rng)}
        elif kind == "queue":
            changed_queue(rng, new)
        elif kind == "enum":
            owner |= {"unknown": "", **_enum(rng, 4)}
            if not owner["unknown"]:
                del owner["unknown"]
        else:
            rng.choice(_CHANGES)(rng, owner, names)
    if "queue" in _table(_table(new, "job"), "Job") and rng.random() < 0.8:
        fitted_queue(rng, new)
    return new


_OWNERS: Final = (
    ("job", "Job", _IN_JOB),
    ("job", "Job", _IN_JOB),
    ("record", "Outer", _IN_OUTER),
    ("record", "Inner", ("Kind",)),
    ("record", "Other", ("Kind",)),
    ("group", "Shared", ("Kind", "Inner")),
    ("enum", "Kind", ()),
    ("queue", "Job", ()),
    ("job", "Clock", ()),
)


def _table(form: Form, key: str) -> Form:
    inner = form.setdefault(key, {})
    assert isinstance(inner, dict)
    return inner


def _any(rng: Random, owner: Form) -> tuple[str, Form]:
    """The name and options of some field; new ones when there is none."""
    fields = _table(owner, "fields")
    name = rng.choice([*fields] or [*_NAMES])
    field = _table(fields, name)
    field.setdefault("type", "str")
    return name, field


def _add(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    field = _field(rng, names)
    if not str(field["type"]).endswith("?") and rng.random() < 0.6:
        _default(rng, field)
    _table(owner, "fields")[rng.choice(_NAMES)] = field


def _remove(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    name, field = _any(rng, owner)
    if rng.random() < 0.5:
        owner["reserved"] = [str(field.get("key", name))]
    del _table(owner, "fields")[name]


def _retype(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    _, field = _any(rng, owner)
    old = str(field["type"])
    mark = "?" if old.endswith("?") else ""
    kind = old.removesuffix("?")
    field.pop("one_of", None)
    near = [
        # What a float makes of a large integer is worth many tries.
        *(rng.choice(_NUMBERS), "float", "float") * (kind in _NUMBERS),
        _type(rng, names),
        f"list[{kind}]",
        kind.replace("]", "?]") if "?]" not in kind else kind.replace("?]", "]"),
        rng.choice(("str", "json", "Kind")),
        *("Inner | Other", "Other | Inner") * ("|" in kind),
    ]
    field["type"] = rng.choice(near) + mark
    if rng.random() < 0.7:
        field.pop("default", None)


def _limits(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    _, field = _any(rng, owner)
    _limit(rng, field)


def _choose(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    _, field = _any(rng, owner)
    texts = "one_of" in field and isinstance(_first(field["one_of"]), str)
    if texts or str(field["type"]).startswith("str"):
        field["one_of"] = [*rng.sample(_TEXTS, rng.randint(1, 4))]
    else:
        field["one_of"] = [*rng.sample(_CHOICES, rng.randint(1, 3))]


def _first(values: Toml) -> Toml:
    return values[0] if isinstance(values, list) else values


def _none(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    _, field = _any(rng, owner)
    kind = str(field["type"])
    field.pop("default", None)
    field["type"] = kind.removesuffix("?") if kind.endswith("?") else f"{kind}?"
    if rng.random() < 0.5:
        _default(rng, field)


def _defaults(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    _, field = _any(rng, owner)
    if "default" in field and rng.random() < 0.5:
        del field["default"]
    else:
        _default(rng, field)


def _rename(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    """Change the name, or the key, and keep the old one in one way or another."""
    name, field = _any(rng, owner)
    fields = _table(owner, "fields")
    key = str(field.get("key", name))
    other = rng.choice(_NAMES)
    match rng.randint(0, 3):
        case 0:
            del fields[name]
            fields[other] = {**field, "key": key}
        case 1:
            del fields[name]
            fields[other] = {**field, "aliases": [key]}
        case 2:
            field["key"] = other
        case _:
            field["aliases"] = [other]


def _retag(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    """Change what stands for a record in unions, or the key of a union."""
    _, field = _any(rng, owner)
    if "|" in str(field["type"]):
        field["tag"] = rng.choice(("type", "kind"))
    else:
        # A job has no tag, so this is none of the language then.
        owner["tag"] = rng.choice(_TAGS)


def _cross(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    """Let fields have each other's keys or names, or a new one have an old one's."""
    fields = _table(owner, "fields")
    name, field = _any(rng, owner)
    other = rng.choice([*fields])
    twin = _table(fields, other)
    keys = str(field.get("key", name)), str(twin.get("key", other))
    match rng.randint(0, 3):
        case 0:
            field["key"], twin["key"] = keys[1], keys[0]
        case 1:
            fields[name], fields[other] = twin, field
        case 2:
            # Both stay on the wire as they were, under each other's names.
            fields[name] = {**twin, "key": keys[1]}
            fields[other] = {**field, "key": keys[0]}
        case _:
            free = rng.choice(_NAMES)
            fields[free] = {**field, "key": keys[0]}
            field["key"] = f"{free}2"


def _include(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    """Include the group, or put its fields in its place."""
    if owner.pop("include", None) is None:
        owner["include"] = ["Shared"]


def _hide(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    """Make a field secret, or show it."""
    _, field = _any(rng, owner)
    if field.pop("secret", None) is None:
        field["secret"] = True


def _reorder(rng: Random, owner: Form, names: tuple[str, ...]) -> None:
    fields = _table(owner, "fields")
    names = tuple(rng.sample([*fields], len(fields)))
    owner["fields"] = {name: fields[name] for name in names}


_CHANGES: Final[tuple[Callable[[Random, Form, tuple[str, ...]], None], ...]] = (
    *(_add, _add, _remove, _retype, _limits, _choose),
    *(
        _none,
        _defaults,
        _rename,
        _rename,
        _reorder,
        _retag,
        _include,
        _cross,
        _cross,
        _hide,
    ),
)
