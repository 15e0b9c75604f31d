"""The log follows an outage: its reasons, that it goes on, and its end."""

from __future__ import annotations

import logging

import pytest

from flowd.broker.outage import Outage
from flowd.errors import Unreachable
from flowd.model.event import EventBus

REFUSED = Unreachable("connection refused")
EXPIRED = Unreachable("the certificate has expired")


def test_an_outage_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    """A new reason is logged once it lasts, and any once a minute."""
    now = 100.0
    outage = Outage("redis://h", EventBus(), clock=lambda: now)
    reported: list[tuple[float, Unreachable]] = []
    caplog.set_level(logging.INFO, "flowd")

    def fail(at: float, error: Unreachable) -> None:
        nonlocal now
        now = at
        caplog.clear()
        outage.report_failure("reading", "emails", error)
        if caplog.records:
            assert str(error) in caplog.text
            reported.append((at, error))

    for at in (100.0, 100.5, 102.0):
        fail(at, REFUSED)
    for at in (103.0, 103.5):
        fail(at, EXPIRED)
    for at in (105.0, 162.5, 163.0, 164.0):
        fail(at, REFUSED)
    fail(165.0, EXPIRED)
    assert reported == [(100, REFUSED), (103, EXPIRED), (163, REFUSED), (165, EXPIRED)]

    caplog.clear()
    outage.report_recovery("reading", "emails")
    assert "answers again after 65.0 s" in caplog.text
    fail(165.1, EXPIRED)
    assert reported[-1] == (165.1, EXPIRED)


def test_the_reason_that_comes_with_the_loss_is_not_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One loop sees the lost connection, the next that none can be made."""
    now = 100.0
    outage = Outage("redis://h", EventBus(), clock=lambda: now)
    outage.report_failure("reading", "emails", EXPIRED)
    outage.report_failure("settling", "emails", REFUSED)
    assert len(caplog.records) == 1
    assert outage.reason("emails") == f"reading fails: {EXPIRED}"
