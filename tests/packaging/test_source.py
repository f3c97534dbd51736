"""The tree that artefacts are made of."""

from __future__ import annotations

import subprocess

import orthanc_gcp
from artefacts.source import ROOT, Source


def test_its_version_is_that_of_the_package():
    assert Source().version == orthanc_gcp.__version__


def test_its_time_is_that_of_the_last_commit_unless_another_is_given(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    command = ["git", "log", "-1", "--format=%ct"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert Source().epoch == int(said)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "17")
    assert Source().epoch == 17
    assert Source().environment["SOURCE_DATE_EPOCH"] == "17"
