"""An Orthanc that recycles, and two workers on PostgreSQL, the first of which is killed."""

# ruff: noqa: S101

from __future__ import annotations

from pathlib import Path

from tests.support.clinic import MOST, Clinic
from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site


def test_two_workers_one_of_which_dies(tmp_path: Path) -> None:
    server = Postgres()
    section = {"Database": server.url}
    try:
        with Site(tmp_path, section=section, orthanc={"MaximumPatientCount": MOST}) as site:
            site.start_worker("other")
            site.wait_for_following()
            clinic = Clinic(site)
            clinic.outage()
            clinic.receive("A", "B")
            clinic.reaches(A=True, B=True)
            site.kill_worker()
            clinic.receive("C", "D", "E", "F")
            wait_until(lambda: len(site.rows()) >= 5, 60, lambda: site.log("other"))
            assert {"A", "B"} <= clinic.protected.keys()
            site.start_worker()
            clinic.outage(on=False)
            wait_until(lambda: site.states().get("confirmed", 0) >= 5, 60, site.log)
            wait_until(lambda: not any(clinic.protected.values()), 60, lambda: clinic.protected)
    finally:
        server.remove()
