"""Alert rules and dashboard: every metric, label and value in them is one that is shown."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from orthanc_gcp.worker.samples import OF_ORTHANC, OF_WORKER, PROBLEMS, RESULTS, STATES

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "monitoring"
RULES = yaml.safe_load((MONITORING / "orthanc-gcp.rules.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "orthanc-gcp.dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
METRICS = {one.name for one in (*OF_ORTHANC, *OF_WORKER)}
VALUES = {"state": STATES, "result": RESULTS, "kind": PROBLEMS}
_SELECTOR = re.compile(r"\b(gcp_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')

EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in PANELS
        for target in panel["targets"]
    },
    **{
        f"variable {one['name']}": one["query"]["query"]
        for one in DASHBOARD["templating"]["list"]
        if one["type"] == "query"
    },
}


def labels_of(metric: str) -> set[str]:
    """Which labels the page on metrics gives it."""
    if metric.startswith("gcp_gateway_"):
        rows = {"gcp_gateway_requests_total": {"service", "status"}}
        rows["gcp_gateway_request_seconds_total"] = {"service"}
        return rows.get(metric, set()) | {"instance", "job"}
    own = set() if metric in ("gcp_worker_up", "gcp_backfill_studies") else {"account"}
    by_state = ("gcp_transfer_instances", "gcp_transfer_bytes", "gcp_retrievals")
    if metric in (*by_state, "gcp_backfill_studies"):
        own.add("state")
    if metric == "gcp_backfill_studies":
        own.add("index")
    if metric in ("gcp_quarantined_instances", "gcp_transfer_failed_requests_total"):
        own.add("reason")
    if metric in ("gcp_transfer_requests_total", "gcp_receive_messages_total"):
        own.add("result")
    if metric.startswith("gcp_receive_"):
        own.add("subscription")
    if metric in ("gcp_problems", "gcp_problem_instances"):
        own.add("kind")
    return own | {"instance", "job"}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_is_asked_for_is_shown(name):
    expression = EXPRESSIONS[name]
    found = _SELECTOR.findall(expression)
    assert found, expression
    for metric, matchers in found:
        assert metric in METRICS, f"{metric} is none of worker/samples.py"
        for label, how, value in _MATCHER.findall(matchers):
            assert label in labels_of(metric)
            if label in VALUES:
                wanted = value.split("|") if how.endswith("~") else [value]
                assert set(wanted) <= set(VALUES[label])
    for label in re.findall(r"by \(([^)]*)\)", expression):
        for metric, _ in found:
            assert set(label.split(", ")) <= labels_of(metric), f"{metric} has no {label}"
    assert expression.count("(") == expression.count(")")


def test_what_is_counted_is_asked_for_as_a_rate():
    for name, expression in EXPRESSIONS.items():
        for metric in re.findall(r"gcp_\w+_total", expression):
            rated = re.findall(rf"(?:rate|increase)\({metric}", expression)
            assert len(rated) == expression.count(metric), name


def test_every_metric_has_a_panel():
    shown = set(re.findall(r"gcp_\w+", " ".join(t["expr"] for p in PANELS for t in p["targets"])))
    missing = METRICS - shown
    assert not missing, (
        f"add a panel with {', '.join(sorted(missing))} to monitoring/orthanc-gcp.dashboard.json"
    )


def anchors(document: str) -> set[str]:
    """The headings of a page, as GitHub names them in addresses."""
    titles = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title).lower().replace(" ", "-") for title in titles}


def test_each_alert_says_what_to_do():
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    page = (ROOT / "docs" / "operations.md").read_text()
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description", "runbook"} <= set(rule["annotations"])
        document, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (ROOT / document).exists()
        assert not anchor or anchor in anchors(document), rule["annotations"]["runbook"]
        row = f"`{rule['alert']}`"
        assert row in page, f"add a row with {row} to docs/operations.md"
    listed = set(re.findall(r"^\| `(OrthancGcp\w+)`", page, re.MULTILINE))
    assert listed == set(names)


def test_each_alert_is_tried():
    """By promtool, in ``compat/test_monitoring.py``: one that comes, and none where all is well."""
    text = (MONITORING / "orthanc-gcp.rules.test.yml").read_text()
    for rule in RULES:
        assert f"alertname: {rule['alert']}}}" in text, (
            f"add {rule['alert']} to monitoring/orthanc-gcp.rules.test.yml"
        )


def test_the_dashboard_is_one_that_grafana_takes():
    """By Grafana's page "Dashboard JSON model"; ``compat/test_monitoring.py`` asks its own SDK."""
    needed = {"uid", "title", "schemaVersion", "version", "time", "templating", "annotations"}
    assert needed <= set(DASHBOARD)
    assert "id" not in DASHBOARD  # Grafana gives it
    identifiers = [panel["id"] for panel in PANELS]
    assert len(set(identifiers)) == len(identifiers)
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) == variables
    for panel in PANELS:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["title"] and panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert [step["value"] is None for step in steps] == [True] + [False] * (len(steps) - 1)


def test_panels_stand_side_by_side():
    places = [panel["gridPos"] for panel in PANELS]
    for place in places:
        assert place["w"] > 0 < place["h"] and 0 <= place["x"] <= 24 - place["w"]
    for one, other in combinations(places, 2):
        apart_in_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_in_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_in_x or apart_in_y


def test_prometheus_asks_what_there_is():
    asked = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert [(MONITORING / name).exists() for name in asked["rule_files"]] == [True]
    orthanc, worker = asked["scrape_configs"]
    assert orthanc["metrics_path"] == "/tools/metrics-prometheus"
    assert "authorization" in worker
