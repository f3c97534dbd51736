"""What the ledger says a store has is compared with what the store has."""

from __future__ import annotations

import hashlib

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.verification.audit import (
    TRIES,
    Audit,
    AuditedStore,
    DifferentBytes,
    StudyAudit,
)
from orthanc_gcp.custody.verification.read_back import SEARCH_LAG
from orthanc_gcp.dicomweb import of_account
from orthanc_gcp.errors import StoreError
from orthanc_gcp.ledger.selection import Selection
from orthanc_gcp.ledger.studies import AccountStudy
from tests.support.sent import changed, dataset, record, rows, send
from tests.support.site import make_instance, make_study
from tests.support.transfers import arrive


@pytest.fixture
def tokens(healthcare_emulator, dicom_store):
    """Tokens of account ``a``, from the emulator."""
    name = dicom_store.name
    account = {
        "Project": name.project,
        "Location": name.location,
        "Dataset": name.dataset,
        "DicomStore": name.store,
        "ServiceAccountFile": str(dicom_store.credentials_file),
    }
    settings = configuration.read(
        {
            "GoogleCloudPlatform": {
                "BaseUrl": f"{healthcare_emulator.url}/v1/",
                "Accounts": {"a": account},
            }
        }
    )
    source = TokenSource(settings, SystemClock())
    source.start()
    source.settings = settings
    yield source
    source.stop()


@pytest.fixture
def audit(ledger, tokens):
    """A maker of audits of account ``a``; what they wait is in ``waited``."""
    stores = []

    def make(*, contents=False, meanwhile=lambda: None):
        (account,) = tokens.settings.accounts
        stores.append(of_account(tokens.settings, account, tokens.authorization))
        waited = []
        made = Audit(
            ledger,
            {"a": AuditedStore(stores[-1], meanwhile)},
            tokens,
            waited.append,
            contents=contents,
        )
        made.waited = waited
        return made

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def study(ledger, stow):
    """The files of a study that was sent, and is confirmed."""
    files = make_study(instances=3)
    for content in files:
        stow(content)
    ledger.confirmations.confirm(dict.fromkeys(send(ledger, files), ledger.now()))
    return files


def uid(content):
    return str(dataset(content).SOPInstanceUID)


def study_of(files):
    return str(dataset(files[0]).StudyInstanceUID)


@pytest.mark.parametrize("contents", [False, True])
def test_no_difference(audit, study, contents):
    found = audit(contents=contents).compare("a", study_of(study))
    assert found == StudyAudit("a", study_of(study), 3, sum(map(len, study)))
    assert not found.differs


def test_missing_and_extra(audit, study, stow, delete):
    delete(study[1])
    extra = make_instance(study_of(study))
    stow(extra)
    found = audit().compare("a", study_of(study))
    assert found.differs
    assert [row.sop_instance_uid for row in found.missing] == [uid(study[1])]
    assert found.extra == (uid(extra),)
    assert found.as_json() == {
        "Account": "a",
        "Study": study_of(study),
        "Compared": 3,
        "Missing": [uid(study[1])],
        "Different": [],
        "Extra": [uid(extra)],
    }


def test_other_bytes(audit, study, stow, delete):
    delete(study[0])
    other = changed(study[0], PatientID="other")
    stow(other)
    assert not audit().compare("a", study_of(study)).differs
    found = audit(contents=True).compare("a", study_of(study))
    sha256 = hashlib.sha256(other).hexdigest()
    (different,) = found.different
    assert different == DifferentBytes(different.transfer, sha256)
    assert found.as_json()["Different"] == [
        {
            "Instance": uid(study[0]),
            "Sha256": hashlib.sha256(study[0]).hexdigest(),
            "StoreSha256": sha256,
        }
    ]


def test_what_is_listed_and_cannot_be_given_back_is_missing(audit, study, faults):
    faults(faults=[{"path": f"/{uid(study[2])}$", "method": "GET", "status": 404}])
    found = audit(contents=True).compare("a", study_of(study))
    assert [row.sop_instance_uid for row in found.missing] == [uid(study[2])]


def test_what_was_acknowledged_just_now_is_left_to_the_worker(audit, ledger, clock):
    files = make_study(instances=1)
    send(ledger, files)
    assert audit().compare("a", study_of(files)) == StudyAudit("a", study_of(files), 0, 0)
    clock.now += SEARCH_LAG + 1
    assert len(audit().compare("a", study_of(files)).missing) == 1


def test_what_is_sent_meanwhile_is_no_difference(audit, ledger, study, stow, delete):
    delete(study[0])
    late = make_instance(study_of(study))

    def meanwhile():
        if late not in stored:
            stored.append(late)
            stow(late)
            record(ledger, [late])
            ledger.confirmations.requeue_lost(
                [row for row in rows(ledger) if row.sop_instance_uid == uid(study[0])]
            )

    stored = []
    found = audit(meanwhile=meanwhile).compare("a", study_of(study))
    assert not found.differs
    assert found.compared == 3


def test_the_studies_of_a_selection(audit, ledger, study):
    other = make_study(instances=1)
    send(ledger, other, account="b")
    everything = {AccountStudy(study_of(study), "a"), AccountStudy(study_of(other), "b")}
    assert set(audit().studies(Selection())) == everything
    assert list(audit().studies(Selection(account="b"))) == [AccountStudy(study_of(other), "b")]


def test_a_store_that_is_busy_is_asked_again(audit, study, faults):
    fault = {"method": "GET", "status": 503}
    faults(faults=[{**fault, "count": 1, "retryAfter": 7}])
    one = audit()
    assert not one.compare("a", study_of(study)).differs
    assert one.waited == [7]
    faults(faults=[{**fault, "count": 2}])
    one = audit()
    assert not one.compare("a", study_of(study)).differs
    first, second = one.waited
    assert 0.5 <= first <= 1.0 <= second <= 2.0


def test_a_store_that_stays_away_is_an_error(audit, study, faults):
    faults(faults=[{"method": "GET", "status": 503}])
    one = audit()
    with pytest.raises(StoreError, match="503"):
        one.compare("a", study_of(study))
    assert len(one.waited) == TRIES - 1


def test_a_refusal_is_an_error_at_once(audit, study, faults):
    faults(faults=[{"method": "GET", "status": 403}])
    one = audit()
    with pytest.raises(StoreError, match="403"):
        one.compare("a", study_of(study))
    assert one.waited == []


def test_a_token_that_is_refused_is_renewed(audit, study, tokens, faults):
    before = tokens.authorization("a").token
    faults(faults=[{"method": "GET", "status": 401, "count": 1}])
    assert not audit().compare("a", study_of(study)).differs
    assert tokens.authorization("a").token != before


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_a_study_that_no_request_can_name_has_nothing_in_the_store(audit, ledger, name):
    arrive(ledger, study=name)
    assert audit().compare("a", name) == StudyAudit("a", name, 0, 0)
