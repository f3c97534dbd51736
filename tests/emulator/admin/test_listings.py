"""What the page lists, one level below the other."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from pydicom.uid import generate_uid

from tests.emulator.client import Client, make_dicom, read


def ask(client: Client, view: str, **query: Any) -> Any:
    address = f"{client.url}/emulator/{view}?{urlencode(query)}"
    return client.pool.request("GET", address).json()


def test_studies_come_in_pages_the_last_first(admin_client):
    uids = []
    for number in range(21):
        content = make_dicom(PatientID=str(number), AccessionNumber=f"A{number}")
        admin_client.store(content, make_dicom(StudyInstanceUID=read(content).StudyInstanceUID))
        uids.append(str(read(content).StudyInstanceUID))
    store = admin_client.store_name
    first = ask(admin_client, "studies", store=store)
    second = ask(admin_client, "studies", store=store, offset=20)
    assert [study["uid"] for study in first["studies"]] == uids[:0:-1]
    assert (first["more"], second["more"]) == (True, False)
    assert second["studies"] == [
        {
            "uid": uids[0],
            "patient_name": "Doe^John",
            "patient_id": "0",
            "study_date": "20200229",
            "accession_number": "A0",
            "series": 2,
            "instances": 2,
        }
    ]
    stores = ask(admin_client, "stores")
    assert stores["more"] is False
    (listed,) = stores["stores"]
    assert listed["name"] == store
    assert (listed["studies"], listed["series"], listed["instances"]) == (21, 42, 42)


def test_stores_come_in_pages_by_name(admin_client):
    others = [admin_client.of_new_store().store_name for _ in range(21)]
    names = sorted([admin_client.store_name, *others])
    first, second = ask(admin_client, "stores"), ask(admin_client, "stores", offset=20)
    assert [store["name"] for store in first["stores"]] == names[:20]
    assert [store["name"] for store in second["stores"]] == names[20:]
    assert (first["more"], second["more"]) == (True, False)


def test_series_and_instances_come_in_pages_the_first_first(admin_client):
    study = generate_uid()
    series = [generate_uid() for _ in range(21)]
    for number, uid in enumerate(series):
        described = {"SeriesDescription": f"no. {number}", "SeriesNumber": number, "Modality": "CT"}
        admin_client.store(make_dicom(StudyInstanceUID=study, SeriesInstanceUID=uid, **described))
    uids = [generate_uid() for _ in range(20)]
    admin_client.store(
        *(
            make_dicom(
                StudyInstanceUID=study,
                SeriesInstanceUID=series[0],
                SOPInstanceUID=uid,
                InstanceNumber=number,
            )
            for number, uid in enumerate(uids)
        )
    )
    where = {"store": admin_client.store_name, "study": study}
    first = ask(admin_client, "series", **where)
    assert [found["uid"] for found in first["series"]] == series[:20]
    assert first["more"] is True
    assert first["series"][0] == {
        "uid": series[0],
        "modality": "CT",
        "number": "0",
        "description": "no. 0",
        "instances": 21,
    }
    assert ask(admin_client, "series", **where, offset=20)["series"][0]["uid"] == series[20]

    where["series"] = series[0]
    second = ask(admin_client, "instances", **where, offset=20)
    (last,) = second["instances"]
    assert second["more"] is False
    assert (last["uid"], last["number"]) == (uids[-1], "19")
    assert last["sop_class"] == "Secondary Capture Image Storage"
    assert last["transfer_syntax"] == "Explicit VR Little Endian"
    assert ask(admin_client, "instances", **where)["more"] is True


def test_of_what_there_is_not_the_list_is_empty(admin_client):
    where = {"store": admin_client.store_name, "study": "1.2", "series": "%' OR 1=1 --"}
    for view in ("studies", "series", "instances"):
        assert ask(admin_client, view, **where) == {view: [], "more": False}


@pytest.mark.parametrize("view", ["studies", "series", "instances"])
@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("store=x", 404, "there is no such store"),
        ("", 404, "there is no such store"),
        ("offset=-1", 400, "offset is a number from 0 to 1000000"),
        ("offset=1000001", 400, "offset is a number from 0 to 1000000"),
        (f"offset={'9' * 5000}", 400, "offset is a number from 0 to 1000000"),
        ("offset=²", 400, "offset is a number from 0 to 1000000"),
    ],
)
def test_what_cannot_be_listed(shared_admin, view, query, status, message):
    if query.startswith("offset"):
        query = f"store={shared_admin.store_name}&{query}"
    address = f"{shared_admin.url}/emulator/{view}?{query}"
    answer = shared_admin.pool.request("GET", address)
    assert (answer.status, answer.json()["error"]["message"]) == (status, message)


@pytest.mark.filterwarnings("ignore:The value length")
def test_long_values_are_cut_but_for_keys(admin_client):
    name, uid = "<b>" + "n" * 60_000, "1." + "2" * 62
    admin_client.store(
        make_dicom(PatientID=name, SeriesDescription=name, StudyInstanceUID=uid, Modality="m" * 500)
    )
    where = {"store": admin_client.store_name}
    (study,) = ask(admin_client, "studies", **where)["studies"]
    assert study["uid"] == uid
    assert study["patient_id"] == f"{name[:300]}…"
    (series,) = ask(admin_client, "series", **where, study=uid)["series"]
    assert series["description"] == f"{name[:300]}…"
    assert len(series["modality"]) == 301
