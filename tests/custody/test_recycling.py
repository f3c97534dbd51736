"""An Orthanc that recycles, through an outage of the store: a worker, and what kills it."""

from __future__ import annotations

from orthanc_gcp.custody.outcomes import ABSENT_FOR
from tests.integration.test_clock import faketime, shift
from tests.support.clinic import MOST, Clinic
from tests.support.orthanc import wait_until
from tests.support.site import Site
from tests.support.studies import run_json


def test_an_outage_with_a_full_orthanc(tmp_path):
    """As much as there is room for is kept, what is not is lost, in the log and in the status."""
    file = tmp_path / "clock"
    shift(file, "+0")
    with Site(tmp_path, orthanc={"MaximumPatientCount": MOST}) as site:
        site.stop_worker()
        site.start_worker(**faketime(file))
        site.wait_for_following()
        clinic = Clinic(site)
        clinic.outage()
        clinic.receive("P")
        clinic.site.orthanc.request("PUT", f"/patients/{clinic.patients['P']}/protected", b"1")
        wait_until(lambda: len(site.rows()) == 1)
        for number, name in enumerate("ABCDE"):
            clinic.receive(name)
            wait_until(lambda number=number: len(site.rows()) == number + 2, 30, site.log)
        clinic.reaches(P=True, A=True, B=True, C=True, E=False)
        wait_until(lambda: "may be lost" in site.log(), 30, site.log)
        site.kill_worker()
        site.start_worker(**faketime(file))
        clinic.outage(on=False)
        site.wait_for(confirmed=5, delayed=1)
        wait_until(lambda: clinic.gone == {"D"}, 30, site.log)
        shift(file, f"+{ABSENT_FOR + 5:.0f}")
        wait_until(lambda: site.states() == {"confirmed": 5, "lost": 1}, 60, site.log)
        clinic.reaches(P=True, A=False, B=False, C=False, E=False)
        assert "are lost: Orthanc does not have them any more" in site.log()
        (google,) = run_json(site, "status")["Accounts"]
        assert (google["Lost"]["Instances"], google["UnprotectedPatients"]) == (1, 0)
