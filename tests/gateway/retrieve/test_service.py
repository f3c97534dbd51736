"""C-MOVE and C-GET as a whole: what arrives, and what is said of it."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.uid import generate_uid

from orthanc_gcp.gateway.retrieve import service
from tests.emulator.client import make_dicom, read
from tests.gateway.retrieve.scp import (
    CT,
    EXPLICIT,
    IMPLICIT,
    SECONDARY,
    data_set_of,
    receiving,
)
from tests.gateway.scu import (
    MOVE,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    associate,
    keys,
    move,
    run,
)
from tests.support.orthanc import free_port

STUDY, OTHER, SERIES, IMAGE = (generate_uid() for _ in range(4))
PLAIN = {SECONDARY: [EXPLICIT, IMPLICIT], CT: [EXPLICIT, IMPLICIT]}


@pytest.fixture
def files(client):
    """Two studies of one patient: one of two series, one of them with three images."""
    one = {"PatientID": "A1", "StudyInstanceUID": STUDY}
    made = [
        make_dicom(SeriesInstanceUID=SERIES, SOPInstanceUID=IMAGE, **one),
        make_dicom(bytes(70_000), SeriesInstanceUID=SERIES, SOPClassUID=CT, **one),
        make_dicom(bytes(1001), SeriesInstanceUID=SERIES, **one),
        make_dicom(**one),
        make_dicom(PatientID="A1", StudyInstanceUID=OTHER),
        make_dicom(PatientID="B1"),
    ]
    client.store(*made)
    return made


def uids(files):
    return {str(read(one).SOPInstanceUID) for one in files}


@pytest.mark.parametrize(
    ("model", "level", "values", "which"),
    [
        (PATIENT_ROOT, "PATIENT", {"PatientID": "A1"}, slice(5)),
        (PATIENT_STUDY_ONLY, "PATIENT", {"PatientID": "A1"}, slice(5)),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": STUDY}, slice(4)),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": f"{STUDY}\\{OTHER}"}, slice(5)),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}, slice(3)),
        (
            PATIENT_ROOT,
            "IMAGE",
            {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": IMAGE},
            slice(1),
        ),
    ],
)
def test_all_levels(gateway, files, model, level, values, which):
    with receiving(PLAIN) as received:
        status, _, _ = move(gateway(received.port).port, keys(level, **values), model=model)
        wanted = files[which]
        assert (status.Status, status.NumberOfCompletedSuboperations) == (0, len(wanted))
        assert (status.NumberOfFailedSuboperations, status.NumberOfWarningSuboperations) == (0, 0)
        assert "NumberOfRemainingSuboperations" not in status
        assert set(received.data_sets) == uids(wanted)
        assert set(received.data_sets.values()) == set(map(data_set_of, wanted))
        assert received.originators == {("WORKSTATION", 77)}
        assert received.calling == "ORTHANC"
        assert received.associations <= 2, "an association is for many instances"


def test_a_long_list_of_images(gateway, client):
    made = [make_dicom(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES) for _ in range(15)]
    client.store(*made)
    wanted = sorted(uids(made))[:12]
    identifier = keys("IMAGE", SeriesInstanceUID=SERIES, SOPInstanceUID="\\".join(wanted))
    with receiving(PLAIN) as received:
        status, _, _ = move(gateway(received.port).port, identifier)
    assert (status.Status, sorted(received.data_sets)) == (0, wanted)


def test_nothing_is_there(gateway):
    status, _, pending = move(gateway(free_port()).port, keys("STUDY", StudyInstanceUID="1.2.3"))
    assert (status.Status, status.NumberOfCompletedSuboperations, pending) == (0, 0, [])


@pytest.mark.parametrize(
    ("identifier", "to", "status", "words"),
    [
        (keys("STUDY", StudyInstanceUID=STUDY), "NOBODY", 0xA801, "no modality"),
        (keys("STUDY", PatientID="A1"), "DEST", 0xA900, "unique key"),
        (keys("PATIENT", PatientID="A1"), "DEST", 0xA900, "Query/Retrieve Level"),
        (keys("STUDY", StudyInstanceUID="*"), "DEST", 0xA900, "unique key"),
    ],
)
def test_refused(gateway, files, identifier, to, status, words):
    found, _, _ = move(gateway(free_port()).port, identifier, to)
    assert found.Status == status
    assert words in found.ErrorComment


def test_a_store_that_refuses(gateway, client):
    running = gateway(free_port())
    client.request("DELETE", client.web.removesuffix("/dicomWeb"))
    found, _, _ = move(running.port, keys("STUDY", StudyInstanceUID=STUDY))
    assert found.Status == 0xC001
    assert found.ErrorComment.startswith("the store: ")


def test_a_store_that_is_away(gateway, client, faults):
    running = gateway(free_port())
    faults({"method": "GET", "status": 503})
    found, _, _ = move(running.port, keys("STUDY", StudyInstanceUID=STUDY))
    assert (found.Status, found.ErrorComment) == (0xA701, "the store: unavailable")


def test_who_may(start, files):
    options = {"ws": {"AET": "WORKSTATION", "Host": "h", "Port": 104, "AllowMove": False}}
    found, _, _ = move(start(DicomModalities=options).port, keys("STUDY", StudyInstanceUID=STUDY))
    assert found.Status == 0x0124


def test_failures_and_warnings_are_counted(gateway, files, caplog):
    failing = read(files[0]).SOPInstanceUID
    warned = read(files[1]).SOPInstanceUID

    def answer(_received, event):
        uid = event.request.AffectedSOPInstanceUID
        return {failing: 0xA700, warned: 0xB000}.get(uid, 0)

    with receiving(PLAIN, answer) as received:
        found, identifier, _ = move(
            gateway(received.port).port, keys("STUDY", StudyInstanceUID=STUDY)
        )
    assert (found.Status, found.NumberOfCompletedSuboperations) == (0xB000, 2)
    assert (found.NumberOfFailedSuboperations, found.NumberOfWarningSuboperations) == (1, 1)
    assert found.ErrorComment == "DEST answers A700"
    assert identifier.FailedSOPInstanceUIDList == failing
    assert f"instance '{failing}' is not sent: DEST answers A700" in caplog.text
    assert "C-MOVE of WORKSTATION at 127.0.0.1, which called GOOGLE, to DEST: 2 comp" in caplog.text
    assert "A1" not in caplog.text


def test_pending_while_it_goes_on(gateway, files, monkeypatch):
    monkeypatch.setattr(service, "PENDING_EVERY", 0.05)
    monkeypatch.setattr(service, "_LOOK_EVERY", 0.02)

    def slow(_received, _event):
        time.sleep(0.1)
        return 0

    with receiving(PLAIN, slow) as received:
        found, _, pending = move(gateway(received.port).port, keys("STUDY", StudyInstanceUID=STUDY))
    assert found.Status == 0
    # How many there are may not be known yet when the first one is due.
    pending = [one for one in pending if "NumberOfRemainingSuboperations" in one]
    numbers = [one.NumberOfRemainingSuboperations for one in pending]
    assert numbers[0] == 4
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) > 1
    for one in pending:
        assert one.NumberOfRemainingSuboperations + one.NumberOfCompletedSuboperations == 4


def test_pending_while_the_store_is_searched(gateway, files, monkeypatch):
    """How many there are is not known yet."""
    monkeypatch.setattr(service, "PENDING_EVERY", 0)
    with receiving(PLAIN) as received:
        found, _, pending = move(gateway(received.port).port, keys("STUDY", StudyInstanceUID=STUDY))
    assert found.Status == 0
    assert [one.get("NumberOfRemainingSuboperations") for one in pending[:5]] == [None] * 4 + [4]


def test_cancelled(gateway, client, monkeypatch):
    monkeypatch.setattr(service, "PENDING_EVERY", 0.05)
    client.store(*(make_dicom(StudyInstanceUID=STUDY) for _ in range(60)))

    def slow(_received, _event):
        time.sleep(0.02)
        return 0

    with receiving(PLAIN, slow) as received:
        association = associate(gateway(received.port).port)
        context = next(
            one for one in association.accepted_contexts if one.abstract_syntax == MOVE[STUDY_ROOT]
        )
        statuses = []
        wanted = keys("STUDY", StudyInstanceUID=STUDY)
        for status, _ in association.send_c_move(wanted, "DEST", MOVE[STUDY_ROOT], msg_id=7):
            statuses.append(status)
            if len(statuses) == 2:
                association.send_c_cancel(7, context.context_id)
        last = statuses[-1]
        assert last.Status == 0xFE00
        assert 0 < last.NumberOfRemainingSuboperations < 60
        sent = len(received.requests)
        assert last.NumberOfCompletedSuboperations == sent
        assert sent + last.NumberOfRemainingSuboperations == 60
        # The association goes on, and what was cancelled is not what comes next.
        one = keys("IMAGE", SOPInstanceUID=received.requests[0])
        again = list(association.send_c_move(one, "DEST", MOVE[STUDY_ROOT], msg_id=7))
        association.release()
        assert again[-1][0].Status == 0


def test_a_workstation_that_goes_ends_its_retrieval(gateway, client):
    client.store(*(make_dicom(StudyInstanceUID=STUDY) for _ in range(60)))

    def slow(_received, _event):
        time.sleep(0.05)
        return 0

    with receiving(PLAIN, slow) as received:
        association = associate(gateway(received.port).port)
        wanted = keys("STUDY", StudyInstanceUID=STUDY)
        next(association.send_c_move(wanted, "DEST", MOVE[STUDY_ROOT]))
        association.abort()
        time.sleep(0.6)
        sent = len(received.requests)
        time.sleep(0.3)
        assert len(received.requests) == sent < 60


def test_several_at_once(gateway, client, monkeypatch):
    """Each brings what it is for; of more than may go on at once, the others wait."""
    monkeypatch.setattr(service, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(service, "PENDING_EVERY", 0.05)
    studies = [generate_uid() for _ in range(4)]
    client.store(*(make_dicom(StudyInstanceUID=one) for one in studies for _ in range(5)))
    with receiving(PLAIN) as received:
        port = gateway(received.port).port

        def one(study):
            return move(port, keys("STUDY", StudyInstanceUID=study))[0]

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(one, studies))
    assert [(one.Status, one.NumberOfCompletedSuboperations) for one in found] == [(0, 5)] * 4
    assert len(received.requests) == len(set(received.requests)) == 20


def test_the_gateway_is_stopped_meanwhile(gateway, client):
    client.store(*(make_dicom(StudyInstanceUID=STUDY) for _ in range(60)))
    many = threading.Event()

    def slow(received, _event):
        if len(received.requests) > 3:
            many.set()
        time.sleep(0.05)
        return 0

    with receiving(PLAIN, slow) as received:
        running = gateway(received.port)
        association = associate(running.port)
        wanted = keys("STUDY", StudyInstanceUID=STUDY)
        answers = association.send_c_move(wanted, "DEST", MOVE[STUDY_ROOT])
        next(answers)
        assert many.wait(20)
        running.gateway.stop()
        running.thread.join(20)
        assert not running.thread.is_alive()
        assert list(answers)[-1][0].get("Status") in (None, 0xFE00)
        assert len(received.requests) < 60


# -- Foreign programs -----------------------------------------------------------------------------


def test_movescu_to_storescp(gateway, files, tmp_path):
    port = free_port()
    command = ["storescp", "+B", "-od", str(tmp_path), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as scp:
        try:
            running = gateway(port)
            deadline = time.monotonic() + 20
            while subprocess.run(
                ["echoscu", "127.0.0.1", str(port)], capture_output=True
            ).returncode:
                assert time.monotonic() < deadline
            code, said = run(
                *("movescu", running.port, "-S", "-aem", "DEST"),
                *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"),
            )
        finally:
            scp.kill()
    assert code == 0, said
    assert "Received Final Move Response (Success)" in said
    came = {data_set_of(one.read_bytes()) for one in tmp_path.iterdir()}
    assert came == set(map(data_set_of, files[:4]))


def test_getscu(gateway, files, tmp_path):
    code, said = run(
        *("getscu", gateway(free_port()).port, "+B", "-od", str(tmp_path), "-S"),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"),
    )
    assert code == 0, said
    came = {data_set_of(one.read_bytes()) for one in tmp_path.iterdir()}
    assert came == set(map(data_set_of, files[:4]))
