"""The alert rules are valid, and of the metrics that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

import pytest
import yaml

from flowd.metrics.table import COUNTERS, DURATION, GAUGES
from tests.house.sources import ROOT


def read_rules() -> Iterator[Mapping[str, object]]:
    """The rules of every group in `docs/alerts.yml`."""
    page = yaml.safe_load((ROOT / "docs/alerts.yml").read_text("utf-8"))
    assert [*page] == ["groups"]
    for group in page["groups"]:
        assert group.keys() == {"name", "rules"}
        yield from group["rules"]


RULES: Final = [*read_rules()]
ids = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def test_alerts_are_named_once() -> None:
    """There are rules, and no two have the same name."""
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) > 10


@ids
def test_rule_has_what_prometheus_and_people_need(rule: Mapping[str, object]) -> None:
    """A condition, how long it holds, how urgent it is, what it means and what to do."""
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Flowd[A-Z]\w+", str(rule["alert"]))
    assert re.fullmatch(r"\d+[mh]", str(rule["for"]))
    labels = cast("Mapping[str, str]", rule["labels"])
    assert labels in ({"severity": "page"}, {"severity": "ticket"})
    texts = cast("Mapping[str, str]", rule["annotations"])
    assert texts.keys() == {"summary", "description"}
    assert all(texts.values())


@ids
def test_rule_is_of_metrics_that_there_are(rule: Mapping[str, object]) -> None:
    """It names one at least, groups by labels that it has, and its brackets are closed."""
    named = {each.name: each for each in (*COUNTERS, DURATION, *GAUGES)}
    expr = str(rule["expr"])
    found = re.findall(r"flowd_\w+", expr)
    assert found
    for name in found:
        metric = named[name.removesuffix("_count")]
        assert (name == metric.name) == (metric.kind != "histogram")
        if metric.kind == "counter":
            assert re.search(rf"(increase|rate)\({name}\[", expr)
        for by in re.findall(r"by \(([\w, ]+)\)", expr):
            assert set(by.split(", ")) <= set(metric.labels)
    assert expr.count("(") == expr.count(")")


@ids
def test_summary_names_labels_that_the_rule_keeps(rule: Mapping[str, object]) -> None:
    """What is grouped away would be shown as nothing."""
    by = re.findall(r"by \(([^)]+)\)", str(rule["expr"]))
    kept = set(re.findall(r"\w+", " ".join(by)))
    wanted = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert wanted <= (kept or {"instance", "job"})
