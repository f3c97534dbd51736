"""What the plugin asks for Orthanc, over HTTP."""

from __future__ import annotations

import base64
import json

import pytest

from orthanc_gcp.errors import StoreError
from orthanc_gcp.gateway.for_orthanc.find import FindAnswers
from orthanc_gcp.gateway.for_orthanc.moves import MoveState
from orthanc_gcp.gateway.for_orthanc.service import ForOrthanc
from orthanc_gcp.gateway.request import IdentifierError
from orthanc_gcp.transport.unix_socket import pool_of
from orthanc_gcp.worker.gateway.api import application
from orthanc_gcp.worker.listener import Listener
from orthanc_gcp.worker.private_socket import private_socket

FIND = {"Query": {"00100020": "4711"}, "CallingAet": "WS", "CalledAet": "O"}
MOVE = {
    "Level": "STUDY",
    "StudyInstanceUID": "1.2",
    "OriginatorAET": "WS",
    "SourceAET": "O",
    "TargetAET": "D",
    "OriginatorID": 7,
}


class Answers:
    """Says what a test wants, and what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def _said(self, *asked):
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    __call__ = begin = state = end = _said


@pytest.fixture
def ask():
    """Asks what answers as a test says: the status, and the answer from JSON."""
    answers = Answers(None)
    with private_socket() as listening:
        service = ForOrthanc(answers, answers)
        listener = Listener(application(dict, "hush", service), listening.socket)
        listener.start()

        def asking(answer, method, path, body=None):
            answers.answer = answer
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            with pool_of(listening.place, 1) as http:
                headers = {"Authorization": "Bearer hush"}
                said = http.request(method, f"/gcp/gateway/{path}", body=data, headers=headers)
                return said.status, said.json()

        asking.asked = answers.asked
        yield asking
        listener.stop()


def test_a_find(ask):
    answer = ask(FindAnswers([b"a file"], is_whole=False), "POST", "find", FIND)
    assert answer == (200, {"Answers": [base64.b64encode(b"a file").decode()], "Whole": False})
    assert ask.asked == [({"00100020": "4711"}, "WS", "O")]


def test_one_that_fails(ask, caplog):
    for error, status, words in (
        (IdentifierError("no level"), 400, "no level"),
        (StoreError("Orthanc: away", reason="unavailable"), 503, "away"),
        (ZeroDivisionError("4711"), 500, "unexpectedly"),
    ):
        found, answer = ask(error, "POST", "find", FIND)
        assert (found, words in answer["Message"]) == (status, True)
    assert "4711" not in caplog.text


def test_what_is_no_request(ask):
    for body in (
        b"",
        b"[]",
        b'{"Query": []}',
        b"\xff",
        b'{"Query": {}, "CallingAet": 3, "OriginatorID": 1, "Level": []}',
    ):
        assert ask([], "POST", "find", body)[0] == 400
        assert ask([], "POST", "moves", body)[0] == 400
    assert ask.asked == []


def test_a_move(ask):
    assert ask("name", "POST", "moves", MOVE) == (200, {"Move": "name"})
    ((asked,),) = ask.asked
    named = (asked.level, asked.calling, asked.called, asked.destination, asked.message)
    assert named == ("STUDY", "WS", "O", "D", 7)
    assert asked.identifier["StudyInstanceUID"] == "1.2"

    state = MoveState(3, 1, 1, is_over=False)
    shown = {"Size": 3, "Completed": 1, "Failed": 1, "Over": False, "Refused": ""}
    assert ask(state, "GET", "moves/name?after=1") == (200, shown)
    assert ask.asked[-1][:2] == ("name", 1)
    ask(state, "GET", "moves/name?after=x")
    assert ask.asked[-1][:2] == ("name", -1)
    assert ask(None, "DELETE", "moves/name")[0] == 200
    assert ask(None, "GET", "moves/name")[0] == 404
    assert ask(None, "POST", "moves", MOVE)[0] == 503
