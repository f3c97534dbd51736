"""What is believed of a store's answers, and what is not."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_gcp.dicomweb import DicomStore, InstanceStatus, StoreError
from orthanc_gcp.dicomweb.store_response import judge
from orthanc_gcp.transport.authorization import Authorization
from tests.dicomweb.parts import part_from
from tests.support.raw_server import RawServer, answer, says

U, V, W = "1.2.826.1", "1.2.826.2", "1.2.826.3"


def ask(said, *uids, **options):
    with RawServer(says(*([said] if isinstance(said, bytes) else said))) as server:
        store = DicomStore(server.url, lambda: Authorization("ya29.secret"), timeout=5, **options)
        try:
            return store.store([part_from([b"x" * 100], 100, uid) for uid in uids or (U, V)])
        finally:
            store.close()


def item(uid, **more):
    return {"00081155": {"vr": "UI", "Value": [uid]}, **more}


def failure(uid, detail="", code=272):
    return {
        **(item(uid) if uid else {}),
        "00081197": {"vr": "US", "Value": [code]},
        **({"00091097": {"vr": "LT", "Value": [detail]}} if detail else {}),
    }


def document(stored=(), failed=()):
    fields = {}
    if failed:
        fields["00081198"] = {"vr": "SQ", "Value": list(failed)}
    if stored:
        fields["00081199"] = {"vr": "SQ", "Value": list(stored)}
    return json.dumps(fields).encode()


def outcomes(said, *uids):
    return {uid: result.status.value for uid, result in ask(said, *uids).results.items()}


def both(outcome):
    return {U: outcome, V: outcome}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[1, 2]",
        b'{"00081199": {"vr": "SQ"}}',
        b'{"00081199": {"vr": "SQ", "Value": ["1.2.826.1"]}}',
        b'{"00081199": {"vr": "SQ", "Value": [{"00081155": "1.2.826.1"}]}}',
        b'{"00081199": [{"00081155": {"Value": ["1.2.826.1"]}}]}',
        document([item(U), item(V)])[:-1],
        b"\xff" + document([item(U), item(V)]),
        b"[" * 50_000,
        b"<html>OK</html>",
        b"<NativeDicomModel>",
        b"<html>" * 1000,
    ],
    ids=range(15),
)
def test_an_answer_that_names_nothing_acknowledges_nothing(body):
    assert outcomes(answer(body)) == both("unacknowledged")
    with pytest.raises(StoreError, match="409 and names no instance") as caught:
        outcomes(answer(body, "409 Conflict"))
    assert (caught.value.reason, caught.value.status) == ("protocol", 409)


def test_a_head_that_is_cut_acknowledges_nothing():
    assert outcomes(b"HTTP/1.1 200 OK\r\nContent-Le") == both("unacknowledged")


def test_no_content_acknowledges_nothing():
    assert outcomes(b"HTTP/1.1 204 No Content\r\n\r\n") == both("unacknowledged")


def test_each_instance_gets_its_own():
    said = document([item(U)], [failure(V, "already exists")])
    for status in ("200 OK", "202 Accepted", "409 Conflict"):
        assert outcomes(answer(said, status)) == {U: "stored", V: "conflict"}
    assert outcomes(answer(document([item(U)]))) == {U: "stored", V: "unacknowledged"}
    assert outcomes(answer(b"[" + document([item(U)]) + b"]"), U) == {U: "stored"}


def test_who_is_in_both_lists_is_not_stored():
    said = document([item(U), item(V)], [failure(V, "quota of something")])
    results = ask(answer(said, "409 Conflict")).results
    assert results[U].status is InstanceStatus.STORED
    assert results[V].status is InstanceStatus.OTHER
    assert results[V].detail == "the store names it as stored and as failed: quota of something"


WARNING = {"00081196": {"vr": "US", "Value": [0xB000]}}


def warned(said):
    results = ask(said).results
    assert {one.status for one in results.values()} == {InstanceStatus.STORED}
    return {uid for uid, one in results.items() if one.warned}


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted"])
def test_what_is_stored_with_a_warning_may_be_other_data(status):
    assert warned(answer(document([item(U, **WARNING), item(V)]), status)) == {U}
    assert warned(answer(document([item(U), item(U, **WARNING), item(V)]), status)) == {U}
    empty = {"00081196": {"vr": "US"}}
    assert warned(answer(document([item(U, **empty), item(V)]), status)) == set()


def test_uids_that_nobody_sent():
    stored = ask(answer(document([item("1.9"), item(U)], [failure("1.8")])))
    assert {uid: each.status.value for uid, each in stored.results.items()} == {
        U: "stored",
        V: "unacknowledged",
    }
    assert "does not name it, but 2 others, which nobody sent" in stored.results[V].detail


def test_where_it_lies_matters():
    url = "https://healthcare.googleapis.com/v1/x/dicomWeb/studies/{}/series/{}/instances/{}"

    def at(*path):
        return item(U, **{"00081190": {"vr": "UR", "Value": [url.format(*path)]}})

    assert outcomes(answer(document([at("1", "1.2", U)])), U) == {U: "stored"}
    assert outcomes(answer(document([at("1", "1.3", U)])), U) == {U: "unacknowledged"}
    assert outcomes(answer(document([at("1", "1.3", U), at("1", "1.2", U)])), U) == {
        U: "unacknowledged"
    }


def test_uids_that_an_address_cannot_show_as_they_are():
    url = "https://healthcare.googleapis.com/v1/x/dicomWeb/studies/1/series/1.2/instances/a%2Fb%20c"
    said = document([item("a/b c", **{"00081190": {"vr": "UR", "Value": [url]}})])
    assert outcomes(answer(said), "a/b c") == {"a/b c": "stored"}


@pytest.mark.parametrize(
    ("detail", "code", "outcome"),
    [
        ("already exists", 272, "conflict"),
        ("Instance ALREADY EXISTS", 272, "conflict"),
        ("files differ (checksum mismatch)", 272, "conflict"),
        ("invalid DICOM instance: no preamble", 272, "invalid"),
        ("something new", 272, "other"),
        ("something new", 0x0111, "other"),
        ("", 272, "other"),
        ("", 0x0111, "conflict"),
        ("", 0xA700, "busy"),
        ("", 0xA900, "invalid"),
        ("", 0xC000, "invalid"),
        ("", 0x0122, "invalid"),
        ("", "x", "other"),
    ],
)
def test_why_an_instance_failed(detail, code, outcome):
    results = ask(answer(document((), [failure(U, detail, code)]), "409 Conflict"), U).results
    assert results[U].status.value == outcome
    assert results[U].detail == detail
    assert results[U].failure_reason == (code if isinstance(code, int) else None)


def test_words_of_the_store_are_bounded_and_of_one_line():
    words = "invalid\nvalue\x1b[1m Doe^John at (0010,0010) " + "is too large " * 5000
    results = ask(answer(document((), [failure(U, words)])), U).results
    assert results[U].detail.startswith("invalid … at (0010,0010) is too large is")
    assert len(results[U].detail) <= 310


def test_words_that_are_all_of_a_patient_leave_the_code():
    for code, shown in ((272, "failure reason 0110"), ("x", "failure reason of its own")):
        results = ask(answer(document((), [failure(U, "Doe^John 1970", code)])), U).results
        assert results[U].detail == shown


def test_failures_without_a_name():
    """They are of those that are left over, if there are as many and all of one kind."""
    invalid = failure("", "invalid DICOM instance")
    assert outcomes(answer(document([item(U)], [invalid]))) == {U: "stored", V: "invalid"}
    assert outcomes(answer(document((), [invalid, invalid]))) == both("invalid")
    assert outcomes(answer(document((), [invalid]))) == both("unacknowledged")
    assert outcomes(answer(document((), [invalid, failure("", "?")]))) == both("unacknowledged")
    assert outcomes(answer(document([item(U), item(V)], [invalid]))) == both("stored")


XML = f"""<?xml version="1.0"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models">
<DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence"><Item number="1">
<DicomAttribute tag="00081197" vr="US"><Value number="1">272</Value></DicomAttribute>
<DicomAttribute tag="00090097" vr="LT" privateCreator="GOOGLE"><Value number="1">already exists
</Value></DicomAttribute>
<DicomAttribute tag="00081155" vr="UI"><Value number="1">{V}</Value></DicomAttribute>
</Item></DicomAttribute>
<DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence"><Item number="1">
<DicomAttribute tag="00081155" vr="UI"><Value number="1">{U}</Value></DicomAttribute>
</Item></DicomAttribute></NativeDicomModel>""".encode()


def test_xml():
    said = answer(XML, "409 Conflict", kind="application/dicom+xml")
    assert outcomes(said) == {U: "stored", V: "conflict"}


def test_xml_with_entities_is_not_read():
    trap = XML.replace(b"<Native", b'<!DOCTYPE x [<!ENTITY a "1.2.826.1">]><Native', 1)
    assert outcomes(answer(trap)) == both("unacknowledged")


TRAP = XML.decode().replace(
    "<Native", '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Native', 1
)


def declared(encoding):
    return TRAP.replace('"1.0"?', f'"1.0" encoding="{encoding}"?', 1)


@pytest.mark.parametrize(
    "trap",
    [
        *(TRAP.encode(name) for name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")),
        *(TRAP.encode(name) for name in ("utf-32", "utf-32-le", "utf-32-be", "cp037")),
        *(declared(name).encode(name) for name in ("utf-16", "utf-32", "cp037", "cp500")),
        declared("UTF-7").replace("<!", "+ADw-+ACE-").encode(),
        declared("cp037").replace("<!", "L\x5a").encode(),
        b" \n" + TRAP.encode("utf-16-le"),
        TRAP.replace("<!", "<\0!").encode(),
        declared("no-such-encoding").encode(),
    ],
    ids=range(17),
)
def test_xml_with_entities_is_not_read_in_any_encoding(trap):
    assert outcomes(answer(trap)) == both("unacknowledged")


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-7", "utf-16", "cp037", "no-such-encoding"])
def test_xml_is_read_as_utf_8_whatever_it_says_of_itself(encoding):
    said = XML.replace(b'"1.0"?', f'"1.0" encoding="{encoding}"?'.encode(), 1)
    assert outcomes(answer(b"\xef\xbb\xbf" + said)) == {U: "stored", V: "conflict"}


@pytest.mark.parametrize("said", [b"<" * 60_000, b"<a>" * 20_000, b"<a " + b"b='' " * 10_000, b"<"])
def test_what_is_no_xml(said):
    assert outcomes(answer(said)) == both("unacknowledged")


def test_chunked_and_compressed_answers():
    said = document([item(U), item(V)])
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    halves = [b"%x\r\n%b\r\n" % (len(half), half) for half in (said[:30], said[30:])]
    assert outcomes([chunked, *halves, b"0\r\n\r\n"]) == both("stored")
    assert outcomes(answer(gzip.compress(said), Content_Encoding="gzip")) == both("stored")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(document([item(U)]), length=5000), "truncated"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", "truncated"),
        (b"220 smtp.example ESMTP\r\n", "network"),
        (b"", "network"),
        (answer(b"x" * 80_000), "network"),
        (answer(gzip.compress(b"x" * 80_000_000), Content_Encoding="gzip"), "network"),
        (answer(b"no gzip", Content_Encoding="gzip"), "network"),
    ],
    ids=["length", "chunked", "smtp", "nothing", "long", "bomb", "no-gzip"],
)
def test_answers_that_are_none(said, reason):
    with pytest.raises(StoreError) as caught:
        ask(said, U)
    assert (caught.value.reason, caught.value.retryable) == (reason, True)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([U, V]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["00081199", "00081198", "00081155", "00081190", "Value", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(JSON_VALUES)
def test_whatever_the_answer_only_what_it_names_counts(value):
    parts = [part_from([b""], 0, uid) for uid in (U, V, W)]
    text = json.dumps(value)
    results = judge(parts, text.encode())
    assert set(results) == {U, V, W}
    for uid, result in results.items():
        assert result.status is not InstanceStatus.STORED or f'"{uid}"' in text
    assert results[W].status is not InstanceStatus.STORED


@given(st.binary(max_size=300))
def test_whatever_the_bytes(data):
    results = judge([part_from([b""], 0, U)], data)
    assert results[U].status is InstanceStatus.UNACKNOWLEDGED
