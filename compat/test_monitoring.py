"""Prometheus' own word on the alert rules, and Grafana's on the dashboard."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from compat.releases import PLACE, ROOT, run

MONITORING = ROOT / "monitoring"


# Grafana's types of its JSON, for Grafana 10.1.
SDK = "grafana-foundation-sdk==1769699998!10.1.0"
READ_AND_WRITE = """
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()
print(json.dumps(Dashboard.from_json(json.load(sys.stdin)), cls=JSONEncoder))
"""


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Debian's package, unpacked and not installed."""
    folder = PLACE / "prometheus"
    program = folder / "usr/bin/promtool"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run("apt-get", "update", "-qq")
        run("apt-get", "download", "-qq", "prometheus", cwd=folder)
        (package,) = folder.glob("prometheus_*.deb")
        run("dpkg", "-x", package, folder)
    return program


def test_the_rules_are_rules(promtool):
    assert "SUCCESS" in run(promtool, "check", "rules", MONITORING / "orthanc-gcp.rules.yml")


def test_the_configuration_is_one(promtool, tmp_path):
    """The files of passwords have to be there."""
    text = (MONITORING / "prometheus.yml").read_text().replace("/etc/prometheus", str(tmp_path))
    for name in ("orthanc-password", "orthanc-gcp-worker-secret"):
        (tmp_path / name).touch()
    (tmp_path / "orthanc-gcp.rules.yml").write_bytes(
        (MONITORING / "orthanc-gcp.rules.yml").read_bytes()
    )
    (tmp_path / "prometheus.yml").write_text(text)
    assert "SUCCESS" in run(promtool, "check", "config", tmp_path / "prometheus.yml")


def test_alerts_come_when_they_are_needed_and_only_then(promtool):
    tests = MONITORING / "orthanc-gcp.rules.test.yml"
    assert "SUCCESS" in run(promtool, "test", "rules", tests, cwd=MONITORING)


def test_grafana_knows_each_field_of_the_dashboard():
    """What it reads and writes again is what was there, and what it adds."""
    folder = PLACE / "grafana"
    if not folder.exists():
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps")
        run(*pip, "--disable-pip-version-check", "--target", folder, SDK)
    text = (MONITORING / "orthanc-gcp.dashboard.json").read_text()
    again = run(
        *(sys.executable, "-c", READ_AND_WRITE), input=text, env={"PYTHONPATH": str(folder)}
    )
    assert within(json.loads(text), json.loads(again))


def within(part, whole) -> bool:
    if isinstance(part, dict):
        assert part.keys() <= whole.keys(), part.keys() - whole.keys()
        return all(within(value, whole[name]) for name, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    return part == whole
