"""What a gateway has answered."""

from __future__ import annotations

from orthanc_gcp.gateway.figures import Figures, Responses
from tests.gateway.scu import STUDY_ROOT, associate, keys


def test_requests_are_counted():
    figures = Figures()
    figures.ended("C-FIND", 0, 1.5)
    figures.ended("C-FIND", 0xA700, 0.5)
    figures.ended("C-ECHO", 0, 0.0)
    assert figures.responses() == {
        "C-ECHO": Responses({0: 1}, 0.0),
        "C-FIND": Responses({0: 1, 0xA700: 1}, 2.0),
    }


def test_those_of_a_gateway(start):
    running = start()
    association = associate(running.port)
    association.send_c_echo()
    list(association.send_c_find(keys("STUDY"), STUDY_ROOT))
    assert running.gateway.status().associations == 1
    association.release()
    shown = running.gateway.status().as_json()
    assert shown["State"] == "Running"
    assert shown["Port"] == running.port
    assert shown["Problem"] is None
    assert shown["StorageCommitment"] == {"Open": 0, "Problem": None, "Oldest": []}
    services = {one["Service"]: one for one in shown["Requests"]}
    assert services["C-ECHO"]["ByStatus"] == services["C-FIND"]["ByStatus"] == {"0000": 1}
    assert services["C-FIND"]["Seconds"] > 0
