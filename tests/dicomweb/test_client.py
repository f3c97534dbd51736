"""The client of a store: against the emulator, and against what is none."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from orthanc_gcp.dicomweb import DicomStore, InstanceResult, InstanceStatus, StoreError
from orthanc_gcp.dicomweb import client as module
from orthanc_gcp.transport import deadlines
from orthanc_gcp.transport.authorization import Authorization
from tests.dicomweb.parts import new_part, part_from, part_of
from tests.emulator.client import make_dicom
from tests.support.raw_server import Forgetful, RawServer, answer, closes, read_body, reset, says

ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n\r\n"
CHUNKED = ENDLESS[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"


# -- Storing ------------------------------------------------------------------------------


def contents(store, part):
    with store.open(*part.uids) as pieces:
        return b"".join(pieces)


def outcomes(stored):
    return [result.status for result in stored.results.values()]


def test_files_of_all_sizes_arrive_as_they_are(store):
    sizes = (0, 10, 65_000, 65_536, 262_144, 700_000, 3_000_000)
    for piece in (1000, 100_000, 1_000_000):
        files = [make_dicom(b"x" * size) for size in sizes]
        parts = [part_of(file, piece) for file in files]
        stored = store.store(parts)
        assert stored.results == {
            part.sop_instance_uid: InstanceResult(InstanceStatus.STORED) for part in parts
        }
        assert stored.bytes_sent > sum(len(file) for file in files)
        assert [contents(store, part) for part in parts] == files


def test_the_same_instance_again_is_a_conflict_and_replaced_on_demand(client, store):
    one, two = make_dicom(), make_dicom()
    store.store([part_of(one)])
    other = make_dicom(
        b"other",
        **{
            name: getattr(part_of(one), field)
            for name, field in (
                ("StudyInstanceUID", "study_instance_uid"),
                ("SeriesInstanceUID", "series_instance_uid"),
                ("SOPInstanceUID", "sop_instance_uid"),
            )
        },
    )
    assert outcomes(store.store([part_of(one)])) == [InstanceStatus.CONFLICT]
    mixed = store.store([part_of(other), part_of(two)])
    assert mixed.results == {
        part_of(one).sop_instance_uid: InstanceResult(
            InstanceStatus.CONFLICT, "already exists", 272
        ),
        part_of(two).sop_instance_uid: InstanceResult(InstanceStatus.STORED),
    }
    assert contents(store, part_of(one)) == one
    newer = DicomStore(client.web.replace("/v1/", "/v1beta1/"), lambda: Authorization(client.token))
    assert outcomes(newer.store([part_of(other)], replace=True)) == [InstanceStatus.STORED]
    assert contents(store, part_of(one)) == other


def test_a_file_that_is_none_is_invalid(store):
    """The store cannot name it: it is the one that is left over."""
    good, bad = new_part(), part_from([b"no DICOM"], 8)
    stored = store.store([good, bad])
    assert outcomes(stored) == [InstanceStatus.STORED, InstanceStatus.INVALID]
    assert stored.results["1.2.3"].detail.startswith("invalid DICOM instance")


def test_a_file_with_other_uids_than_announced_is_not_acknowledged(store):
    part = new_part()
    stored = store.store([replace(part, sop_instance_uid="1.2.3")])
    assert outcomes(stored) == [InstanceStatus.UNACKNOWLEDGED]
    (result,) = stored.results.values()
    assert "does not name it, but another one, which nobody sent" in result.detail
    elsewhere = new_part()
    stored = store.store([replace(elsewhere, series_instance_uid="1.2.3")])
    assert outcomes(stored) == [InstanceStatus.UNACKNOWLEDGED]
    assert "another study or series" in stored.results[elsewhere.sop_instance_uid].detail


def test_a_request_has_each_instance_once(store):
    part = new_part()
    with pytest.raises(ValueError, match="of their own"):
        store.store([part, replace(part, series_instance_uid="1.2.3")])
    with pytest.raises(ValueError, match="of their own"):
        store.store([])


def test_several_threads_share_one_client(store):
    """Each gets the answers to its own requests."""
    batches = [[new_part(b"x" * 100_000) for _ in range(5)] for _ in range(24)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(store.store, batches))
    for batch, stored in zip(batches, answers, strict=True):
        assert stored.results == {
            part.sop_instance_uid: InstanceResult(InstanceStatus.STORED) for part in batch
        }


# -- Searching and reading ----------------------------------------------------------------


def client(server, **options):
    return DicomStore(server.url, lambda: Authorization("ya29.secret"), **{"timeout": 2, **options})


def failure(call, *said):
    with RawServer(says(*said)) as server, pytest.raises(StoreError) as caught:
        call(client(server))
    return caught.value


def searching(store):
    return list(store.instances("1.2"))


def reading(store):
    with store.open("1", "2", "3") as pieces:
        return b"".join(pieces)


def metadata(store):
    return store.metadata("1", "2", "3")


def test_search_in_pages(store):
    parts = [new_part(StudyInstanceUID="1.2.3", SeriesInstanceUID=f"1.2.{n % 2}") for n in range(7)]
    store.store(parts)
    uids = {part.uids for part in parts}
    for page in (1, 2, 7, 5000):
        found = list(store.instances("1.2.3", page=page))
        assert len(found) == 7
        assert set(found) == uids
    assert set(store.instances("1.2.3", "1.2.1")) == {parts[n].uids for n in (1, 3, 5)}
    assert list(store.instances("1.2.3", instance=parts[3].sop_instance_uid)) == [parts[3].uids]
    assert list(store.instances("1.2.4")) == []


def test_studies_in_pages(store):
    parts = [new_part() for _ in range(5)]
    store.store(parts)
    uids = {part.study_instance_uid for part in parts}
    for page in (1, 2, 5, 1000):
        found = list(store.studies(page=page))
        assert (len(found), set(found)) == (5, uids)
    unnamed = answer(b'[{"00080018": {"vr": "UI", "Value": ["1"]}}]')
    with (
        RawServer(says(unnamed)) as server,
        pytest.raises(StoreError, match="names 1 of its matches by no Study Instance UID"),
    ):
        list(client(server).studies())


def test_metadata(store):
    part = new_part()
    store.store([part])
    found = store.metadata(*part.uids)
    assert found["00080018"]["Value"] == [part.sop_instance_uid]


def test_the_size_that_is_stored(store):
    part = new_part()
    store.store([part])
    assert store.stored_size(*part.uids) == part.size_bytes


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"1",
        b'{"blobStorageInfo": 1}',
        b'{"blobStorageInfo": {"sizeBytes": "x"}}',
        b'{"blobStorageInfo": {"sizeBytes": 1e999}}',
    ],
)
def test_a_size_that_is_not_said(body):
    with RawServer(says(answer(body))) as server:
        assert client(server).stored_size("1", "2", "3") is None


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 204 No Content\r\n\r\n", answer(b""), answer(b"[]"), answer(b" \n")],
    ids=["204", "empty", "list", "blank"],
)
def test_nothing_is_found(said):
    with RawServer(says(said)) as server:
        assert searching(client(server)) == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "does not say where it ends"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "does not say where it ends"),
        (answer(b"[", length=10), "broke off"),
        (answer(b"["), "not JSON"),
        (answer(b"[" * 50_000), "not JSON"),
        (answer(b"7"), "no list of matches"),
        (answer(b'{"00080018": {"Value": ["1"]}}'), "no list of matches"),
        (answer(b'[{"00080018": {}}]'), "names 1 of its matches by no three UIDs"),
    ],
    ids=["endless", "head", "cut", "json", "deep", "number", "object", "unnamed"],
)
def test_what_is_not_taken_for_finding_nothing(said, words):
    assert words in str(failure(searching, said))


TAGS = "0020000D", "0020000E", "00080018"


def found(*instances):
    matches = [
        {tag: {"vr": "UI", "Value": [uid]} for tag, uid in zip(TAGS, uids, strict=True)}
        for uids in instances
    ]
    return answer(json.dumps(matches).encode())


def paging(make):
    """Answers each search with what is made of its number."""
    numbers = itertools.count()

    def behave(connection, _):
        connection.sendall(make(next(numbers)))

    return RawServer(behave)


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_pages_that_come_again_are_given_up(pages):
    with (
        paging(lambda number: found(("1", "2", f"3.{number % pages}"))) as server,
        pytest.raises(StoreError, match="all the same"),
    ):
        list(client(server).instances("1", page=1))
    assert len(server.heads) == pages + 1


def test_a_store_that_knows_neither_limit_nor_offset_is_given_up():
    every = found(*(("1", "2", f"3.{number}") for number in range(5)))
    with (
        paging(lambda _: every) as server,
        pytest.raises(StoreError, match="all the same"),
    ):
        list(client(server).instances("1", page=3))
    assert len(server.heads) == 2


def test_pages_that_do_not_end_are_given_up(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_OFFSET", 30)
    with (
        paging(lambda number: found(("1", "2", f"3.{number}"))) as server,
        pytest.raises(StoreError, match="do not end"),
    ):
        list(client(server).instances("1", page=1))
    assert len(server.heads) == 31


def test_what_is_named_comes_before_the_error_about_the_rest():
    some = json.loads(found(("1", "2", "3"), ("1", "2", "4")).partition(b"\r\n\r\n")[2])
    mixed = answer(json.dumps([None, some[0], {"00080018": "3"}, some[1]]).encode())
    with RawServer(says(mixed)) as server:
        instances = client(server).instances("1")
        assert [next(instances), next(instances)] == [("1", "2", "3"), ("1", "2", "4")]
        with pytest.raises(StoreError, match="names 2 of its matches"):
            next(instances)


def test_files_are_as_they_were_stored(store):
    file = make_dicom(b"x" * 1_234_567)
    part = part_of(file)
    store.store([part])
    with store.open(*part.uids) as pieces:
        got = list(pieces)
    assert b"".join(got) == file
    assert max(map(len, got)) <= 256 * 1024


def test_what_is_asked_for():
    with RawServer(says(answer(b"DICM", kind="application/dicom; transfer-syntax=1.2"))) as server:
        store = client(server)
        with store.open("1", "../2", "3/4?") as pieces:
            assert b"".join(pieces) == b"DICM"
    head = server.heads[0].decode()
    assert head.startswith(
        "GET /stores/s/dicomWeb/studies/1/series/..%2F2/instances/3%2F4%3F HTTP/1.1\r\n"
    )
    assert "\r\nAccept: application/dicom; transfer-syntax=*\r\n" in head
    assert "\r\nAccept-Encoding: identity\r\n" in head
    for nothing in ("", ".", "..", "\ud800"):
        with pytest.raises(StoreError, match="nothing was asked") as caught:
            list(store.instances(nothing))
        assert (caught.value.reason, caught.value.retryable) == ("uid", False)
    assert len(server.heads) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([answer(b"x" * 100, length=200, kind="application/dicom")], "truncated"),
        ([CHUNKED, b"5\r\nabcde\r\n"], "truncated"),
        ([CHUNKED, b"5\r\nabc"], "truncated"),
        ([CHUNKED, b"x\r\nabc"], "truncated"),
        ([ENDLESS, b"abcde"], "protocol"),
        ([ENDLESS[:-2] + b"Content-Length: x\r\n\r\n", b"abcde"], "protocol"),
        ([ENDLESS[:-2] + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"0\r\n\r\n"], "protocol"),
        ([answer(b"abcde", kind="text/html")], "protocol"),
        ([answer(b"abcde", kind="multipart/related; boundary=x")], "protocol"),
        (
            [answer(gzip.compress(b"x"), kind="application/dicom", Content_Encoding="gzip")],
            "protocol",
        ),
        ([answer(b"no", "404 Not Found", kind="text/plain")], "not_found"),
        ([answer(b"", "206 Partial Content", kind="application/dicom")], "protocol"),
    ],
    ids=range(12),
)
def test_what_is_not_a_whole_file(said, reason):
    assert failure(reading, *said).reason == reason


def test_a_chunked_file():
    with RawServer(says(CHUNKED, b"5\r\nabcde\r\n", b"1\r\nf\r\n0\r\n\r\n")) as server:
        assert reading(client(server)) == b"abcdef"


@pytest.mark.parametrize("body", [b"[]", b"{}", b"[1]", b"[{}, {}]"])
def test_what_is_not_the_metadata_of_an_instance(body):
    assert "not the metadata of one" in str(failure(metadata, answer(body)))


def test_a_file_that_is_not_read_to_its_end_spoils_nothing(store):
    part = new_part(b"x" * 5_000_000)
    store.store([part])
    for _ in range(2):
        with store.open(*part.uids) as pieces:
            assert next(pieces)
    assert list(store.instances(part.study_instance_uid)) == [part.uids]


def test_connections_are_kept_and_replaced():
    ports = []
    closed = threading.Event()

    def behave(connection, _):
        ports.append(connection.getpeername()[1])
        connection.sendall(answer(b"[]"))
        if len(ports) == 3:
            connection.close()
            closed.set()

    with RawServer(behave) as server:
        store = client(server)
        for number in range(5):
            assert number != 3 or closed.wait(10)
            assert searching(store) == []
        store.close()
    assert len(set(ports[:3])) == 1
    assert len(set(ports[3:])) == 1
    assert ports[0] != ports[3]


# -- Retrieving several -------------------------------------------------------------------


def retrieved(store, *uids):
    with store.retrieve(*uids) as files:
        return [b"".join(pieces) for pieces in files]


def test_a_study_and_a_series_come_as_they_are(client, store):
    part = part_of(make_dicom())
    same = {"StudyInstanceUID": part.study_instance_uid}
    series = {**same, "SeriesInstanceUID": part.series_instance_uid}
    files = [make_dicom(b"x" * size, **series) for size in (0, 10, 700_000)]
    other = make_dicom(**same)
    store.store([part_of(one) for one in (*files, other)])
    assert sorted(retrieved(store, *part.uids[:2])) == sorted(files)
    assert sorted(retrieved(store, part.study_instance_uid)) == sorted([*files, other])


def test_what_is_not_there_cannot_be_retrieved(store):
    with pytest.raises(StoreError) as raised:
        retrieved(store, "1.2.3")
    assert raised.value.status in (403, 404)
    with pytest.raises(StoreError, match="UID"):
        retrieved(store, "..")


@pytest.mark.parametrize("cut", ["truncate", "resetAnswer"])
def test_an_answer_that_breaks_off_is_no_file(own_client, emulator, cut):
    store = DicomStore(own_client.web, lambda: Authorization(own_client.token))
    part = part_of(make_dicom(b"x" * 300_000))
    store.store([part])
    rule = {"method": "GET", "cut": cut, "afterBytes": 100_000, "count": 1}
    emulator.fault_settings.change(faults=[rule])
    with pytest.raises(StoreError) as raised:
        retrieved(store, part.study_instance_uid)
    assert raised.value.retryable
    assert len(retrieved(store, part.study_instance_uid)) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(b"<p>", kind="text/html"), "protocol"),
        (answer(b"--b\r\n\r\nx\r\n", kind="multipart/related; boundary=b"), "truncated"),
        (answer(b"--b\r\n\r\nx", kind="multipart/related; boundary=b", length=99), "truncated"),
        (answer(b"--b--", kind="multipart/related"), "protocol"),
        (answer(b"{}", "503 No"), "unavailable"),
    ],
)
def test_what_is_no_answer_of_files(said, reason):
    with RawServer(says(said)) as server, pytest.raises(StoreError) as raised:
        retrieved(client(server), "1.2")
    assert raised.value.reason == reason


def test_nothing_is_no_files():
    with RawServer(says(answer(status="204 No Content"))) as server:
        assert retrieved(client(server), "1.2") == []


# -- Connections that were idle -----------------------------------------------------------


def is_forgotten(connection, head):
    """As by a firewall: nothing comes back any more."""
    while connection.recv(65536):
        pass


def closes_after_the_body(connection, head):
    read_body(connection, head)
    closes(connection, head)


def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr(deadlines, "LONGEST_IDLE", 0.0)
    with Forgetful(is_forgotten) as server:
        store = client(server)
        for _ in range(3):
            assert searching(store) == []
        store.close()
    assert server.connections == 3


def resets(connection, _head):
    reset(connection)


@pytest.mark.parametrize("second", [closes, resets])
def test_what_an_idle_connection_did_not_take_is_asked_again_at_once(second):
    with Forgetful(second) as server:
        store = client(server)
        for _ in range(3):
            assert searching(store) == []
        store.close()
    assert server.connections == 3
    assert len(server.heads) == 5


def test_what_an_idle_connection_did_not_take_wholly_is_sent_again_at_once():
    part = part_of(make_dicom(b"x" * 8_000_000))
    with Forgetful(closes) as server:
        store = client(server)
        assert searching(store) == []
        stored = store.store([part])
        store.close()
    assert [one.status for one in stored.results.values()] == [InstanceStatus.UNACKNOWLEDGED]
    assert stored.bytes_sent > 8_000_000
    assert server.connections == 2


def test_what_may_have_been_taken_is_not_sent_twice():
    with Forgetful(closes_after_the_body) as server:
        store = client(server)
        assert searching(store) == []
        with pytest.raises(StoreError, match="without an answer"):
            store.store([part_of(make_dicom())])
        store.close()
    assert len(server.heads) == 2


def test_a_server_that_answers_nothing_at_all_is_not_asked_twice():
    with RawServer(closes) as server:
        store = client(server)
        with pytest.raises(StoreError):
            searching(store)
        store.close()
    assert len(server.heads) == 1
