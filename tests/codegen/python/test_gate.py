"""Generated classes make the tickets of their gate from the text that they write."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

import pytest

from flowd import OptionError
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import read
from tests.codegen.compat.classes import classes

_CASE: Final = Path(__file__).parents[1] / "cases/gate"


@pytest.fixture(scope="module")
def jobs() -> Iterator[Any]:
    """The module of jobs with every policy."""
    with classes(parse(read(_CASE))) as names:
        yield SimpleNamespace(**names)


def _ticket(job: Any, priority: str | None = None) -> list[str]:
    spec = job.SPEC
    ticket: bytes = spec.gate.ticket(job.to_fields(), spec.secrets, priority)
    return ticket.decode().split(" ")


def test_a_ticket_is_made_of_wire_names_and_texts(jobs: Any) -> None:
    """Keys have the names and texts of the entry; a secret value is a digest."""
    job = jobs.Crawl(
        url="https://a.example/x y",
        customer=7,
        host="secret.example",
        tokens=30,
        urgency=jobs.Urgency.LOW,
        seen=datetime(2026, 1, 31, tzinfo=UTC),
    )
    digest = sha256(b"secret.example").hexdigest()[:32]
    assert _ticket(job) == [
        "c:customer_id=7",
        f"r:host=#{digest}",
        "f:customer_id=7",
        "u:url=https://a.example/x%20y&customer_id=7",
        "w:30",
        "p:2",
    ]


def test_a_level_is_the_place_in_the_order(jobs: Any) -> None:
    """Of a field, or of the caller's word; without one it is the middle level."""
    assert [_ticket(jobs.Ship(step=step)) for step in (1, 2, 3)] == [
        ["p:1"],
        ["p:2"],
        ["p:0"],
    ]
    report = jobs.Report(id=1)
    assert _ticket(report)[-1] == "p:1"
    assert _ticket(report, "low")[-1] == "p:2"
    with pytest.raises(OptionError, match="must be one of high, normal, low"):
        _ticket(report, "urgent")


def test_a_policy_without_fields_has_one_key(jobs: Any) -> None:
    """The whole queue is limited together."""
    assert _ticket(jobs.Report(id=1))[:2] == ["c:*", "r:*"]


def test_rules_of_a_gate_are_those_of_the_schema(jobs: Any) -> None:
    """Durations are seconds; a job of one at a time has the limit 1."""
    gate = jobs.Sync.SPEC.gate
    document = UUID(int=1)
    assert _ticket(jobs.Sync(document=document, step=1))[0] == f"c:document={document}"
    assert (gate.concurrency.limit, gate.concurrency.ordered) == (1, True)
    assert (gate.debounce.wait, gate.debounce.longest) == (5.0, 60.0)
    assert gate.unique.again == "last"
    assert jobs.Crawl.SPEC.gate.rate.every == 60.0
