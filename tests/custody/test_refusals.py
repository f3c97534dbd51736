"""Refusals of a whole account or project: what is to be sent waits, and says why.

With the tokens, the sender and the read-back of a worker, against the emulator.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest

from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import read
from orthanc_gcp.custody.destinations.congestion import CongestionWindow
from orthanc_gcp.custody.destinations.destination import Destination
from orthanc_gcp.custody.transfer.sender import Sender
from orthanc_gcp.custody.verification.read_back import ReadBack
from orthanc_gcp.dicomweb.of_account import of_account
from orthanc_gcp.emulator.faults.refusals import REFUSALS
from orthanc_gcp.emulator.server import Emulator, Options
from orthanc_gcp.ledger import database
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.schema import State, transfers
from orthanc_gcp.ledger.upgrade import prepare
from orthanc_gcp.orthanc.resources import Description
from orthanc_gcp.outages import Outage
from tests.emulator.client import make_dicom
from tests.support.keys import STORE
from tests.support.orthanc import wait_until
from tests.support.sent import dataset, record, rows, series_of

SERVICE_ACCOUNT, USER, WORKLOAD, MACHINE = "service account", "user", "workload", "machine"

TOKEN = {
    "gke-account-not-bound": (MACHINE, "Permission 'iam.serviceAccounts.getAccessToken' denied"),
    "gke-account-not-bound-old": (MACHINE, "The caller does not have permission"),
    "gke-account-unknown": (MACHINE, "Gaia id not found"),
    "sts-attribute-condition": (WORKLOAD, "rejected by the attribute condition"),
    "sts-issuer-unreachable": (WORKLOAD, "connecting to the given credential's issuer"),
    "sts-token-stale": (WORKLOAD, "stale to sign-in"),
    "key-disabled": (SERVICE_ACCOUNT, "Invalid JWT Signature."),
    "account-deleted": (SERVICE_ACCOUNT, "account not found"),
    "user-deleted": (USER, "The account has been deleted"),
    "reauth": (USER, "reauth related error"),
}
"""Whom a refusal of a token is for, and what it says."""
FORBIDDEN = {
    "quota-project-missing": (USER, "set QuotaProject"),
    "quota-project-missing-gcloud": (USER, "set QuotaProject"),
    "api-disabled": (SERVICE_ACCOUNT, "enable it"),
    "vpc-service-controls": (SERVICE_ACCOUNT, "a perimeter of VPC Service Controls"),
    "org-policy-service-usage": (SERVICE_ACCOUNT, "a policy of the organization"),
}
USED_UP = {
    "quota-dicom-ops": (SERVICE_ACCOUNT, "healthcare.googleapis.com/dicom_ops"),
    "quota-dicom-web-ops": (SERVICE_ACCOUNT, "healthcare.googleapis.com/dicom_web_ops"),
}
OF_OTHER_REQUESTS = {
    "org-policy-resource-locations",
    "quota-dicom-store-ops",
    "quota-dicom-store-lro-ops",
}
"""A worker makes none of those that they are for."""
CASES = [
    *((name, *case, "no_token") for name, case in TOKEN.items()),
    *((name, *case, "forbidden") for name, case in FORBIDDEN.items()),
    *((name, *case, "throttled") for name, case in USED_UP.items()),
]


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    folder = tmp_path_factory.mktemp("google")
    with Emulator(Options(folder, write_credentials=folder)) as emulator:
        yield emulator


class NoChecksums:
    """An Orthanc with ``StoreMD5ForAttachments`` off."""

    def md5s(self, _: object) -> dict[str, str]:
        return {}


class Files:
    """An Orthanc that has the files of a test, by their SOP Instance UIDs."""

    checksums = NoChecksums()

    def __init__(self, files: list[bytes]) -> None:
        self._files = {str(dataset(file).SOPInstanceUID): file for file in files}

    def read(self, orthanc_id: str, *_: object) -> AbstractContextManager[Iterator[bytes]]:
        return nullcontext(iter([self._files[orthanc_id]]))

    def describe_each(self, _names: list[str]) -> tuple[list[Description], list[str]]:
        """It says of none which file it has."""
        return [], []


class Transfer:
    """Two instances of one series on their way to a store."""

    def __init__(self, folder, google: Emulator, account: dict[str, object]) -> None:
        options = {**STORE, **account}
        section = {"BaseUrl": f"{google.url}/v1", "Accounts": {"a": options}}
        settings = read({"GoogleCloudPlatform": section}, folder)
        assert settings.accounts, settings.problems
        clock = SystemClock()
        engine = database.connect(database.url_of("", folder))
        prepare(engine)
        self.ledger = Ledger(engine)
        self.tokens = TokenSource(settings, clock)
        self.store = of_account(settings, settings.accounts[0], self.tokens.authorization)
        window = CongestionWindow(clock, 4, Outage(logging.getLogger("s"), "down", "up", clock))
        to = {"a": Destination("a", self.store, self.store, window, False, "Bytes")}
        first = make_dicom()
        of_first = dataset(first)
        study, series = of_first.StudyInstanceUID, of_first.SeriesInstanceUID
        files = [first, make_dicom(StudyInstanceUID=study, SeriesInstanceUID=series)]
        self.series = series_of(first)
        record(self.ledger, files)
        self._sender = Sender(
            self.ledger,
            Files(files),
            to,
            self.tokens,
            clock,
            lambda: False,
            lambda *_: None,
            lambda _: True,
        )
        self._reader = ReadBack(self.ledger, to, lambda: False, renew=self.tokens.renew)

    def start(self) -> None:
        """Until the first token was there, or was refused."""
        self.tokens.start()
        self.tokens.renew("a")

    def send(self) -> None:
        """Send what waits, whenever its next attempt would be."""
        with self.ledger.writing() as connection:
            delayed = transfers.c.state == State.DELAYED
            connection.execute(transfers.update().where(delayed).values(state=State.WAITING))
        limits = {"most_instances": 9, "most_bytes": 10**9, "most_batches": 9}
        self._sender.send("b", self.ledger.queue.claim("a", "o", "b", "w", **limits))

    def read_back(self) -> None:
        self._reader.confirm("a", [self.series])

    def states(self) -> set[str]:
        return {row.state for row in rows(self.ledger)}

    def close(self) -> None:
        self.tokens.stop()
        self.store.close()
        self.ledger.engine.dispose()


@pytest.fixture
def transfer(google, tmp_path, monkeypatch):
    """A maker of a transfer in the name of somebody."""
    monkeypatch.setattr("orthanc_gcp.auth.token_source._FIRST_WITHIN", 0)
    monkeypatch.setattr("orthanc_gcp.auth.token_source._RENEW_AT_MOST_EVERY", 0)
    host = "google.auth.compute_engine._metadata._GCE_METADATA_HOST"
    monkeypatch.setattr(host, google.metadata_host)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = google.credentials
    accounts = {
        SERVICE_ACCOUNT: {"ServiceAccountFile": str(folder / "service-account.json")},
        USER: {
            "AuthorizedUserFile": str(folder / "authorized-user.json"),
            "TokenUri": google.token_uri,
        },
        WORKLOAD: {"CredentialsFile": str(folder / "external-account-file.json")},
        MACHINE: {"Credentials": "ApplicationDefault"},
    }
    made = []

    def make(who: str) -> Transfer:
        made.append(Transfer(tmp_path, google, accounts[who]))
        return made[-1]

    yield make
    for each in made:
        each.close()
    google.fault_settings.reset()


def test_every_refusal_is_tried():
    assert {*TOKEN, *FORBIDDEN, *USED_UP, *OF_OTHER_REQUESTS} == set(REFUSALS)


@pytest.mark.parametrize(("name", "who", "words", "reason"), CASES, ids=[c[0] for c in CASES])
def test_what_is_refused_as_a_whole_waits(google, transfer, name, who, words, reason):
    google.fault_settings.change(refusal=name)
    sending = transfer(who)
    sending.start()
    for _ in range(6):
        sending.send()
        for row in rows(sending.ledger):
            assert (row.state, row.reason) == (State.DELAYED, reason)
            assert words in row.detail
            assert row.next_attempt_at is not None
            # Nothing is learnt about the instances.
            assert (row.attempts, row.max_batch_instances) == (0, None)
    google.fault_settings.change(refusal=None)
    sending.tokens.renew("a")
    sending.send()
    assert sending.states() == {State.ACKNOWLEDGED}
    sending.read_back()
    assert sending.states() == {State.CONFIRMED}


def test_a_store_in_a_state_that_forbids_it_is_waited_for(google, transfer):
    """As google.rpc.Code says of FAILED_PRECONDITION: the state of the system has to be mended."""
    said = {"code": 400, "status": "FAILED_PRECONDITION", "message": "The key is disabled."}
    body = json.dumps({"error": said})
    fault = {"status": 400, "body": body, "contentType": "application/json", "method": "POST"}
    google.fault_settings.change(faults=[fault])
    sending = transfer(SERVICE_ACCOUNT)
    sending.start()
    for _ in range(6):
        sending.send()
        for row in rows(sending.ledger):
            assert row.state in (State.DELAYED, State.WAITING)
            assert row.reason == "precondition"
            assert "The key is disabled." in row.detail
    google.fault_settings.change(faults=[])
    sending.send()
    sending.send()  # by now each goes alone
    assert sending.states() == {State.ACKNOWLEDGED}
    sending.read_back()
    assert sending.states() == {State.CONFIRMED}


@pytest.mark.parametrize("name", [*FORBIDDEN, *USED_UP])
def test_what_cannot_be_read_back_just_now_stays_acknowledged(google, transfer, name):
    sending = transfer({**FORBIDDEN, **USED_UP}[name][0])
    sending.start()
    sending.send()
    google.fault_settings.change(refusal=name)
    sending.read_back()
    assert sending.states() == {State.ACKNOWLEDGED}
    google.fault_settings.change(refusal=None)
    sending.read_back()
    assert sending.states() == {State.CONFIRMED}


def test_a_token_that_is_refused_as_it_is_read_back_is_renewed(google, transfer):
    """Long before it would be by itself."""
    sending = transfer(SERVICE_ACCOUNT)
    sending.start()
    sending.send()
    dies = {"method": "GET", "count": 1, "tokenDies": True}
    google.fault_settings.change(faults=[dies])
    sending.read_back()
    assert {row.reason for row in rows(sending.ledger)} == {"unauthorized"}
    wait_until(lambda: sending.read_back() or sending.states() == {State.CONFIRMED})


@pytest.mark.parametrize("name", sorted(OF_OTHER_REQUESTS))
def test_what_is_for_other_requests_stops_nothing(google, transfer, name):
    google.fault_settings.change(refusal=name)
    sending = transfer(SERVICE_ACCOUNT)
    sending.start()
    sending.send()
    sending.read_back()
    assert sending.states() == {State.CONFIRMED}


def test_the_detail_shows_no_secret(google, transfer):
    google.fault_settings.change(refusal="reauth")
    sending = transfer(USER)
    sending.start()
    sending.send()
    user = json.loads((google.credentials / "authorized-user.json").read_text())
    for row in rows(sending.ledger):
        assert user["refresh_token"] not in row.detail
        assert user["client_secret"] not in row.detail
