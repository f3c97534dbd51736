"""Orthanc's own DICOM server, where each instance of a C-MOVE is a sub-operation."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat.releases import (
    RELEASES,
    inside,
    install_wheel,
    make_release,
    orthanc_program,
    shared_folder,
)
from orthanc_gcp.orthanc.find import FindLimits, find_all
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.gateway import scu
from tests.integration.test_answer_for_orthanc import (
    dcmtk,
    find,
    gateway,
    instance,
    running_site,
)
from tests.support.orthanc import Orthanc, wait_until

VENV = "/opt/gateway"


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> Path:
    """The root of a release with Orthanc, and with this package and its gateway."""
    root = make_release(request.param)
    install_wheel(root, VENV, "gateway")
    return root


def test_each_instance_is_a_sub_operation(release: Path, tmp_path: Path) -> None:
    script = inside(release, f"{VENV}/bin/orthanc-gcp plugin-script")

    def start(configuration: dict[str, object]) -> Orthanc:
        made = Orthanc(
            tmp_path / "orthanc",
            {**configuration, "LimitFindResults": 2},
            executable=orthanc_program(release, tmp_path),
            python_script=script,
        )
        made.start()
        return made

    with shared_folder(release, tmp_path), running_site(start, tmp_path) as site:
        wait_until(lambda: gateway(site)["State"] == "Running", 60, lambda: site.log[-4000:])
        found = find(site, "PatientName=m*", "NumberOfStudyRelatedInstances", "ModalitiesInStudy")
        assert sorted(found) == ["1.2.1", "1.2.2", "1.2.3"], site.log[-4000:]
        keys = ("QueryRetrieveLevel=PATIENT", "PatientID=4711")
        said = dcmtk(site, "movescu", "-P", "-aem", "DEST", keys=keys)
        assert "0x0000: Success" in said, said + site.log[-4000:]
        assert "Completed Suboperations       : 5" in said
        assert len(list(site.received.iterdir())) == 5

        query = scu.keys("STUDY", StudyInstanceUID="")
        assert scu.find(site.dicom_port, query, called="ORTHANC")[1].Status == 0x0000
        assert site.request("POST", "/instances", instance(7, 1)).status == 200
        assert scu.find(site.dicom_port, query, called="ORTHANC")[1].Status == 0xFE00

        # An accession number that more studies have than it finds at once.
        for number in range(11, 16):
            file = instance(number, 1, AccessionNumber="many")
            assert site.request("POST", "/instances", file).status == 200
        limits = FindLimits(2)
        named = find_all(OrthancRest(site.url), "Study", {"00080050": "many"}, (), limits)
        assert len(list(named)) == 5

        # What is missing is one more, which has failed, and comes last.
        site.emulator.stop()
        said = dcmtk(site, "movescu", "-P", "-aem", "DEST", keys=keys)
        assert "0xb000: Warning" in said, said
        assert "Failed Suboperations          : 1" in said
        assert len(find(site)) == 2
