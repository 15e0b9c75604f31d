"""The alert rules are of the metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from flowd.metrics.alerts import ALERTS, Alert, rules
from flowd.metrics.table import COUNTERS, DURATION, GAUGES
from tests.house.sources import ROOT


def test_the_file_is_current() -> None:
    """`docs/alerts.yml` is what `python -m flowd.metrics` prints."""
    command = [sys.executable, "-m", "flowd.metrics"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == rules()
    assert (ROOT / "docs/alerts.yml").read_text(
        "utf-8"
    ) == rules(), "make alerts writes it anew"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_rule_is_of_metrics_that_there_are(alert: Alert) -> None:
    """It names one at least, groups by labels that it has, and its brackets are closed."""
    named = {each.name: each for each in (*COUNTERS, DURATION, *GAUGES)}
    found = re.findall(r"flowd_\w+", alert.expr)
    assert found
    for name in found:
        metric = named[name.removesuffix("_count")]
        assert (name == metric.name) == (metric.kind != "histogram")
        if metric.kind == "counter":
            assert re.search(rf"(increase|rate)\({name}\[", alert.expr)
        for by in re.findall(r"by \(([\w, ]+)\)", alert.expr):
            assert set(by.split(", ")) <= set(metric.labels)
    assert alert.expr.count("(") == alert.expr.count(")")
    assert re.fullmatch(r"\d+[mh]", alert.hold)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_summary_names_labels_that_the_rule_keeps(alert: Alert) -> None:
    """What is grouped away would be shown as nothing."""
    kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]+)\)", alert.expr))))
    wanted = set(re.findall(r"\$labels\.(\w+)", alert.summary))
    assert wanted <= (kept or {"instance", "job"})


def test_the_file_is_yaml() -> None:
    """Every line is a key and a plain word or a JSON string, which YAML takes as it is."""
    for line in rules().splitlines()[4:]:
        _, colon, value = line.strip().removeprefix("- ").partition(":")
        assert colon
        if value.startswith(' "'):
            assert isinstance(json.loads(value), str)
        else:
            assert re.fullmatch(r"( \w+)?", value)
