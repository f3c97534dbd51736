"""An Orthanc that recycles, through an outage of the store: a worker, and what kills it."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.custody.outcomes import ABSENT_FOR
from orthanc_gcp.ledger.schema import Guard, patients
from tests.integration.test_clock import faketime, shift
from tests.support.orthanc import wait_until
from tests.support.postgres import Postgres
from tests.support.site import Site, make_instance
from tests.support.studies import run_json

MOST = 5
REFUSED = ["healthcare.dicomStores.dicomWebWrite"]


class Clinic:
    """Patients of a site by their names."""

    def __init__(self, site):
        self.site, self.patients = site, {}

    def receive(self, *names, **more):
        for name in names:
            content = make_instance(patient=name, **more)
            answer = self.site.orthanc.json("POST", "/instances", content)
            self.patients[name] = answer["ParentPatient"]

    def outage(self, on=True):
        self.site.emulator.switch(deniedPermissions=REFUSED if on else [])

    @property
    def protected(self):
        found = {}
        for name, patient in self.patients.items():
            answer = self.site.orthanc.request("GET", f"/patients/{patient}/protected")
            if answer.status == 200:
                found[name] = answer.data == b"1"
        return found

    @property
    def gone(self):
        """Those that the worker has seen not to be there."""
        names = {patient: name for name, patient in self.patients.items()}
        engine = self.site.engine()
        try:
            with engine.connect() as connection:
                query = sql.select(patients.c.orthanc_id).where(patients.c.guard == Guard.GONE)
                return {names[one] for one in connection.scalars(query)}
        finally:
            engine.dispose()

    def reaches(self, wait=60, **protected):
        wait_until(
            lambda: self.protected == protected,
            wait,
            lambda: f"{self.protected}\n{self.site.states()}\n{self.site.log()[-4000:]}",
        )


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


def test_two_workers_one_of_which_dies(tmp_path):
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
