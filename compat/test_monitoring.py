"""Prometheus' own word on the alert rules: Debian's package, unpacked and not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat.releases import PLACE, ROOT, run

MONITORING = ROOT / "monitoring"


@pytest.fixture(scope="module")
def promtool() -> Path:
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
