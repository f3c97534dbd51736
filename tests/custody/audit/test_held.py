"""What a real Orthanc holds, and where the rules want it."""

from __future__ import annotations

import hashlib
import json
import time
from urllib.parse import parse_qs

import pytest

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.audit.comparison import Held
from orthanc_gcp.custody.audit.findings import Uids
from orthanc_gcp.custody.audit.held import OrthancStudies
from orthanc_gcp.custody.audit.retries import MOST_TRIES
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.errors import OrthancRefusedError, OrthancUnavailableError
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import OrthancRest
from tests.orthanc.orthanc_stub import stub
from tests.support import raw_server
from tests.support.raw_server import RawServer
from tests.support.sent import changed, dataset
from tests.support.site import make_instance, make_study


@pytest.fixture(scope="module")
def stored(orthanc):
    """A study that two patients have, and one of another modality: file and Orthanc's answer."""
    files = make_study(instances=2, modality="CT")
    files += [changed(files[0], PatientID="other"), make_instance(modality="MR")]
    return [(one, orthanc.json("POST", "/instances", one)) for one in files]


CT = SendRule(to="a", modalities=("CT",))


def studies_of(url, rules=(CT,), waited=None, folder=None):
    source = OrthancSource(OrthancRest(url), folder)

    def wait(seconds):
        waited.append(seconds)
        return False

    return OrthancStudies(source, Rules(rules, source.attributes), wait)


@pytest.fixture
def studies(orthanc, stored):
    return studies_of(orthanc.url, folder=orthanc.folder)


def listed(studies):
    """The Study Instance UID and Orthanc's identifier of all studies."""
    found = set()
    studies.all(lambda study, name, _: found.add((study, name)))
    return found


def uids(content):
    one = dataset(content)
    return Uids(str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID))


def test_all_studies(studies, stored):
    assert listed(studies) >= {(uids(file)[0], answer["ParentStudy"]) for file, answer in stored}


def test_the_resources_of_one_study(studies, stored):
    (first, one), _, (_, other), _ = stored
    found = studies.find(uids(first)[0])
    assert set(found) == {one["ParentStudy"], other["ParentStudy"]}
    assert studies.find("1.2.3") == []
    for pattern in (f"{uids(first)[0][:-1]}*", f"{uids(first)[0]}\\1.2", "?", "*", ""):
        assert studies.find(pattern) == [], "it is no pattern"


def test_instances(studies, stored):
    names = list(dict.fromkeys(answer["ParentStudy"] for _, answer in stored))
    found = {one.orthanc_id: one for one in studies.instances([*names, "gone"])}
    assert set(found) == {answer["ID"] for _, answer in stored}
    for file, answer in stored:
        one = found[answer["ID"]]
        assert one.uids == uids(file)
        assert one.size_bytes == len(file)
        assert one.attachment_uuid
        assert abs(one.received_at - time.time()) < 600
        assert one.accounts == ({"a"} if dataset(file).Modality == "CT" else frozenset())
    md5s = {answer["ID"]: hashlib.md5(file).hexdigest() for file, answer in stored}
    assert studies.md5s(list(found.values())) == md5s


def test_one_instance_that_cannot_be_read_is_in_the_way_of_no_other(orthanc, stored):
    files = make_study(instances=2)
    bad, good = (orthanc.json("POST", "/instances", file) for file in files)
    path = f"/instances/{bad['ID']}/attachments/dicom/info"
    file = orthanc.json("GET", path)["Uuid"]
    (orthanc.folder / "storage" / file[:2] / file[2:4] / file).unlink()
    rules = [SendRule(to="a", tags={"StudyDate": "2026*"}), SendRule(to="a", tags={"Rows": "64"})]
    studies = studies_of(orthanc.url, rules[1:], folder=orthanc.folder)
    found = {one.orthanc_id: one for one in studies.instances([bad["ParentStudy"]])}
    assert found[bad["ID"]].accounts is None
    assert found[good["ID"]].accounts == {"a"}
    others = [SendRule(to="b", modalities=("MR",)), SendRule(to="c", tags={"StudyDate": "2026*"})]
    studies = studies_of(orthanc.url, [*rules[1:], *others], folder=orthanc.folder)
    found = {one.orthanc_id: one for one in studies.instances([bad["ParentStudy"]])}
    assert found[bad["ID"]].possible == {"a", "c"}, "not b, by what Orthanc has indexed"
    studies = studies_of(orthanc.url, rules, folder=orthanc.folder)
    assert all(one.accounts == {"a"} for one in studies.instances([bad["ParentStudy"]]))


@pytest.fixture
def half_gone(orthanc):
    """Of one of two instances, Orthanc's answer to whoever asks for its attributes is 404."""
    bad, good = (orthanc.json("POST", "/instances", file) for file in make_study(instances=2))
    source = OrthancSource(OrthancRest(orthanc.url), orthanc.folder)

    def attributes(name, long):
        if name != bad["ID"]:
            return source.attributes(name, long)
        if made.is_deleted:
            orthanc.request("DELETE", f"/instances/{name}")
        return source.attributes("gone", long)

    def has_its_index():
        made.asked += 1
        return made.has_its_index

    rules = Rules([SendRule(to="a", tags={"Rows": "64"})], attributes)
    made = OrthancStudies(source, rules, lambda _: True, has_its_index)
    made.is_deleted, made.has_its_index, made.asked = False, True, 0
    made.bad, made.good, made.study = bad["ID"], good["ID"], bad["ParentStudy"]
    return made


def test_one_instance_whose_file_is_gone_is_in_the_way_of_no_other(half_gone):
    held = half_gone.instances([half_gone.study])
    assert {one.orthanc_id: (one.accounts, one.possible) for one in held} == {
        half_gone.bad: (None, {"a"}),
        half_gone.good: ({"a"}, set()),
    }


def test_what_is_deleted_while_its_attributes_are_asked_for_is_not_there(half_gone):
    half_gone.is_deleted = True
    found = {one.orthanc_id: one.accounts for one in half_gone.instances([half_gone.study])}
    assert found == {half_gone.good: {"a"}}
    assert half_gone.asked, "another index proves no deletion"


def test_what_another_index_does_not_have_is_not_deleted(half_gone):
    half_gone.is_deleted, half_gone.has_its_index = True, False
    with pytest.raises(OrthancUnavailableError, match="another index"):
        half_gone.instances([half_gone.study])


def test_an_md5_that_orthanc_refuses(stored):
    (file, answer), *_ = stored
    answers = {f"GET /instances/{answer['ID']}/attachments/dicom/md5": 403}
    with stub(answers) as server, pytest.raises(OrthancRefusedError, match="403"):
        one = Held(answer["ID"], uids(file), 1, "", 1.0, frozenset())
        studies_of(server.url).md5s([one])


def test_an_orthanc_that_is_started_again_is_waited_for():
    waited, asked = [], []

    def answers(connection, head):
        asked.append(head)
        if len(asked) < 3:
            connection.close()
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    with RawServer(answers) as server:
        assert studies_of(server.url, waited=waited).find("1.2") == []
    assert len(waited) == 2


def test_an_orthanc_that_is_back_when_that_is_looked_at_is_waited_for():
    """It did not answer about a study, and does otherwise."""
    waited, asked = [], []

    def answers(connection, head):
        if head.startswith(b"POST"):
            asked.append(head)
        if head.startswith(b"POST") and len(asked) < 3:
            connection.close()
        else:  # a connection that it ends later is not one that it has ended while it was idle
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
            connection.sendall(head + b"[]")
            connection.close()

    with RawServer(answers) as server:
        assert studies_of(server.url, waited=waited).instances(["a"]) == []
    assert len(waited) == 2


@pytest.mark.parametrize("page", [1, 2, 3], ids=lambda page: f"page-{page}")
def test_a_list_of_which_an_answer_breaks_off_is_made_anew(page):
    """A list that ends there would leave out the rest, and all of it would count as looked at."""
    waited, asked = [], []
    there = [{"ID": f"{n}", "MainDicomTags": {"StudyInstanceUID": f"1.{n}"}} for n in range(1200)]

    def answers(connection, head):
        path, _, query = head.split()[1].decode().partition("?")
        assert path.endswith("/studies")
        asked.append(query)
        given = parse_qs(query, keep_blank_values=True)
        since, limit = (int(given[name][0]) for name in ("since", "limit"))
        some = there[since : since + limit]
        body = json.dumps(some if "expand" in given else [one["ID"] for one in some]).encode()
        whole = raw_server.answer(body, Connection="close")
        connection.sendall(whole[:-1] if len(asked) == page else whole)
        connection.close()

    with RawServer(answers) as server:
        found = listed(studies_of(server.url, waited=waited))
    assert found == {(f"1.{n}", f"{n}") for n in range(1200)}
    assert len(waited) == 1


def test_a_list_that_always_breaks_off_is_given_up():
    """After its first page, which comes each time."""
    waited = []
    there = [{"ID": f"{n}", "MainDicomTags": {"StudyInstanceUID": f"1.{n}"}} for n in range(500)]

    def answers(connection, head):
        whole = raw_server.answer(json.dumps(there).encode(), Connection="close")
        connection.sendall(whole if b"since=0&" in head else whole[:-1])
        connection.close()

    with RawServer(answers) as server, pytest.raises(OrthancUnavailableError):
        listed(studies_of(server.url, waited=waited))
    assert len(waited) == MOST_TRIES - 1


def test_one_that_stays_away_is_not():
    waited = []
    with pytest.raises(OrthancUnavailableError):
        studies_of("http://127.0.0.1:1", waited=waited).instances(["a"])
    assert len(waited) == MOST_TRIES - 1


@pytest.mark.parametrize("said", [{}, 7.5, "text", [7], [{}], [None], {"a": 1}], ids=repr)
def test_answers_that_are_none(said):
    answers = {
        "GET /studies?since=0&expand&limit=500": said,
        "GET /studies?since=0&limit=500": said,
        "POST /tools/find": said,
        "POST /tools/bulk-content": said,
    }
    with stub(answers) as server:
        studies = studies_of(server.url, waited=[])
        questions = [
            lambda: sorted(listed(studies)),
            lambda: studies.find("1.2"),
            lambda: studies.instances(["a"]),
        ]
        for question in questions:
            try:
                assert question() == [], "an object without anything is an empty list to Python"
            except OrthancRefusedError as error:
                assert "not what Orthanc was asked for" in str(error)
