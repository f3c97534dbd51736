"""From a store into a real Orthanc, whatever happens on the way."""

from __future__ import annotations

import pytest

from tests.support.orthanc import wait_until
from tests.support.sent import dataset
from tests.support.site import ACCOUNT, Site, make_instance, make_study


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    lua = folder / "filter.lua"
    lua.write_text(
        "function ReceivedInstanceFilter(dicom, origin, info)\n"
        "  return dicom.PatientID ~= 'FILTERED'\n"
        "end\n"
    )
    with Site(folder, listen=True, orthanc={"LuaScripts": [str(lua)]}) as site:
        site.wait_for_api()
        site.wait_for_following()
        yield site


@pytest.fixture(autouse=True)
def _well(site):
    yield
    site.emulator.switch(faults=[])


def store(site, *files):
    for file in files:
        answer = site.call(
            "POST", "/dicomWeb/studies", file, **{"Content-Type": "application/dicom"}
        )
        assert answer.status == 200, answer.data


def uids(file):
    one = dataset(file)
    return str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID)


def retrieve(site, *resources, **more):
    levels = ("Study", "Series", "Instance")
    body = {"Resources": [dict(zip(levels, one, strict=False)) for one in resources], **more}
    status, answer = site.api("POST", f"/gcp/accounts/{ACCOUNT}/retrieve", body)
    assert status == 200, answer
    return answer["Retrievals"]


def shown(site, number):
    status, answer = site.api("GET", f"/gcp/accounts/{ACCOUNT}/retrievals?id={number}")
    assert status == 200
    (one,) = answer["Retrievals"]
    return one


def ended(site, number, wait=40):
    wait_until(
        lambda: shown(site, number)["Ended"] is not None,
        wait,
        lambda: f"{shown(site, number)}\n{site.log()[-4000:]}",
    )
    return shown(site, number)


def in_orthanc(site, files):
    """The files that Orthanc has of some, byte for byte."""
    found = []
    for file in files:
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": uids(file)[2]}}
        for one in site.orthanc.json("POST", "/tools/find", query):
            found.append(site.orthanc.request("GET", f"/instances/{one}/file").data)
    return found


def rows_of(site, files):
    names = {uids(file)[2] for file in files}
    return [row for row in site.rows() if row.sop_instance_uid in names]


def test_a_study_comes_back_as_it_is_and_is_not_sent_again(site):
    files = [
        *make_study(2, 3, size=16),
    ]
    store(site, *files)
    (number,) = retrieve(site, uids(files[0]))  # one instance
    (series,) = retrieve(site, uids(files[0])[:2])
    (study,) = retrieve(site, uids(files[0])[:1])
    found = ended(site, study)
    assert (found["State"], found["Instances"]) == ("complete", 6), found
    assert found["Received"] + found["Present"] == 6
    assert ended(site, series)["State"] == "complete"
    assert ended(site, number)["Instances"] == 1
    assert sorted(in_orthanc(site, files)) == sorted(files)
    wait_until(lambda: len(rows_of(site, files)) == 6, 20, lambda: str(rows_of(site, files)))
    rows = rows_of(site, files)
    assert {(row.state, row.reason) for row in rows} == {("confirmed", "retrieved")}
    assert not [row for row in rows if row.acknowledged_at or row.batch]


def test_only_what_is_asked_for_comes(site):
    files = make_study(2, 2, size=16)
    store(site, *files)
    (number,) = retrieve(site, uids(files[0])[:2])
    assert ended(site, number)["Received"] == 2
    assert sorted(in_orthanc(site, files)) == sorted(files[:2])
    (number,) = retrieve(site, uids(files[0])[:1])
    found = ended(site, number)
    assert (found["Received"], found["Present"]) == (2, 2)


def test_of_several_what_orthanc_has_already_does_not_come(site):
    """It is asked for all of them by one query."""
    there, halfway, absent = (make_study(1, 2, size=1) for _ in range(3))
    store(site, *there, *halfway, *absent)
    for file in (*there, halfway[0]):
        assert site.upload(file)
    numbers = retrieve(site, *(uids(study[0])[:1] for study in (there, halfway, absent)))
    found = [ended(site, number) for number in numbers]
    assert [(one["State"], one["Present"], one["Received"]) for one in found] == [
        ("complete", 2, 0),
        ("complete", 1, 1),
        ("complete", 0, 2),
    ]


def test_large_ones_come_side_by_side(site):
    files = make_study(1, 4, size=1100)
    store(site, *files)
    (number,) = retrieve(site, uids(files[0])[:1])
    assert ended(site, number)["ReceivedBytes"] == sum(map(len, files))
    assert sorted(in_orthanc(site, files)) == sorted(files)


def test_what_orthanc_sent_itself_is_not_brought_and_its_bytes_are_known(site):
    files = make_study(1, 2, size=16)
    for file in files:
        site.upload(file)
    wait_until(
        lambda: [row.state for row in rows_of(site, files)] == ["confirmed"] * 2,
        30,
        lambda: str(rows_of(site, files)),
    )
    before = site.emulator.switches()
    site.emulator.switch(faults=[{"path": "/instances/", "method": "GET", "status": 404}])
    (number,) = retrieve(site, uids(files[0])[:1])
    assert ended(site, number)["Present"] == 2, before
    site.emulator.switch(faults=[])
    (number,) = retrieve(site, uids(files[0])[:1], Bytes=True)
    assert ended(site, number)["Present"] == 2


def test_other_bytes_are_left_as_they_are(site):
    file = make_instance(size=16)
    other = file[:-1] + bytes([file[-1] ^ 1])
    site.upload(other)
    wait_until(lambda: [row.state for row in rows_of(site, [file])] == ["confirmed"], 30)
    levels = zip(("studies", "series", "instances"), uids(file), strict=True)
    place = "/dicomWeb" + "".join(f"/{level}/{uid}" for level, uid in levels)
    assert site.call("DELETE", place).status == 200
    store(site, file)
    (number,) = retrieve(site, uids(file)[:1])
    assert ended(site, number)["Present"] == 1, "as far as the ledger knows"
    (number,) = retrieve(site, uids(file)[:1], Bytes=True)
    found = ended(site, number)
    assert (found["State"], found["Different"]) == ("incomplete", 1)
    assert [one["Reason"] for one in found["Lacking"]] == ["different"]
    assert in_orthanc(site, [file]) == [other]


def test_what_was_changed_in_orthanc_is_sent(site):
    """An instance that came from the store has other bytes since: Orthanc was given it anew."""
    file = make_instance(size=16)
    store(site, file)
    (number,) = retrieve(site, uids(file)[:1])
    assert ended(site, number)["State"] == "complete"
    wait_until(lambda: [row.state for row in rows_of(site, [file])] == ["confirmed"], 20)
    (identifier,) = site.orthanc.json(
        "POST", "/tools/find", {"Level": "Instance", "Query": {"SOPInstanceUID": uids(file)[2]}}
    )
    site.orthanc.request("DELETE", f"/instances/{identifier}")
    other = file[:-1] + bytes([file[-1] ^ 1])
    site.upload(other)
    wait_until(
        lambda: [row.reason for row in rows_of(site, [file])] != ["retrieved"],
        20,
        lambda: str(rows_of(site, [file])),
    )


def test_what_orthanc_does_not_let_in_is_said(site):
    good, bad = (
        make_instance(study="1.2.840.99", size=16),
        make_instance(study="1.2.840.99", size=16, patient="FILTERED"),
    )
    store(site, good, bad)
    (number,) = retrieve(site, ("1.2.840.99",))
    found = ended(site, number)
    assert (found["State"], found["Received"], found["Missing"]) == ("incomplete", 1, 1)
    assert [(one["Instance"], one["Reason"]) for one in found["Lacking"]] == [
        (uids(bad)[2], "filtered")
    ]


def test_what_the_store_does_not_list(site):
    (number,) = retrieve(site, ("1.2.3.4.5",))
    found = ended(site, number)
    assert (found["State"], found["Reason"], found["Instances"]) == ("incomplete", "not_listed", 0)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"cut": "truncate", "afterBytes": 300},
        {"cut": "resetAnswer", "afterBytes": 2000},
    ],
    ids=str,
)
def test_a_bad_moment_of_the_store_costs_nothing(site, fault):
    files = make_study(2, 3, size=16)
    store(site, *files)
    site.emulator.switch(faults=[{"method": "GET", "count": 2, **fault}])
    (number,) = retrieve(site, uids(files[0])[:1])
    found = ended(site, number)
    assert (found["State"], found["Received"]) == ("complete", 6), found
    assert sorted(in_orthanc(site, files)) == sorted(files)


def test_while_a_store_is_away_it_says_what_it_waits_for(site):
    files = make_study(1, 3, size=16)
    store(site, *files)
    path = "/(studies|series)/[0-9.]*(/instances/[^/]*)?$"  # no search
    site.emulator.switch(faults=[{"method": "GET", "status": 503, "path": path}])
    (number,) = retrieve(site, uids(files[0])[:1])
    wait_until(lambda: shown(site, number)["Reason"], 20, lambda: str(shown(site, number)))
    waiting = shown(site, number)
    assert (waiting["Ended"], waiting["Waiting"]) == (None, 3)
    assert "503" in waiting["Detail"]
    site.emulator.switch(faults=[])
    found = ended(site, number)
    assert (found["State"], found["Reason"]) == ("complete", None)


def test_it_goes_on_after_kill_9(site):
    files = make_study(1, 10, size=600)
    store(site, *files)
    site.emulator.switch(latency=0.1)
    (number,) = retrieve(site, uids(files[0])[:1])
    try:
        wait_until(lambda: shown(site, number)["Received"] >= 2, 30)
        site.kill_worker()
        site.start_worker()
        site.wait_for_api()
    finally:
        site.emulator.switch(latency=0)
    found = ended(site, number)
    assert (found["State"], found["Missing"]) == ("complete", 0), found
    assert sorted(in_orthanc(site, files)) == sorted(files)
    wait_until(lambda: len(rows_of(site, files)) == 10, 20)
    assert {row.reason for row in rows_of(site, files)} == {"retrieved"}


def test_a_pause_holds(site):
    file = make_instance(size=16)
    store(site, file)
    site.api("POST", f"/gcp/accounts/{ACCOUNT}/pause")
    try:
        (number,) = retrieve(site, uids(file)[:1])
        site.api("GET", "/gcp/transfers")
        assert shown(site, number)["Ended"] is None
    finally:
        site.api("POST", f"/gcp/accounts/{ACCOUNT}/resume")
    assert ended(site, number)["State"] == "complete"
