"""Queue tables by chance: the policies of a gate, schedules, and small changes of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, TypeAlias

from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.parse.table import Toml

__all__ = ["Form", "changed_queue", "fitted_queue", "queue", "schedules"]

Form: TypeAlias = dict[str, Toml]
"""A table of the language."""

_IN_KEYS: Final = ("str", "bool", "bytes", "uuid", "date", "duration", "int", *INTEGERS)
_LEVELS: Final = ("high", "normal", "low", "x", "y", "z")
_SPANS: Final = (("1s", "1000ms"), ("1500ms", "1s500ms"), ("1m", "60s"), ("2h", "120m"))
"""Each span in two spellings."""

_TIMES: Final = ("0 3 * * *", "*/5 * * * *", "0 0 1 jan *")
_ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York")


class _Fields:
    """The fields of a job that may be a key, a cost or a level."""

    def __init__(self, job: Form, values: list[Toml]) -> None:
        self.keys: list[str] = []
        self.costs: list[str] = []
        self.levels: dict[str, list[Toml]] = {}
        fields = job.get("fields")
        assert isinstance(fields, dict)
        for name, field in fields.items():
            assert isinstance(field, dict)
            kind, choices = str(field["type"]), field.get("one_of")
            if "default" in field or kind.endswith("?"):
                continue
            if kind in (*_IN_KEYS, "Kind") or field.get("encoding") == "unix_ms":
                self.keys.append(name)
            if kind in INTEGERS and kind[0] == "u" and not field.get("secret"):
                self.costs.append(name)
            levels = values if kind == "Kind" else choices
            if isinstance(levels, list) and 2 <= len(levels) <= 4 and "" not in levels:
                self.levels[name] = [*levels]


def _fields_of(form: Form) -> _Fields:
    job, kind = _at(form, "job", "Job"), _at(form, "enum", "Kind")
    values = kind["values"]
    texts = [*values] if isinstance(values, list) else [*_table(values).values()]
    names = [*texts] if isinstance(values, list) else [*_table(values)]
    unknown = kind.get("unknown")
    written = [
        text
        for name, text in zip(names, texts, strict=True)
        if unknown not in (name, str(name).upper().replace(" ", "_"))
    ]
    return _Fields(job, written)


def queue(rng: Random, form: Form) -> Form:
    """A queue table with some policies, for the job of a form."""
    fields, found = _fields_of(form), dict[str, Toml]()
    for name, policy in _POLICIES.items():
        if rng.random() < 0.35 and (options := policy(rng, fields)):
            found[name] = options
    if rng.random() < 0.3:
        found["expires_after"] = rng.choice(rng.choice(_SPANS))
    return found


def _unique(rng: Random, fields: _Fields) -> Toml:
    names = _some(rng, fields.keys, 1)
    if rng.random() < 0.3:
        return names
    again: Form = {"again": rng.choice(("drop", "last"))} if rng.random() < 0.7 else {}
    return {"fields": names, **again} if names else {}


def _concurrency(rng: Random, fields: _Fields) -> Toml:
    per: Form = {"per": _some(rng, fields.keys, 0)} if rng.random() < 0.7 else {}
    if rng.random() < 0.3:
        limit: Form = {"limit": 1} if rng.random() < 0.5 else {}
        return {**per, **limit, "ordered": True}
    ordered: Form = {"ordered": False} if rng.random() < 0.2 else {}
    return {**per, **ordered, "limit": rng.randint(1, 3)}


def _rate(rng: Random, fields: _Fields) -> Toml:
    found: Form = {"limit": rng.randint(1, 3), "every": rng.choice(rng.choice(_SPANS))}
    if rng.random() < 0.6:
        found["per"] = _some(rng, fields.keys, 0)
    if rng.random() < 0.5:
        found["burst"] = rng.randint(1, 2)
    if fields.costs and rng.random() < 0.5:
        found["cost"] = rng.choice(fields.costs)
    return found


def _fair(rng: Random, fields: _Fields) -> Toml:
    return _some(rng, fields.keys, 1)


def _debounce(rng: Random, fields: _Fields) -> Toml:
    names = _some(rng, fields.keys, 1)
    longest: Form = {"longest": rng.choice(_SPANS[3])} if rng.random() < 0.5 else {}
    wait = rng.choice(rng.choice(_SPANS))
    return {"fields": names, "wait": wait, **longest} if names else {}


def _priority(rng: Random, fields: _Fields) -> Toml:
    if fields.levels and rng.random() < 0.6:
        name = rng.choice([*fields.levels])
        levels = fields.levels[name]
        return {"field": name, "order": [*rng.sample(levels, len(levels))]}
    if rng.random() < 0.2:
        return {"order": ["high", "normal", "low"]}
    return {"order": [*rng.sample(_LEVELS, rng.randint(2, 4))]}


_POLICIES: Final[dict[str, Callable[[Random, _Fields], Toml]]] = {
    "unique": _unique,
    "concurrency": _concurrency,
    "rate": _rate,
    "fair": _fair,
    "debounce": _debounce,
    "priority": _priority,
}


def _some(rng: Random, names: list[str], least: int) -> list[Toml]:
    least = min(least, len(names))
    return [*rng.sample(names, rng.randint(least, min(2, len(names))))]


def schedules(rng: Random) -> Form:
    """None to two schedules of a job with the field `n`, which has a default."""
    return {
        name: _schedule(rng)
        for name in rng.sample(("often", "nightly"), rng.randint(0, 2))
    }


def _schedule(rng: Random) -> Form:
    found: Form = (
        {"at": rng.choice(_TIMES)}
        if rng.random() < 0.5
        else {"every": rng.choice(rng.choice(_SPANS))}
    )
    if rng.random() < 0.5:
        found["tz"] = rng.choice(_ZONES)
    if rng.random() < 0.5:
        found["missed"] = rng.choice(("skip", "once", "all"))
    if rng.random() < 0.5:
        found["overlap"] = rng.choice(("allow", "skip"))
    if rng.random() < 0.7:
        found["with"] = {"n": rng.randint(0, 2)}
    return found


def changed_queue(rng: Random, form: Form) -> None:
    """Change one policy: its options, its key or its spelling; or add or drop it."""
    table, fields = _at(form, "job", "Job", "queue"), _fields_of(form)
    name = rng.choice([*_POLICIES, "expires_after"])
    if name == "expires_after" or (name in table and rng.random() < 0.2):
        if table.pop(name, None) is None or rng.random() < 0.5:
            table["expires_after"] = rng.choice(rng.choice(_SPANS))
    elif name in table and rng.random() < 0.3:
        table[name] = _spelt_otherwise(table[name], name)
    elif options := _POLICIES[name](rng, fields):
        old = table.get(name)
        if isinstance(old, dict) and isinstance(options, dict) and rng.random() < 0.6:
            # One option, so that the others are as they were.
            option = rng.choice([*options])
            options = {**old, option: options[option]}
        table[name] = options


def _spelt_otherwise(options: Toml, name: str) -> Toml:
    """The same policy in other words: what is the default, and other spans of time."""
    if isinstance(options, list):
        return {"fields": options} if name == "unique" else options
    spans = {one: other for pair in _SPANS for one, other in (pair, pair[::-1])}
    defaults: dict[str, Form] = {
        "unique": {"again": "drop"},
        "concurrency": {"per": [], "ordered": False},
        "rate": {"per": [], "burst": 1},
    }
    spelt = {
        option: spans.get(str(value), value)
        for option, value in _table(options).items()
    }
    return {**defaults.get(name, {}), **spelt}


def fitted_queue(rng: Random, form: Form) -> None:
    """Let policies name fields that there are, where a change took those that they named."""
    table, fields = _at(form, "job", "Job", "queue"), _fields_of(form)
    for name in [*_POLICIES]:
        options = table.get(name)
        if options is None or _names_of(options) <= {*fields.keys, *fields.costs}:
            if name != "priority":
                continue
            level = _table(options).get("field") if options else None
            if level is None or str(level) in fields.levels:
                continue
        del table[name]
        if other := _POLICIES[name](rng, fields):
            table[name] = other


def _names_of(options: Toml) -> set[str]:
    """The fields that a policy names."""
    if not isinstance(options, dict):
        return {*map(str, options)} if isinstance(options, list) else set()
    found: set[str] = set()
    for option in ("fields", "per"):
        names = options.get(option, [])
        found |= {*map(str, names)} if isinstance(names, list) else set()
    return found | ({str(options["cost"])} if "cost" in options else set())


def _table(value: Toml) -> Form:
    assert isinstance(value, dict)
    return value


def _at(form: Form, *path: str) -> Form:
    found = form
    for key in path:
        found = _table(found.setdefault(key, {}))
    return found
