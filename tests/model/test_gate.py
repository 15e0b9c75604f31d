"""Policies of a queue, and the keys that they make of a job's fields."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowd import (
    Concurrency,
    Debounce,
    Fair,
    Gate,
    OptionError,
    Priority,
    Rate,
    Unique,
)
from flowd.model.gate import key_of

FIELDS = {b"customer": b"7", b"url": b"https://a.b/c?d=e f", b"tokens": b"12"}


def test_a_key_names_its_fields() -> None:
    """Values are separated from each other, whatever is in them."""
    assert key_of(("customer",), FIELDS) == "customer=7"
    assert key_of(("customer", "url"), FIELDS) == (
        "customer=7&url=https://a.b/c%3Fd%3De%20f"
    )
    assert key_of((), FIELDS) == "*"
    tricky = {b"a": b"1&b=2", b"b": b"#x\0\xff"}
    assert key_of(("a", "b"), tricky) == "a=1%26b%3D2&b=%23x%00%FF"


def test_long_and_secret_values_are_digests() -> None:
    """A key has a bounded size, and shows no secret."""
    long = key_of(("a",), {b"a": b"x" * 100_000})
    assert long.startswith("a=#")
    assert len(long) < 50
    secret = key_of(("a",), {b"a": b"hunter2"}, {"a"})
    assert "hunter2" not in secret
    assert secret != key_of(("a",), {b"a": b"hunter3"}, {"a"})


def test_a_ticket_has_every_key_of_a_job() -> None:
    """The ticket is one line of ASCII without a space inside a key."""
    gate = Gate(
        unique=Unique(fields=("url",)),
        concurrency=Concurrency(per=("customer",), limit=2),
        rate=Rate(limit=100, every=60.0, burst=10, cost="tokens"),
        fair=Fair(per=("customer",)),
        debounce=Debounce(fields=("customer",), wait=5.0, longest=60.0),
        priority=Priority(),
    )
    ticket = gate.ticket(FIELDS, priority="low").decode()
    assert ticket.split(" ") == [
        "c:customer=7",
        "r:*",
        "f:customer=7",
        "u:url=https://a.b/c%3Fd%3De%20f",
        "d:customer=7",
        "w:12",
        "p:2",
    ]
    assert gate.rules == "k=1 n=2 i=600000.000 b=10 q=100 s=1 p=3 d=5000 m=60000"


def test_a_key_that_stands_alone_has_one_lane() -> None:
    """Jobs of one key share a lane if no other policy tells them apart; the scripts know it."""
    fair = Fair(per=("customer",))
    limit = Concurrency(per=("customer",), limit=2)
    assert Gate(fair=fair).rules == "k=1 s=1 a=1"
    assert Gate(concurrency=limit).rules == "k=1 n=2 a=1"
    assert Gate(fair=fair, concurrency=limit).rules == "k=1 n=2 s=1"
    assert Gate(fair=fair, unique=Unique(fields=("url",))).rules == "k=1 s=1"
    assert Gate(priority=Priority()).rules == "k=1 s=1 p=3"


def test_a_level_comes_from_the_call_or_from_a_field() -> None:
    """A level that is given wins; without one the usual is taken."""
    called, field = Gate(priority=Priority()), Gate(
        priority=Priority(field="customer", order=("9", "7"))
    )
    assert called.ticket(FIELDS) == b"p:1"
    assert called.ticket(FIELDS, priority="high") == b"p:0"
    assert field.ticket(FIELDS) == b"p:1"
    assert field.ticket({b"customer": b"new"}) == b"p:1"
    with pytest.raises(OptionError, match="high, normal, low"):
        called.ticket(FIELDS, priority="urgent")
    with pytest.raises(OptionError, match="declares no priority"):
        Gate(unique=Unique(fields=("url",))).ticket(FIELDS, priority="high")


@pytest.mark.parametrize(
    "wrong",
    [
        Gate,
        lambda: Unique(fields=()),
        lambda: Unique(fields=("a", "a")),
        lambda: Unique(fields=("a",), again="first"),  # type: ignore[arg-type]
        lambda: Concurrency(limit=0),
        lambda: Concurrency(limit=1_000_000_001),
        lambda: Concurrency(limit=2, ordered=True),
        lambda: Concurrency(limit=2, per="customer"),  # type: ignore[arg-type]
        lambda: Rate(limit=0, every=1.0),
        lambda: Rate(limit=1, every=0.0),
        lambda: Rate(limit=1, every=1.0, burst=0),
        lambda: Fair(per=()),
        lambda: Debounce(fields=("a",), wait=0.0),
        lambda: Debounce(fields=("a",), wait=5.0, longest=1.0),
        lambda: Priority(order=("only",)),
        lambda: Priority(order=("a", "a")),
        lambda: Priority(order=("a", "b", "c", "d", "e")),
    ],
)
def test_a_policy_without_sense_is_refused(wrong: Callable[[], object]) -> None:
    """Each policy checks its own numbers and names."""
    with pytest.raises(OptionError):
        wrong()
