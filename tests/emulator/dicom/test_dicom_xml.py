"""The native DICOM model: the same data sets as in JSON, in XML."""

from __future__ import annotations

import io
import json
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.emulator.dicom.dicom_xml import to_xml
from tests.emulator.client import Client, make_dicom, path_of, read, sample, split

XML = "application/dicom+xml"
PARTS = f'multipart/related; type="{XML}"'


def as_json(parent: ElementTree.Element) -> dict[str, Any]:
    """Return the DICOM JSON model of a document, private blocks left out."""
    found = {}
    for attribute in parent.findall("DicomAttribute"):
        entry: dict[str, Any] = {"vr": attribute.attrib["vr"]}
        for bulk in attribute.findall("BulkData"):
            entry["BulkDataURI"] = bulk.attrib["uri"]
        for inline in attribute.findall("InlineBinary"):
            entry["InlineBinary"] = inline.text
        values: list[Any] = [value.text for value in attribute.findall("Value")]
        values += [as_json(item) for item in attribute.findall("Item")]
        for name in attribute.findall("PersonName"):
            values.append({group.tag: [part.text for part in group] for group in name})
        if values:
            entry["Value"] = values
        found[attribute.attrib["tag"]] = entry
    return found


def level(data_set: dict[str, Any]) -> dict[str, Any]:
    """Level what XML writes in another way: numbers, names, empty values, private blocks."""
    result = {}
    for tag, element in data_set.items():
        entry = dict(element)
        values = [value for value in entry.pop("Value", []) if value is not None]
        if entry["vr"] == "SQ":
            values = [level(value) for value in values]
        elif entry["vr"] == "PN":
            values = [{k: [p for p in v.split("^") if p] for k, v in x.items()} for x in values]
        else:
            values = [str(value) for value in values]
        if values:
            entry["Value"] = values
        private = int(tag[3], 16) % 2 and f"{tag[:4]}00{tag[4:6]}" in data_set
        result[f"{tag[:4]}00{tag[6:]}" if private else tag] = entry
    return result


@pytest.mark.parametrize(
    "name", ["CT_small", "test-SR", "rtplan", "reportsi", "waveform_ecg", "examples_overlay"]
)
def test_metadata_say_the_same_in_xml(client: Client, name: str) -> None:
    content = sample(f"{name}.dcm")
    client.store(content)
    url = f"{path_of(read(content))}/metadata"
    (expected,) = json.loads(client.get(url).data)
    response = client.get(url, PARTS)
    assert response.headers["content-type"].startswith(f"{PARTS}; boundary=")
    ((content_type, document),) = split(response)
    assert content_type == XML
    assert as_json(ElementTree.fromstring(document)) == level(expected)


def test_attributes_are_told_by_keyword_or_private_creator(client: Client) -> None:
    dataset = read(make_dicom())
    block = dataset.private_block(0x0009, 'ACME "1"', create=True)
    block.add_new(0x17, "LO", "a & b\\<c>")
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    client.store(buffer.getvalue())
    ((_, document),) = split(client.get(f"{path_of(dataset)}/metadata", PARTS))
    root = ElementTree.fromstring(document)
    assert root.tag == "NativeDicomModel"
    (name,) = root.findall("DicomAttribute[@keyword='PatientName']/PersonName[@number='1']")
    assert [(part.tag, part.text) for part in name[0]] == [
        ("FamilyName", "Doe"),
        ("GivenName", "John"),
    ]
    (private,) = root.findall("DicomAttribute[@tag='00090017']")
    assert private.attrib["privateCreator"] == 'ACME "1"'
    assert [(v.attrib["number"], v.text) for v in private] == [("1", "a & b"), ("2", "<c>")]


def test_searches_say_the_same_in_xml(client: Client) -> None:
    client.store(sample("CT_small.dcm"), make_dicom())
    for search in ("/studies", "/series", "/instances"):
        expected = [level(match) for match in client.search(search, includefield="all")]
        parts = split(client.get(search, PARTS, includefield="all"))
        assert [as_json(ElementTree.fromstring(part)) for _, part in parts] == expected
    assert client.get("/studies", PARTS, PatientID="none").status == 204


@given(st.text())
def test_any_text_is_well_formed(text: str) -> None:
    values = {"00090010": {"vr": "LO", "Value": [text or None]}, "00091001": {"vr": "UN"}}
    name = {"vr": "PN", "Value": [{"Alphabetic": text}, None]}
    root = ElementTree.fromstring(to_xml({**values, "00100010": name}))
    assert len(root) == 3
    if text.isprintable() and text:
        assert root[0][0].text == text


def test_pydicom_agrees_about_keywords() -> None:
    dataset = pydicom.Dataset()
    dataset.PatientID = "1"
    root = ElementTree.fromstring(to_xml(dataset.to_json_dict()))
    assert root[0].attrib["keyword"] == "PatientID"
