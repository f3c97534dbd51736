"""What is read of an Orthanc: its changes, what it has, and the bytes; from a real one."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
import time
from itertools import chain
from pathlib import Path

import pydicom
import pytest

from orthanc_gcp.errors import (
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
)
from orthanc_gcp.orthanc import resources
from orthanc_gcp.orthanc.resources import OrthancSource
from orthanc_gcp.orthanc.rest import MOST_UNANSWERED, OrthancRest
from tests.orthanc.orthanc_stub import stub
from tests.support.orthanc import Orthanc, wait_until
from tests.support.raw_server import RawServer
from tests.support.site import make_study


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}, plugins=()) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def files():
    return make_study(series=2, instances=3)


@pytest.fixture(scope="module")
def stored(orthanc, files):
    return [orthanc.json("POST", "/instances", file) for file in files]


@pytest.fixture
def source(orthanc, stored):
    """With its storage folder, as on one machine."""
    return OrthancSource(OrthancRest(orthanc.url), orthanc.folder / "storage")


@pytest.fixture
def afar(orthanc, stored, tmp_path):
    """Without, as from another."""
    return OrthancSource(OrthancRest(orthanc.url), tmp_path)


def test_its_name(source):
    assert source.name() == "test/ORTHANC"


def test_its_changes_in_pages(source, stored):
    found, since, done = [], 0, False
    while not done:
        page = source.changes(since, 4)
        found += page.entries
        since, done = page.last, page.done
    assert since == source.last_change() == found[-1].seq
    new = [change.orthanc_id for change in found if change.kind == "NewInstance"]
    assert new == [one["ID"] for one in stored]


def test_the_place_before_a_moment(source):
    assert source.place_before(time.time() + 3600) == source.last_change()
    assert source.place_before(time.time() - 3600) == 0


def test_all_that_it_has(source, stored):
    assert sorted(chain.from_iterable(source.instances())) == sorted(one["ID"] for one in stored)
    ((study, updated),) = chain.from_iterable(source.studies())
    assert study == stored[0]["ParentStudy"]
    assert len(updated) == len("20261121T221844")


def test_studies_by_their_uid(source, stored, files):
    uid = str(pydicom.dcmread(io.BytesIO(files[0])).StudyInstanceUID)
    study = stored[0]["ParentStudy"]
    ((name, named, updated),) = chain.from_iterable(source.study_uids())
    assert (name, named, len(updated)) == (study, uid, len("20261121T221844"))
    assert source.find_study(uid) == [study]
    for other in ("1.2", f"{uid[:-1]}?", f"{uid}\\1", "*", ""):
        assert source.find_study(other) == []


def test_a_description(source, stored, files):
    described = source.describe([one["ID"] for one in stored] + ["unknown"])
    sent = dict(zip((one["ID"] for one in stored), files, strict=True))
    assert {one.orthanc_id for one in described} == set(sent)
    for one in described:
        file = sent[one.orthanc_id]
        dataset = pydicom.dcmread(io.BytesIO(file))
        assert one.study_instance_uid == dataset.StudyInstanceUID
        assert one.series_instance_uid == dataset.SeriesInstanceUID
        assert one.sop_instance_uid == dataset.SOPInstanceUID
        assert (one.size_bytes, source.size(one.orthanc_id)) == (len(file), len(file))
        assert abs(one.received_at - time.time()) < 600
        assert one.parents["Study"] == stored[0]["ParentStudy"]
        assert one.tags["StudyInstanceUID"] == dataset.StudyInstanceUID
    assert source.size("unknown") is None


@pytest.mark.parametrize("level", ["ParentPatient", "ParentStudy"])
def test_the_instances_of_a_resource(source, stored, level):
    instances = [one["ID"] for one in stored]
    assert sorted(source.members([stored[0][level], instances[0]])) == sorted(instances)
    with pytest.raises(KeyError, match="unknown"):
        source.members([instances[0], "unknown"])


def test_the_studies_of_studies_and_series(source, stored, orthanc):
    study, instance = stored[0]["ParentStudy"], stored[0]["ID"]
    series = stored[0]["ParentSeries"]
    assert source.studies_of([series, study, series]) == [study]
    assert source.studies_of([]) == []
    for other in (instance, stored[0]["ParentPatient"], "unknown"):
        with pytest.raises(KeyError, match=other):
            source.studies_of([study, other])


def test_what_receives_nothing_any_more(source, stored):
    resources = [stored[0]["ParentSeries"], stored[0]["ParentStudy"], "unknown"]
    wait_until(lambda: source.stable(resources) == resources)


def test_attributes_by_number(source, stored):
    found = source.attributes(stored[0]["ID"], ["0010,4000"])
    assert found["0008,0016"].startswith("1.2.840.10008.5.1.4.1.1.")


def contents(source, one):
    with source.read(one.orthanc_id, one.attachment_uuid, one.size_bytes) as pieces:
        return b"".join(pieces)


def test_the_bytes_of_an_instance(source, afar, stored, files):
    (one,) = source.describe([stored[0]["ID"]])
    assert contents(source, one) == files[0]
    assert contents(afar, one) == files[0]


@pytest.mark.parametrize("piece", [256 * 1024, 200], ids=["at-once", "in-pieces"])
def test_the_bytes_come_from_the_storage_folder(
    source, stored, files, tmp_path, monkeypatch, piece
):
    """Only what has the announced size and begins as a DICOM file (PS3.10 §7.1)."""
    monkeypatch.setattr(resources, "_PIECE", piece)
    (one,) = source.describe([stored[1]["ID"]])
    name = one.attachment_uuid
    nobody = OrthancRest("http://127.0.0.1:1")
    place = tmp_path / name[:2] / name[2:4] / name
    place.parent.mkdir(parents=True)
    place.write_bytes(files[1])
    own = OrthancSource(nobody, tmp_path)
    assert contents(own, one) == files[1]
    for wrong in (files[1][:-1], b"x" * len(files[1])):
        place.write_bytes(wrong)
        with pytest.raises(OrthancUnavailableError):
            contents(own, one)
    place.write_bytes(files[1])
    with monkeypatch.context() as patch, pytest.raises(OrthancUnavailableError):
        patch.setattr(resources, "_DELETES_OPEN_FILES", False)
        contents(own, one)
    shutil.rmtree(tmp_path / name[:2])
    with pytest.raises(OrthancUnavailableError):
        own.read(one.orthanc_id, "../../etc/passwd", 1).__enter__()


def test_an_instance_that_was_deleted(afar):
    with pytest.raises(OrthancGoneError), afar.read("unknown", "", 1):
        pass


def test_something_that_is_no_orthanc(tmp_path):
    with stub({}) as server:
        source = OrthancSource(OrthancRest(server.url), tmp_path)
        with pytest.raises(OrthancUnavailableError, match="has no /system: is it an Orthanc"):
            source.name()


def test_a_date_that_is_none(tmp_path):
    """Orthanc stores what others wrote into its metadata."""
    levels = {
        "Instance": {
            "ParentSeries": "s",
            "Metadata": {"ReceptionDate": "yesterday"},
            "MainDicomTags": {"SOPInstanceUID": "1.3"},
            "FileSize": 5,
        },
        "Series": {"ParentStudy": "t", "MainDicomTags": {"SeriesInstanceUID": "1.2"}},
        "Study": {"ParentPatient": "p", "MainDicomTags": {"StudyInstanceUID": "1.1"}},
    }

    def content(question):
        (identifier,), level = question["Resources"], question["Level"]
        return [{"ID": identifier, "Type": level, **levels[level]}]

    with stub({"POST /tools/bulk-content": content}) as server:
        (one,) = OrthancSource(OrthancRest(server.url), tmp_path).describe(["i"])
    assert (one.received_at, one.attachment_uuid, one.sop_instance_uid) == (0.0, "", "1.3")


def test_one_whose_stability_orthanc_does_not_say_is_in_the_way_of_no_other(tmp_path):
    with stub({"GET /series/1": 500, "GET /series/2": {"IsStable": True}}) as server:
        assert OrthancSource(OrthancRest(server.url), tmp_path).stable(["1", "2"]) == ["2"]


def test_attributes_that_are_not_there_are_not_empty(tmp_path):
    """A rule would not want an instance whose file is missing, and nobody would know."""
    with stub({}) as server, pytest.raises(OrthancGoneError):
        OrthancSource(OrthancRest(server.url), tmp_path).attributes("1")


def test_a_disk_that_gives_an_error_leaves_it_to_orthanc(tmp_path):
    file = "01234567-89ab-cdef-0123-456789abcdef"
    (tmp_path / "01" / "23").mkdir(parents=True)
    (tmp_path / "01" / "23" / file).symlink_to("/proc/self/mem")  # empty, and read with EIO
    with (
        stub({"GET /instances/1/file": b"dicm"}) as server,
        OrthancSource(OrthancRest(server.url), tmp_path).read("1", file, 0) as pieces,
    ):
        assert b"".join(pieces) == b"dicm"


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_digest_of_a_large_file_comes_further_with_each_piece(tmp_path, is_stored):
    """A file of gigabytes takes longer than a step may without that."""
    file, content = "01234567-89ab-cdef-0123-456789abcdef", bytes(128) + b"DICM" + bytes(1_000_000)
    if is_stored:
        (tmp_path / "01" / "23").mkdir(parents=True)
        (tmp_path / "01" / "23" / file).write_bytes(content)
    with stub({} if is_stored else {"GET /instances/1/file": content}) as server:
        rest, told = OrthancRest(server.url), []
        rest.on_answer = lambda: told.append(1)
        found = OrthancSource(rest, tmp_path).sha256("1", file, len(content))
    assert found == hashlib.sha256(content).hexdigest()
    assert len(told) >= 4


def refusing(odd: set[str], seen: list[int]):
    """An Orthanc that answers 500 to each question for one of these, and knows no instance."""

    def answer(body):
        seen.append(len(body["Resources"]))
        return 500 if odd & {*body["Resources"]} else []

    return {"POST /tools/bulk-content": answer}


def test_one_that_orthanc_refuses_to_describe_hides_no_other(tmp_path):
    names, asked = [str(number) for number in range(200)], []
    with stub(refusing({"0", "77"}, asked)) as server:
        found, refused = OrthancSource(OrthancRest(server.url), tmp_path).describe_each(names)
        assert (found, sorted(refused)) == ([], ["0", "77"])
    assert len(asked) < 40


def test_as_many_as_there_are_in_a_row_hide_no_other(tmp_path):
    names = [str(number) for number in range(8)]
    with stub(refusing({"0", "1", "2", "3"}, [])) as server:
        found, refused = OrthancSource(OrthancRest(server.url), tmp_path).describe_each(names)
        assert (found, sorted(refused)) == ([], ["0", "1", "2", "3"])


@pytest.mark.parametrize("odd", [False, True])
def test_those_that_are_all_of_the_question_are_told_from_an_orthanc_that_refuses(tmp_path, odd):
    names = [str(number) for number in range(5)]
    answers = {
        "GET /statistics": {"CountInstances": 6},
        **{f"GET /instances?since={begin}&limit=5": [*names, "9"] for begin in range(2)},
        **refusing({*names, "9"} if odd else {*names}, []),
    }
    with stub(answers) as server:
        source = OrthancSource(OrthancRest(server.url), tmp_path)
        if odd:
            with pytest.raises(OrthancRefusedError):
                source.describe_each(names)
        else:
            assert sorted(source.describe_each(names)[1]) == names


def test_those_that_are_never_answered_cost_little_time(tmp_path):
    """Each that is asked for alone takes the time limit: some of their portion are left out."""
    names, waits, stop = [str(number) for number in range(450)], [], threading.Event()

    def content(question):
        odd = {"7", "8", "9", "10", "11", "420"} & {*question["Resources"]}
        if odd:
            waits.append(len(question["Resources"]))
            stop.wait(5)
        return []

    answers = {"POST /tools/bulk-content": content, "GET /changes?limit=1": {}}
    with stub(answers) as server:
        source = OrthancSource(OrthancRest(server.url, timeout=0.3), tmp_path)
        assert source.describe_each(names) == ([], [*names[7:200], "420"])
        assert waits[:8] == [200, 100, 50, 25, 12, 6, 3, 1]
        assert len(waits) < 20
        stop.set()


def test_who_never_answers_is_asked_once_for_each_of_a_few(tmp_path):
    stop = threading.Event()
    answers = {"POST /tools/bulk-content": lambda _: stop.wait(5), "GET /changes?limit=1": {}}
    with stub(answers) as server:
        source = OrthancSource(OrthancRest(server.url, timeout=0.3), tmp_path)
        assert source.describe_each(["1"]) == ([], ["1"])
        assert sum(path.startswith("POST") for path, _, _ in server.requests) == 1
        with pytest.raises(OrthancRefusedError, match="though it does otherwise"):
            source.describe_each(["1", "2", "3", "4"])
        del answers["GET /changes?limit=1"]
        with pytest.raises(OrthancUnavailableError):
            source.describe_each(["1"])
        stop.set()


def test_attributes_and_stability_that_are_not_answered_are_refused():
    """A proxy hangs up; Orthanc is there."""

    def answers(connection, head):
        if b"/changes" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        else:
            connection.close()

    with RawServer(answers) as server:
        source = OrthancSource(OrthancRest(f"http://127.0.0.1:{server.port}"), Path("/nowhere"))
        with pytest.raises(OrthancRefusedError):
            source.attributes("1")
        assert source.stable([str(number) for number in range(50)]) == []
    # Where it hangs up after an answer, it may have ended what was idle: that is asked once more.
    assert len(server.heads) == 2 * (1 + MOST_UNANSWERED) + MOST_UNANSWERED


def test_who_refuses_to_describe_anything_is_not_asked_for_each(tmp_path):
    names, asked = [str(number) for number in range(200)], []
    with stub(refusing({*names}, asked)) as server, pytest.raises(OrthancRefusedError):
        OrthancSource(OrthancRest(server.url), tmp_path).describe_each(names)
    assert len(asked) < 20
    with stub({"POST /tools/bulk-content": 403}) as server, pytest.raises(OrthancRefusedError):
        OrthancSource(OrthancRest(server.url), tmp_path).describe_each(names)
    assert len(server.requests) == 1


def test_each_is_described_where_none_is_refused(source, stored):
    names = [one["ID"] for one in stored]
    found, refused = source.describe_each(names)
    assert {one.orthanc_id for one in found} == {*names}
    assert refused == []
    assert source.describe_each([]) == ([], [])
