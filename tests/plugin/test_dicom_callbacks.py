"""What Orthanc's DICOM server is answered, whatever its gateway does."""

# ruff: noqa: N802 -- the names are Orthanc's

from __future__ import annotations

import base64
import json

import pytest

from orthanc_gcp.errors import OrthancUnavailableError, WorkerUnavailableError
from orthanc_gcp.orthanc.rest import OrthancRest
from orthanc_gcp.plugin import dicom_callbacks
from orthanc_gcp.plugin.dicom_callbacks import DicomCallbacks, UnansweredError
from orthanc_gcp.plugin.gateway_client import GatewayClient
from tests.orthanc.orthanc_stub import stub

REQUEST = {
    "Level": "STUDY",
    "PatientID": "",
    "AccessionNumber": "",
    "StudyInstanceUID": "1.2",
    "SeriesInstanceUID": "",
    "SOPInstanceUID": "",
    "OriginatorAET": "WS",
    "SourceAET": "O",
    "TargetAET": "DEST",
    "OriginatorID": 7,
}
THERE = {
    "s": {"ID": "s", "Type": "Study", "Series": ["x"]},
    "x": {"ID": "x", "Type": "Series", "Instances": ["i"]},
    "i": {"ID": "i", "Type": "Instance", "MainDicomTags": {"StudyInstanceUID": "1.2"}},
}
SENT = {
    "GET /modalities?expand": {"d": {"AET": "dest "}},
    "POST /tools/lookup": [{"ID": "s", "Type": "Study", "Path": "/studies/s"}],
    "POST /tools/bulk-content": lambda question: [THERE[one] for one in question["Resources"]],
    "POST /modalities/d/store": {"ID": "j"},
    "GET /jobs/j": {"State": "Success"},
}


class Module:
    """``import orthanc``, as far as this is about."""

    class CreateDicomFlags:
        NONE = 0

    def __init__(self):
        self.registered = {}

    def CreateDicom(self, text, _pixels, _flags):
        return b"made of " + text.encode()

    def RegisterFindCallback(self, callback):
        self.registered["find"] = callback

    def RegisterMoveCallback(self, callback):
        self.registered["move"] = callback


class NewModule(Module):
    def RegisterMoveCallback2(self, *callbacks):
        self.registered["move2"] = callbacks


class Gateway(GatewayClient):
    """Answers what a test says: a status and JSON, or an error."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def call(self, method, parts, query=None, body=b"", timeout=None):
        assert timeout
        self.asked.append((method, *parts, dict(query or {}), body and json.loads(body)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Query:
    TAGS = (
        ((0x0008, 0x0052), "STUDY"),
        ((0x0010, 0x0020), "P*"),
        ((0x0020, 0x000D), ""),
        ((0x7FE0, 0x0010), OSError("Internal error")),
    )

    def GetFindQuerySize(self):
        return len(self.TAGS)

    def GetFindQueryTagGroup(self, number):
        return self.TAGS[number][0][0]

    def GetFindQueryTagElement(self, number):
        return self.TAGS[number][0][1]

    def GetFindQueryValue(self, number):
        value = self.TAGS[number][1]
        if isinstance(value, Exception):
            raise value
        return value


class Found(list):
    FindAddAnswer = list.append
    is_whole = True

    def FindMarkIncomplete(self):
        self.is_whole = False


def callbacks(gateway=None, url=None):
    def plain(aet):
        return aet.strip().upper()

    def local():
        if url is None:
            raise OrthancUnavailableError("it is away")
        return OrthancRest(url)

    return DicomCallbacks(Module(), lambda: gateway, local, plain)


def state(size, completed, over=False, failed=0, refused=""):
    shown = {"Size": size, "Completed": completed, "Failed": failed, "Over": over}
    return 200, {**shown, "Refused": refused}


def test_what_each_version_is_given():
    old, new = Module(), NewModule()
    kept = DicomCallbacks(old, lambda: None, lambda: None, str).register()
    assert kept == (old.registered["find"], old.registered["move"])
    kept = DicomCallbacks(new, lambda: None, lambda: None, str).register()
    assert kept == (new.registered["find"], *new.registered["move2"])


def test_a_script_that_was_there_before(caplog):
    class Taken(Module):
        def RegisterFindCallback(self, _callback):
            raise RuntimeError("Can only register one Python C-FIND SCP callback")

    taken = Taken()
    (kept,) = DicomCallbacks(taken, lambda: None, lambda: None, str).register()
    assert taken.registered == {"move": kept}
    assert "AnswerForOrthanc cannot be followed" in caplog.text


def test_a_find():
    whole = {"Answers": [base64.b64encode(b"file").decode()], "Whole": True}
    gateway, found = Gateway((200, whole)), Found()
    callbacks(gateway).find(found, Query(), "WS", "O")
    assert found == [b"file"]
    assert found.is_whole
    part = Found()
    callbacks(Gateway((200, {**whole, "Whole": False}))).find(part, Query(), "WS", "O")
    assert (part, part.is_whole) == ([b"file"], False)
    ((*_, asked),) = gateway.asked
    assert asked["Query"] == {"00080052": "STUDY", "00100020": "P*", "0020000D": "", "7FE00010": ""}
    for answer in ((400, {"Message": "no level"}), (200, {"Answers": 3})):
        with pytest.raises(UnansweredError):
            callbacks(Gateway(answer)).find(Found(), Query(), "WS", "O")


@pytest.mark.parametrize(
    "gateway", [None, Gateway(WorkerUnavailableError("x")), Gateway((503, {}))]
)
def test_a_find_without_a_gateway(gateway):
    entry = {"Type": "Study", "RequestedTags": {}, "MainDicomTags": {"0020,000d": {"Value": "1"}}}
    with stub({"POST /tools/find": [entry]}) as server:
        found = Found()
        callbacks(gateway, server.url).find(found, Query(), "WS", "O ")
    (answer,) = found
    assert not found.is_whole, "nobody knows what the store has"
    assert json.loads(answer.removeprefix(b"made of ")) == {
        "0020,000D": "1",
        "0008,0052": "STUDY",
        "0008,0054": "O",
        "0008,0005": "ISO_IR 192",
    }
    with pytest.raises(UnansweredError, match="it is away"):
        callbacks(gateway).find(Found(), Query(), "WS", "O")


def test_a_move_whose_failures_come_last():
    begun = (200, {"Move": "m"})
    progress = [state(None, 0), state(3, 0), state(3, 2), state(3, 2), state(3, 2, True, 1)]
    gateway = Gateway(begun, *progress, (200, {}))
    going = callbacks(gateway).begin(**REQUEST)
    assert DicomCallbacks.size(going) == 3
    DicomCallbacks.step(going)
    DicomCallbacks.step(going)
    with pytest.raises(UnansweredError, match="1 were not sent"):
        DicomCallbacks.step(going)
    DicomCallbacks.end(going)
    assert gateway.asked[0][-1] == REQUEST
    assert [one[4]["after"] for one in gateway.asked[1:-1]] == ["-1", "-1", "0", "1", "2"]
    assert gateway.asked[-1][:3] == ("DELETE", "gateway", "moves")


def test_a_move_that_is_one_step():
    gateway = Gateway((200, {"Move": "m"}), state(2, 0), state(2, 1), state(2, 2, True), (200, {}))
    callbacks(gateway).move(**REQUEST)
    assert gateway.asked[-1][0] == "DELETE"


def test_moves_that_cannot_be(monkeypatch):
    monkeypatch.setattr(dicom_callbacks, "SIZE_WITHIN", 0.01)
    begun = (200, {"Move": "m"})
    for answers, words in (
        ((begun, state(0, 0, True, refused="no modality")), "no modality"),
        ((begun, state(None, 0), state(None, 0), state(None, 0)), "takes too long"),
        (((400, {"Message": "odd"}),), "odd"),
    ):
        with pytest.raises(UnansweredError, match=words):
            callbacks(Gateway(*answers)).begin(**REQUEST)
    # It dies on the way.
    away = WorkerUnavailableError("it does not run")
    with pytest.raises(UnansweredError, match="does not run"):
        callbacks(Gateway(begun, state(1, 0), away)).move(**REQUEST)


def test_a_move_of_which_the_gateway_says_nothing_is_ended_there():
    """What Orthanc holds is sent in its place, and not by both."""
    gateway = Gateway((200, {"Move": "m"}), WorkerUnavailableError("it hangs"), (200, {}))
    with stub(SENT) as server:
        going = callbacks(gateway, server.url).begin(**REQUEST)
        going.step()
        assert ("POST /modalities/d/store" in [one[0] for one in server.requests]) is True
    assert gateway.asked[-1][:4] == ("DELETE", "gateway", "moves", "m")


def test_a_move_without_a_gateway():
    with stub(SENT) as server:
        going = callbacks(None, server.url).begin(**REQUEST)
        assert going.size == 2
        going.step()
        with pytest.raises(UnansweredError, match="only the store has"):
            going.step()
        going.end()
    with pytest.raises(UnansweredError, match="it is away"):
        callbacks().begin(**REQUEST).step()
