"""Random changes of the policies of a queue: none passes unseen, and a lock keeps all."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

import pytest

from flowd_codegen.compat.contract import Contract
from flowd_codegen.compat.diff import diff
from flowd_codegen.compat.lock import lock_text, read_lock
from flowd_codegen.model.schema import Schema
from flowd_codegen.parse.table import Toml
from tests.codegen.compat.forms import Form, model

_KEYS: Final = ("tenant", "url", "size", "level")
_SPANS: Final = ("1s", "1500ms", "1m", "1h")


def _form(rng: Random) -> Form:
    """A job with some policies, of which none is refused."""
    queue: Form = {}
    if rng.random() < 0.6:
        again = rng.choice(("drop", "last"))
        queue["unique"] = {"fields": _keys(rng, 1), "again": again}
    ordered = rng.random() < 0.3
    if rng.random() < 0.6:
        limit = 1 if ordered else rng.randint(1, 2)
        queue["concurrency"] = {
            "per": _keys(rng, 0),
            "limit": limit,
            "ordered": ordered,
        }
    if rng.random() < 0.6:
        queue["rate"] = {
            "per": _keys(rng, 0),
            "limit": rng.randint(1, 2),
            "every": rng.choice(_SPANS),
            "burst": rng.randint(1, 2),
            **({"cost": "size"} if rng.random() < 0.5 else {}),
        }
    if rng.random() < 0.5:
        queue["fair"] = [*_keys(rng, 1)]
    if rng.random() < 0.5:
        longest: Form = {"longest": "1h"} if rng.random() < 0.5 else {}
        queue["debounce"] = {
            "fields": _keys(rng, 1),
            "wait": rng.choice(_SPANS),
            **longest,
        }
    if not ordered and rng.random() < 0.5:
        order = rng.sample(("a", "b", "c"), 3)
        field: Form = {"field": "level"} if rng.random() < 0.5 else {}
        queue["priority"] = {"order": [*order], **field}
    secret = {"secret": True} if rng.random() < 0.2 else {}
    fields: Form = {
        "tenant": {"type": "u32"},
        "url": {"type": "str", **secret},
        "size": "u8",
        "level": {"one_of": ["a", "b", "c"]},
    }
    return {"job": {"Job": {"fields": fields, "queue": queue}}}


def _keys(rng: Random, least: int) -> list[Toml]:
    return [*rng.sample(_KEYS, rng.randint(least, 2))]


def _schema(rng: Random) -> Schema:
    schema = model(_form(rng))
    assert schema is not None
    return schema


@pytest.mark.parametrize("part", range(4))
def test_every_change_of_a_policy_is_a_finding(part: int) -> None:
    """There is one if, and only if, the gates or the texts of their keys differ."""
    rng = Random(part)
    before = Contract("old", _schema(rng))
    for _ in range(100):
        after = Contract("new", _schema(rng))
        old, new = before.jobs["Job"], after.jobs["Job"]
        found = [one for one in diff(before, after) if one.rule.startswith("GATE_")]
        secrets = [
            {field.key for field in job.fields if field.secret} & _in_keys(job.gate)
            for job in (old, new)
        ]
        differ = old.gate != new.gate or secrets[0] != secrets[1]
        assert bool(found) == differ, (old.gate, new.gate)
        for one in found:
            assert one.breaks.keys() <= {"queue", "source"}
        before = after


def _in_keys(gate: object) -> set[str]:
    """The wire names that are part of some key."""
    found: set[str] = set()
    for policy in ("unique", "concurrency", "rate", "fair", "debounce"):
        one = getattr(gate, policy, None)
        found |= {*getattr(one, "fields", ()), *getattr(one, "per", ())}
    return found


def test_a_lock_keeps_every_policy(tmp_path: Path) -> None:
    """What is read from it has the same gate, and gives the same lock."""
    rng = Random(0)
    for _ in range(100):
        schema = _schema(rng)
        path = tmp_path / "flowd.lock"
        path.write_text(lock_text(schema))
        again = read_lock(path)
        (job,) = schema.modules[0].jobs
        assert again.jobs["Job"].gate == job.gate
        assert lock_text(again.schema) == lock_text(schema)
