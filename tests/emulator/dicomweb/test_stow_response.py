"""The answer to a store transaction, in XML and JSON."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from tests.emulator.client import (
    DICOM_JSON,
    Client,
    make_dicom,
    path_of,
    read,
    sample,
)
from tests.emulator.dicomweb.store_answers import failures, stored

XML = "application/dicom+xml"


def test_several_instances(client: Client) -> None:
    files = [sample(name) for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")]
    response = client.store(*files)
    assert (response.status, response.headers["content-type"]) == (200, DICOM_JSON)
    body = json.loads(response.data)
    assert stored(body) == [read(file).SOPInstanceUID for file in files]
    ct = read(files[0])
    assert body["00081190"]["Value"] == [f"{client.web}/studies/{ct.StudyInstanceUID}"]
    item = body["00081199"]["Value"][0]
    assert item["00081150"] == {"vr": "UI", "Value": [ct.SOPClassUID]}
    assert item["00081190"] == {"vr": "UR", "Value": [client.web + path_of(ct)]}
    assert client.get(item["00081190"]["Value"][0]).status == 200


def test_the_answer_is_xml_unless_json_is_asked_for(client: Client) -> None:
    file = sample("CT_small.dcm")
    response = client.store(file, accept="*/*")
    assert (response.status, response.headers["content-type"]) == (200, XML)
    root = ET.fromstring(response.data)
    assert root.tag == "NativeDicomModel"
    url, sequence = root
    assert url.attrib == {"tag": "00081190", "vr": "UR", "keyword": "RetrieveURL"}
    assert sequence.attrib == {"tag": "00081199", "vr": "SQ", "keyword": "ReferencedSOPSequence"}
    assert [e.attrib["keyword"] for e in sequence.iterfind("Item[@number='1']/DicomAttribute")] == [
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
        "RetrieveURL",
    ]
    last = sequence.find("Item/DicomAttribute[@keyword='RetrieveURL']/Value[@number='1']")
    assert last is not None
    assert last.text == client.web + path_of(read(file))


def test_a_failure_in_xml(client: Client) -> None:
    file = make_dicom()
    client.store(file)
    response = client.store(file[:-1] + b"\1", accept=XML)
    root = ET.fromstring(response.data)
    detail = root.find("DicomAttribute[@tag='00081198']/Item/DicomAttribute[@tag='00090097']")
    assert detail is not None
    assert detail.attrib == {
        "tag": "00090097",
        "vr": "LT",
        "keyword": "FailureDetail",
        "privateCreator": "GOOGLE",
    }
    assert detail.findtext("Value") == "already exists"


def test_a_mixed_outcome(client: Client) -> None:
    files = [sample("CT_small.dcm"), sample("no_meta.dcm"), sample("MR_small.dcm"), b""]
    response = client.store(*files)
    body = json.loads(response.data)
    assert response.status == 409
    assert stored(body) == [read(files[0]).SOPInstanceUID, read(files[2]).SOPInstanceUID]
    assert len(failures(body)) == 2
    assert all(detail.startswith("invalid DICOM instance") for detail in failures(body))
    assert len(client.search("/instances")) == 2
