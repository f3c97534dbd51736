"""C-GET: instances come on the association that asks for them."""

from __future__ import annotations

import ssl
import time

import pytest
from pydicom.uid import UID, generate_uid
from pynetdicom import build_role, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from orthanc_gcp.gateway.retrieve import requests, service, staging
from orthanc_gcp.gateway.retrieve.get_channel import storage_contexts
from tests.emulator.client import make_dicom, read
from tests.gateway.retrieve.scp import CT, EXPLICIT, IMPLICIT, SECONDARY, data_set_of
from tests.gateway.scu import keys
from tests.support.certificates import Authority

JPEG = "1.2.840.10008.1.2.4.50"
STUDY = generate_uid()
WANTED = keys("STUDY", StudyInstanceUID=STUDY)
MODEL = StudyRootQueryRetrieveInformationModelGet


@pytest.fixture
def files(client):
    made = [make_dicom(bytes([number, 1]) * 30_000, StudyInstanceUID=STUDY) for number in range(6)]
    client.store(*made)
    return made


class Getter:
    """A workstation that takes some SOP classes."""

    def __init__(self, classes, answer=lambda _event: 0):
        self.entity = ApplicationEntity(ae_title="WORKSTATION")
        self.entity.acse_timeout = self.entity.dimse_timeout = self.entity.network_timeout = 30
        self.entity.add_requested_context(MODEL)
        for one, syntaxes in classes:
            self.entity.add_requested_context(one, syntaxes)
        self.roles = [build_role(one, scp_role=True) for one, _ in classes]
        self.answer = answer
        self.data_sets, self.syntaxes = [], set()

    def stored(self, event):
        self.data_sets.append(event.request.DataSet.getvalue())
        self.syntaxes.add(str(event.context.transfer_syntax))
        return self.answer(event)

    def associate(self, port, **options):
        return self.entity.associate(
            *("127.0.0.1", port),
            ae_title="GOOGLE",
            ext_neg=self.roles,
            evt_handlers=[(evt.EVT_C_STORE, self.stored)],
            **options,
        )

    def get(self, port, identifier=WANTED, **options):
        association = self.associate(port, **options)
        assert association.is_established
        answers = list(association.send_c_get(identifier, MODEL, msg_id=5))
        assert association.is_established
        association.release()
        return answers[-1]


@pytest.mark.parametrize(
    "classes", [[(SECONDARY, [EXPLICIT])], [(SECONDARY, [IMPLICIT, EXPLICIT])]]
)
def test_a_study(start, files, classes):
    getter = Getter(classes)
    status, _ = getter.get(start().port)
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0, 6)
    assert sorted(getter.data_sets) == sorted(map(data_set_of, files))
    assert getter.syntaxes == {EXPLICIT}


def test_streaming(start, files, monkeypatch):
    monkeypatch.setattr(staging, "LARGE", 10_000)
    getter = Getter([(SECONDARY, [EXPLICIT])])
    status, _ = getter.get(start().port)
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0, 6)
    assert sorted(getter.data_sets) == sorted(map(data_set_of, files))


def test_the_store_transcodes(start, files):
    getter = Getter([(SECONDARY, [IMPLICIT])])
    status, _ = getter.get(start().port)
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0, 6)
    assert getter.syntaxes == {IMPLICIT}


def test_no_context_fits(start, files, client, caplog):
    client.store(make_dicom(StudyInstanceUID=STUDY, SOPClassUID=CT))
    status, identifier = Getter([(SECONDARY, [EXPLICIT])]).get(start().port)
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0xB000, 6)
    assert status.NumberOfFailedSuboperations == 1
    assert identifier.FailedSOPInstanceUIDList
    assert f"the workstation takes no SOP class {CT}" in caplog.text


def test_without_the_role_nothing_can_be_sent(start, files):
    getter = Getter([(SECONDARY, [EXPLICIT])])
    getter.roles = []
    status, _ = getter.get(start().port)
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xA702, 6)


def test_a_workstation_that_refuses(start, files):
    def answer(_event):
        return 0xA700 if len(getter.data_sets) == 2 else 0xB000

    getter = Getter([(SECONDARY, [EXPLICIT])], answer)
    status, identifier = getter.get(start().port)
    assert status.Status == 0xB000
    assert status.NumberOfWarningSuboperations == 5
    assert status.NumberOfFailedSuboperations == 1
    assert identifier.FailedSOPInstanceUIDList


def test_what_is_accepted_of_one_that_takes():
    """Uncompressed first, which the store can bring everything in; and its own C-STORE as well."""
    proposed = [build_context(CT, [JPEG, IMPLICIT]), build_context(CT, [EXPLICIT])]
    proposed.append(build_context(SECONDARY, [EXPLICIT]))
    roles = {UID(CT): build_role(CT, scp_role=True)}
    (found,) = storage_contexts(proposed, roles, served=())
    assert (found.abstract_syntax, found.scp_role, found.scu_role) == (CT, True, False)
    assert found.transfer_syntax == [EXPLICIT, IMPLICIT, JPEG]
    (found,) = storage_contexts(proposed, roles, served=(CT,))
    assert (found.scp_role, found.scu_role) == (True, True)
    assert storage_contexts(proposed, {}, served=()) == []


def test_cancelled(start, files, monkeypatch):
    monkeypatch.setattr(service, "PENDING_EVERY", 0.01)

    def slow(_event):
        time.sleep(0.05)
        return 0

    getter = Getter([(SECONDARY, [EXPLICIT])], slow)
    association = getter.associate(start().port)
    context = next(one for one in association.accepted_contexts if one.abstract_syntax == MODEL)
    statuses = []
    for status, _ in association.send_c_get(WANTED, MODEL, msg_id=5):
        statuses.append(status)
        if len(statuses) == 1:
            association.send_c_cancel(5, context.context_id)
    assert statuses[-1].Status == 0xFE00
    assert statuses[-1].NumberOfRemainingSuboperations == 6 - len(getter.data_sets) > 0
    again = list(association.send_c_get(WANTED, MODEL, msg_id=5))
    assert again[-1][0].Status == 0
    association.release()


def test_a_store_that_breaks_off_in_the_middle_of_an_instance(
    start, files, faults, quick, monkeypatch
):
    """The workstation has its beginning: it must not take that for all of it."""
    monkeypatch.setattr(requests, "SMALL", 10)
    monkeypatch.setattr(staging, "LARGE", 10_000)
    getter = Getter([(SECONDARY, [EXPLICIT])])
    port = start().port
    uid = read(files[0]).SOPInstanceUID
    faults({"method": "GET", "path": f"/instances/{uid}", "cut": "truncate"})
    association = getter.associate(port)
    list(association.send_c_get(WANTED, MODEL))
    association.join(20)
    assert association.is_aborted
    assert data_set_of(files[0]) not in getter.data_sets
    assert all(one in set(map(data_set_of, files)) for one in getter.data_sets)


def test_over_tls(start, files, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(authority.file),
    }
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(certificate, key)
    getter = Getter([(SECONDARY, [EXPLICIT])])
    status, _ = getter.get(start(**options).port, tls_args=(context, "localhost"))
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0, 6)
