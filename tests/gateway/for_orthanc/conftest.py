"""An Orthanc and a store: study 1 is in Orthanc, study 2 in the store, study 3 half in both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orthanc_gcp.gateway.for_orthanc.service import ForOrthanc
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.emulator.client import Client, make_dicom
from tests.gateway.conftest import Running
from tests.gateway.retrieve.conftest import faults
from tests.support.orthanc import Orthanc

__all__ = ["faults"]


def instance(study: int, series: int, number: int, **more: Any) -> bytes:
    uid = f"1.2.{study}.{series}"
    values = {
        "PatientID": "4711",
        "PatientName": "Doe^Jane",
        "StudyInstanceUID": f"1.2.{study}",
        "SeriesInstanceUID": uid,
        "SOPInstanceUID": f"{uid}.{number}",
        "Modality": "CT",
        "SeriesNumber": series,
        "AccessionNumber": f"A{study}",
        "ProtocolName": "of Orthanc",
    }
    return make_dicom(**{**values, **more})


LOCAL = (instance(1, 1, 1, PatientName="Doe^John"), instance(3, 1, 1))
CLOUD = (
    instance(2, 1, 1),
    instance(2, 1, 2),
    instance(3, 1, 1, Modality="US", SpecificCharacterSet="ISO_IR 100"),
    instance(3, 1, 2),
    instance(3, 2, 1, Modality="MR"),
)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancRest]:
    """The REST API of an Orthanc that nobody changes."""
    folder = tmp_path_factory.mktemp("local")
    modalities = {
        "of-the-database": {"AET": "STORED", "Host": "127.0.0.1", "Port": 104},
        "secure": {"AET": "SECURE", "Host": "127.0.0.1", "Port": 105, "UseDicomTls": True},
    }
    orthanc = Orthanc(folder, {"DicomModalities": modalities}, plugins=())
    orthanc.start()
    for file in LOCAL:
        orthanc.json("POST", "/instances", file)
    yield OrthancRest(orthanc.url)
    orthanc.kill()


@pytest.fixture
def merged(
    start: Callable[..., Running], client: Client, local: OrthancRest
) -> Callable[..., ForOrthanc]:
    """What answers for that Orthanc, with the store of an emulator."""
    client.store(*CLOUD)

    def begin(gateway: dict[str, Any] | None = None, **options: Any) -> ForOrthanc:
        running = start({"AnswerForOrthanc": True, **(gateway or {})}, local, **options)
        assert running.gateway.for_orthanc is not None
        return running.gateway.for_orthanc

    return begin
