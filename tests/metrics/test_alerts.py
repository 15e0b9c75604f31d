"""The alert rules are valid, and of the metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

import pytest
import yaml

from flowd.metrics.table import COUNTERS, GAUGES, HISTOGRAMS, INFO, SERVER_UP, Metric
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


METRICS: Final = {
    each.name: each for each in (*COUNTERS, *HISTOGRAMS, *GAUGES, INFO, SERVER_UP)
}
_PARTS: Final = re.compile(r"_(?:count|sum|bucket)$")


def metric_of(name: str) -> Metric:
    """The metric that a series belongs to; a histogram has three kinds of them."""
    metric = METRICS[name if name in METRICS else _PARTS.sub("", name)]
    assert (name == metric.name) == (metric.kind != "histogram"), name
    return metric


def check_expression(expr: str) -> None:
    """It names series that there are, by labels that they have, and counters by rate."""
    found = re.findall(r"flowd_\w+", expr)
    assert found, expr
    labels: set[str] = set()
    for name in found:
        metric = metric_of(name)
        labels |= {*metric.labels, *(["le"] if metric.kind == "histogram" else [])}
        if metric.kind != "gauge":
            assert re.search(rf"(increase|rate)\({name}(\{{[^}}]*\}})?\[", expr), expr
        for chosen in re.findall(rf"{name}\{{([^}}]*)\}}", expr):
            used = set(re.findall(r"(\w+)=", chosen))
            assert used <= {*metric.labels, "le"}, expr
    for by in re.findall(r"by \(([\w, ]+)\)", expr):
        assert set(by.split(", ")) <= labels, expr
    for opening, closing in ("()", "[]", "{}"):
        assert expr.count(opening) == expr.count(closing), expr


@ids
def test_rule_is_of_metrics_that_there_are(rule: Mapping[str, object]) -> None:
    """It names one at least, groups by labels that it has, and its brackets are closed."""
    check_expression(str(rule["expr"]))


def test_dashboard_is_of_metrics_that_there_are() -> None:
    """Each panel has a title of its own, and every legend names labels that it keeps."""
    board = json.loads((ROOT / "docs/grafana.json").read_text("utf-8"))
    panels = board["panels"]
    titles = [each["title"] for each in panels]
    assert len(set(titles)) == len(titles) > 10
    assert len({each["id"] for each in panels}) == len(panels)
    places = {(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels}
    assert len(places) == len(panels)
    for target in (each for panel in panels for each in panel["targets"]):
        check_expression(target["expr"])
        kept = set(
            re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]+)", target["expr"])))
        )
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept
    variables = {each["name"] for each in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) <= variables


@ids
def test_summary_names_labels_that_the_rule_keeps(rule: Mapping[str, object]) -> None:
    """What is grouped away would be shown as nothing."""
    by = re.findall(r"by \(([^)]+)\)", str(rule["expr"]))
    kept = set(re.findall(r"\w+", " ".join(by)))
    wanted = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert wanted <= (kept or {"instance", "job"})
