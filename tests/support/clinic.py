"""Patients of a site whose Orthanc recycles."""

from __future__ import annotations

import sqlalchemy as sql

from orthanc_gcp.ledger.schema import Guard, patients
from tests.support.orthanc import wait_until
from tests.support.site import make_instance

MOST = 5
"""``MaximumPatientCount``."""
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
