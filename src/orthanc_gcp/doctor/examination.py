"""The examination of one account, from its configuration to a round trip through the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from orthanc_gcp import credentials
from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import Account, Problem, Settings
from orthanc_gcp.credentials import Identity
from orthanc_gcp.doctor import network, probe
from orthanc_gcp.doctor.checks import (
    Check,
    CheckFailedError,
    NotApplicableError,
    WarningError,
    run,
)
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.doctor.network import Way
from orthanc_gcp.doctor.orthanc import ask
from orthanc_gcp.doctor.remedies import NEW_KEY, SET_CLOCK, mend
from orthanc_gcp.doctor.store import Store
from orthanc_gcp.errors import GcpError, PublicationError, StoreError
from orthanc_gcp.orthanc_rest import OrthancRest
from orthanc_gcp.token_endpoint import TOLERATED_SKEW, TokenEndpoint, clock_offset
from orthanc_gcp.tokens.keeper import acquire
from orthanc_gcp.transport import Transport

__all__ = ["examine"]

READ, WRITE, DELETE = (
    f"healthcare.dicomStores.dicomWeb{verb}" for verb in ("Read", "Write", "Delete")
)
ROLES = {
    READ: ("read", "roles/healthcare.dicomViewer"),
    WRITE: ("write", "roles/healthcare.dicomEditor"),
    DELETE: ("delete", "roles/healthcare.dicomEditor"),
}
EXCESSIVE = tuple(f"healthcare.dicomStores.{verb}" for verb in ("delete", "update", "setIamPolicy"))


Found = TypeVar("Found")


@dataclass
class Patient:
    """What the checks so far have found out."""

    account: Account
    settings: Settings
    transport: Transport
    clock: Clock
    write: bool
    orthanc: OrthancRest | None = None
    empty: bool = False
    identity: Identity | None = None
    store: Store | None = None
    refusal: StoreError | None = None

    @property
    def email(self) -> str | None:
        """Who the account is, where that is known."""
        return self.identity.email if self.identity else None


def examine(
    name: str,
    settings: Settings,
    transport: Transport,
    clock: Clock,
    *,
    write: bool = False,
    orthanc: OrthancRest | None = None,
) -> Iterator[Finding]:
    """Check an account, line by line; nothing is changed anywhere unless ``write``.

    An account that the configuration got wrong ends at the first line; KeyError for none at all.

    Parameters
    ----------
    transport
        How requests are made.
    write
        Also send, search, retrieve and delete a tiny instance.
    orthanc
        The Orthanc that serves the account; None from inside it, where it cannot be asked.
    """
    if name in settings.rejected:
        yield from _rejected(settings.rejected[name])
        return
    account = {account.name: account for account in settings.accounts}[name]
    patient = Patient(account, settings, transport, clock, write, orthanc)
    yield from run(_CHECKS, patient, lambda error: mend(error, account, patient.email))


def _rejected(problems: tuple[Problem, ...]) -> Iterator[Finding]:
    causes = "; ".join(map(str, problems))
    remedy = "correct the option in Orthanc's configuration: see docs/configuration.md"
    yield Finding(_CHECKS[0].title, Result.FAILED, causes, remedy)
    for check in _CHECKS[1:]:
        cause = "not tried, since the check of configuration failed"
        yield Finding(check.title, Result.SKIPPED, cause)


# -- This machine -----------------------------------------------------------------------------


def _configuration(patient: Patient) -> str:
    return patient.account.store_path


def _credential(patient: Patient) -> str:
    patient.identity = credentials.load(patient.account, patient.settings)
    document = patient.identity.document
    who = patient.identity.kind + (f" {patient.email}" if patient.email else "")
    if document is None or document.path is None:
        return who
    if document.path.stat().st_mode & 0o007:
        raise CheckFailedError(
            f"{document.where}: every user of this machine may read it",
            f"chmod o-rwx {document.path}",
            fatal=False,
        )
    age = patient.identity.key_age(patient.clock.utc())
    if age is not None and age > patient.account.key_max_age_days:
        raise CheckFailedError(
            f"{document.where}: the key is {age:.0f} days old, more than KeyMaxAgeDays "
            f"({patient.account.key_max_age_days})",
            "make a new key and replace the file, no restart is needed: "
            + NEW_KEY.replace("{email}", patient.email or "ACCOUNT"),
            fatal=False,
        )
    return who


# -- The way to Google ------------------------------------------------------------------------


def _way(patient: Patient) -> Way:
    url = patient.settings.section.base_url
    return Way(url, patient.transport.proxy_of(url))


def _names(patient: Patient) -> str:
    way = _way(patient)
    if way.proxy:
        raise NotApplicableError("the proxy resolves the names")
    return f"{way.host} is {network.resolve(way.host)}"


def _proxy(patient: Patient) -> str:
    way = _way(patient)
    if not way.proxy:
        raise NotApplicableError("no proxy is configured")
    try:
        patient.transport(way.root, "HEAD")
    except GcpError as error:
        if error.reason in ("proxy", "dns"):
            raise
    return "it lets requests through"


def _connection(patient: Patient) -> str:
    way = _way(patient)
    try:
        patient.transport(way.root, "HEAD")
    except GcpError as error:
        if error.reason not in ("tls", "ca_certificates"):  # the next check tells of these
            raise
    return f"{way.host} answers on port {way.port}"


def _tls(patient: Patient) -> str:
    way = _way(patient)
    if way.parts.scheme != "https":
        raise NotApplicableError("BaseUrl is not https://")
    if not patient.settings.orthanc.https_verify_peers:
        raise NotApplicableError("HttpsVerifyPeers is false")
    try:
        patient.transport(way.root, "HEAD")
    except GcpError as error:
        if error.reason != "tls":
            raise
        seen = "" if way.proxy else network.certificate_in_words(way, patient.settings.timeout)
        raise CheckFailedError(
            f"{error}; {seen}" if seen else str(error),
            mend(error, patient.account, patient.email),
        ) from None
    return f"{way.host} shows a certificate that is trusted"


def _clock(patient: Patient) -> str:
    ahead = clock_offset(patient.transport(_way(patient).root, "HEAD"), patient.clock)
    if ahead is None:
        raise NotApplicableError("the server does not tell its time")
    if abs(ahead) > TOLERATED_SKEW:
        where = "ahead of" if ahead > 0 else "behind"
        raise CheckFailedError(
            f"this machine's clock is {abs(ahead):.0f} s {where} Google's",
            SET_CLOCK,
            fatal=False,
        )
    return f"{abs(ahead):.0f} s apart"


# -- Google -----------------------------------------------------------------------------------


def _token(patient: Patient) -> str:
    identity = _known(patient.identity)
    endpoint = TokenEndpoint(patient.transport, patient.clock)
    token = acquire(identity, endpoint, patient.clock)
    patient.store = Store(
        patient.account,
        patient.settings,
        patient.transport,
        token.value,
        identity.quota_project,
    )
    return f"it lives {token.lifetime:.0f} s" + (f", for {patient.email}" if patient.email else "")


def _store(patient: Patient) -> Store:
    return _known(patient.store)


def _known(found: Found | None) -> Found:
    """What an earlier check has found; a check only runs when those before it passed."""
    if found is None:
        raise NotApplicableError("a check before this one found nothing")
    return found


def _scopes(patient: Patient) -> str:
    """One request tells about the scopes, the API and the store."""
    try:
        _store(patient).ask("")
    except StoreError as error:
        patient.refusal = error
        if error.reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
            raise CheckFailedError(
                str(error),
                "leave Scopes at its default; on GCE or GKE, give the machine the scope "
                "https://www.googleapis.com/auth/cloud-platform",
            ) from None
        _no_verdict(error)
    return "they suffice"


def _no_verdict(refusal: StoreError) -> None:
    """Only what Google says of permissions and of the store tells that it took the token."""
    if refusal.status not in (403, 404):
        raise NotApplicableError("Google's answer does not tell, see the check of the store")


def _api(patient: Patient) -> str:
    refusal = patient.refusal
    if refusal is not None and refusal.reason == "SERVICE_DISABLED":
        raise CheckFailedError(
            str(refusal),
            f"gcloud services enable healthcare.googleapis.com --project={patient.account.project}",
        )
    if refusal is not None:
        _no_verdict(refusal)
    return "the Healthcare API is enabled"


def _exists(patient: Patient) -> str:
    refusal, account = patient.refusal, patient.account
    if refusal is None:
        return f"{account.store_path} exists"
    if refusal.status == 404:
        raise CheckFailedError(
            f"there is no DICOM store {account.dicom_store} in dataset {account.dataset} of "
            f"{account.location} in project {account.project}",
            f"correct Project, Location, Dataset and DicomStore, or create it: gcloud healthcare "
            f"dicom-stores create {account.dicom_store} --dataset={account.dataset} "
            f"--location={account.location} --project={account.project}",
        )
    if refusal.status == 403:
        raise NotApplicableError("the identity may not see the store itself, or there is none")
    raise refusal


def _permissions(patient: Patient) -> str:
    granted = _store(patient).permissions(list(ROLES))
    missing = [name for name in ROLES if name not in granted]
    if not missing:
        return "read, write and delete"
    who = f"serviceAccount:{patient.email}" if patient.email else "MEMBER"
    account = patient.account
    verbs = ", ".join(ROLES[name][0] for name in missing)
    roles = dict.fromkeys(ROLES[name][1] for name in missing)
    if len(missing) == len(ROLES):
        roles = {"roles/healthcare.dicomEditor": None}
    raise CheckFailedError(
        f"{patient.email or 'the identity'} may not {verbs} ({', '.join(missing)}), or the store "
        "does not exist",
        "; ".join(
            f"gcloud healthcare dicom-stores add-iam-policy-binding {account.dicom_store} "
            f"--dataset={account.dataset} --location={account.location} "
            f"--project={account.project} --member={who} --role={role}"
            for role in roles
        ),
    )


def _search(patient: Patient) -> str:
    headers = {"Accept": "application/dicom+json"}
    answer = _store(patient).ask("/dicomWeb/studies?limit=1", headers=headers)
    patient.empty = answer.status == 204
    return "the store is empty" if patient.empty else "a study was found"


def _search_through_orthanc(patient: Patient) -> str:
    """What users get: the DICOMweb plugin's own way to the store, by its own authorities."""
    server = f"{patient.settings.servers_root}{quote(patient.account.name, safe='')}"
    query = {"Uri": "/studies", "Arguments": {"limit": "1"}}
    try:
        published = ask(patient.orthanc, "GET", server) is not None
        if published:
            ask(patient.orthanc, "POST", f"{server}/qido", query)
    except PublicationError as error:
        # The plugin cannot read the answer of an empty store, 204: it answers 400 itself.
        if error.status == 400 and patient.empty:
            return "the store is empty, which the DICOMweb plugin answers by 400"
        raise CheckFailedError(
            f"a search through the DICOMweb plugin fails: {error}",
            "Orthanc's log says why; after a change of the configuration, restart Orthanc",
            fatal=False,
        ) from None
    if not published:
        raise CheckFailedError(
            f"the DICOMweb plugin of the Orthanc that runs has no server {patient.account.name}",
            "see in Orthanc's log why it is not published; after a change of the configuration, "
            "restart Orthanc",
            fatal=False,
        )
    return "the DICOMweb plugin reaches the store"


def _least_privilege(patient: Patient) -> str:
    """Whoever may use Orthanc's REST API may do all that the identity may."""
    granted = sorted(_store(patient).permissions(list(EXCESSIVE)))
    if granted:
        raise WarningError(
            f"{patient.email or 'the identity'} may do more than is needed here: "
            + ", ".join(granted),
            "take its roles of administration away, and leave it roles/healthcare.dicomEditor on "
            "the store",
        )
    return "it may not administer the store"


def _round_trip(patient: Patient) -> str:
    if not patient.write:
        raise NotApplicableError("only with --write, it changes the store for a moment")
    return probe.round_trip(_store(patient))


_CHECKS: tuple[Check[Patient], ...] = (
    Check("configuration", _configuration),
    Check("credential", _credential),
    Check("DNS", _names),
    Check("proxy", _proxy),
    Check("connection", _connection, needs_all=True),
    Check("TLS", _tls, needs_all=True),
    Check("clock", _clock, needs_all=True),
    Check("token", _token, needs_all=True),
    Check("scopes", _scopes, needs_all=True),
    Check("API", _api, needs_all=True),
    Check("store", _exists, needs_all=True),
    Check("permissions", _permissions, needs_all=True),
    Check("search", _search, needs_all=True),
    Check("search through Orthanc", _search_through_orthanc, needs_all=True),
    Check("least privilege", _least_privilege, needs_all=True),
    Check("round trip", _round_trip, needs_all=True),
)
