"""C-STORE on the wire, as pynetdicom reads it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from orthanc_gcp.gateway.retrieve import store_request
from orthanc_gcp.gateway.retrieve.file_meta import FileMeta
from orthanc_gcp.gateway.retrieve.store_request import (
    Originator,
    StoreResponse,
    command,
    read_response,
    writes,
)
from tests.gateway.retrieve.scp import CT, EXPLICIT

META = FileMeta(CT, "1.2.345", EXPLICIT)


def pdus(data):
    while data:
        length = struct.unpack_from(">L", data, 2)[0]
        yield data[: 6 + length]
        data = data[6 + length :]


def message(written):
    """What pynetdicom makes of it."""
    made = DIMSEMessage()
    for one in pdus(written):
        decoded = P_DATA_TF()
        decoded.decode(one)
        made.decode_msg(decoded.to_primitive())
    return made


@pytest.mark.parametrize("originator", [None, Originator("WS", 7)])
def test_a_request(originator):
    written = b"".join(writes(5, command(9, META, originator), iter((b"ab", b"cd")), 16384))
    found = message(written)
    assert isinstance(found, C_STORE_RQ)
    primitive = found.message_to_primitive()
    assert (primitive.MessageID, primitive.AffectedSOPInstanceUID) == (9, "1.2.345")
    assert primitive.AffectedSOPClassUID == CT
    assert primitive.DataSet.getvalue() == b"abcd"
    assert primitive.MoveOriginatorMessageID == (7 if originator else None)
    assert primitive.MoveOriginatorApplicationEntityTitle == ("WS" if originator else None)
    length = struct.unpack_from("<L", found.encoded_command_set.getvalue(), 8)[0]
    assert length == len(found.encoded_command_set.getvalue()) - 12


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=300), max_size=8),
    longest=st.one_of(st.just(0), st.integers(1, 400)),
)
def test_fragments(pieces, longest):
    """No PDU is longer than the peer takes, unless it takes none at all; one is the last."""
    content = b"".join(pieces)
    found = list(pdus(b"".join(writes(1, b"", iter(pieces), longest))))
    assert all(len(one) - 6 <= max(longest, 64) or not longest for one in found)
    flags = [one[11] for one in found]
    assert flags[0] == 3
    assert set(flags[1:-1]) <= {0}
    assert flags[-1] == 2
    assert b"".join(one[12:] for one in found) == content


def test_several_pdus_are_one_write(monkeypatch):
    monkeypatch.setattr(store_request, "WRITE", 1000)
    written = list(writes(1, b"c" * 50, iter((bytes(5000),)), 200))
    assert len(written) < 8
    assert sum(len(list(pdus(one))) for one in written) == 27


def response(**values):
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo = 9
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2"
    for name, value in values.items():
        setattr(primitive, name, value)
    made = C_STORE_RSP()
    made.primitive_to_message(primitive)
    made.command_set.CommandGroupLength = 0
    encoded = encode(made.command_set, True, True)
    assert encoded is not None
    return encoded


def test_a_response():
    assert read_response(response(Status=0)) == StoreResponse(9, 0)
    full = response(Status=0xA700, ErrorComment="full")
    assert read_response(full) == StoreResponse(9, 0xA700, "full")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\xff" * 40,
        command(9, META, None),
        response(Status=0)[:-3],
        response(Status=0).replace(b"\0\0\0\x09", b"\0\0\1\x09"),
    ],
    ids=len,
)
def test_what_is_no_response(content):
    assert read_response(content) is None


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=80))
def test_any_bytes(content):
    read_response(content)
