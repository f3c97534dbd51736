"""A-ASSOCIATE, as pynetdicom reads and writes it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification
from pynetdicom.presentation import build_context

from orthanc_gcp.gateway.retrieve.associate_pdus import (
    Accepted,
    MalformedPduError,
    associate_request,
    read_accept,
)
from tests.gateway.retrieve.scp import CT, EXPLICIT, IMPLICIT, SECONDARY

PROPOSED = [(CT, EXPLICIT), (CT, IMPLICIT), (SECONDARY, EXPLICIT)]
IMPLEMENTATION = ("1.2.826.0.1", "ORTHANC-GCP")


def test_a_request():
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(associate_request("DEST", "GOOGLE", PROPOSED, 16384, IMPLEMENTATION))
    found = decoded.to_primitive()
    assert (found.called_ae_title, found.calling_ae_title) == ("DEST", "GOOGLE")
    assert found.maximum_length_received == 16384
    assert [
        (one.context_id, str(one.abstract_syntax), [str(each) for each in one.transfer_syntax])
        for one in found.presentation_context_definition_list
    ] == [(1, CT, [EXPLICIT]), (3, CT, [IMPLICIT]), (5, SECONDARY, [EXPLICIT])]


def acceptance(results, maximum=16384):
    made = A_ASSOCIATE()
    made.application_context_name = "1.2.840.10008.3.1.1.1"
    made.calling_ae_title, made.called_ae_title = "A", "B"
    made.result, made.result_source = 0, 1
    contexts = []
    for number, result in results.items():
        one = build_context(CT, [EXPLICIT])
        one.context_id, one.result = number, result
        contexts.append(one)
    made.presentation_context_definition_results_list = contexts
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum
    made.user_information = [length]
    return A_ASSOCIATE_AC(made).encode()[6:]


def test_an_answer():
    assert read_accept(acceptance({1: 0, 3: 4, 5: 0})) == Accepted(frozenset({1, 5}), 16384)
    assert read_accept(acceptance({1: 3}, 0)) == Accepted(frozenset(), 0)


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_an_answer_that_was_cut(cut):
    with pytest.raises(MalformedPduError):
        read_accept(acceptance({1: 0})[:-cut])


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes(content):
    with suppress(MalformedPduError):
        read_accept(content)


def test_more_contexts_than_there_can_be():
    many = [(f"1.2.{number}", EXPLICIT) for number in range(300)]
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(associate_request("D", "G", many, 0, IMPLEMENTATION))
    assert len(decoded.to_primitive().presentation_context_definition_list) == 128
