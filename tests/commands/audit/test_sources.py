"""The Orthanc that is asked, and from when on nothing more counts."""

from __future__ import annotations

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.commands.audit.sources import AuditedOrthanc
from orthanc_gcp.errors import OrthancError
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.orthanc.orthanc_stub import stub
from tests.support.ledgers import clock, sqlite_ledger

__all__ = ["clock", "sqlite_ledger"]
NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(("newest_at", "began"), [(0, 1000), (940, 1000), (1300, 1301)])
def test_a_clock_that_goes_before(tmp_path, newest_at, began):
    """What it has by now was received before, whatever its own clock says."""
    source = OrthancSource(OrthancRest(NOWHERE), tmp_path)
    assert AuditedOrthanc(source, NOWHERE, "test", newest_at=newest_at).begin(1000) == began


def test_one_that_is_away(sqlite_ledger):
    with pytest.raises(OrthancError, match="does not answer"):
        AuditedOrthanc.of(NOWHERE, configuration.read({}), sqlite_ledger)


@pytest.mark.parametrize("said", [[], {}, 7.5, "text", None, {"Name": "x"}], ids=repr)
def test_one_that_is_none(sqlite_ledger, said):
    answers = {"GET /system": said, "GET /changes?last": said}
    with (
        stub(answers) as server,
        pytest.raises(OrthancError, match="an Orthanc"),
    ):
        AuditedOrthanc.of(server.url, configuration.read({}), sqlite_ledger)
